"""The request of `lstn infer`, on this machine or on a Ray cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.cli.parsing.infer_format import Format
from lstn.cli.parsing.old_spellings import renamed
from lstn.errors import UsageError
from lstn.machine.gpu import Device

if TYPE_CHECKING:
    from lstn.images import DecodeLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """The options of `lstn infer`, as typed; None: not given. output: a file; out: a folder, for --ray and --count."""

    engine: Path | None
    output: Path | None
    out: Path | None
    format_: Format | None
    top: int | None
    score: float | None
    sentence: str | None
    reject_below: float | None
    warps: Path | None
    batch: int | None
    device: Device
    threads: int | None
    workers: int | None
    every: float | None
    limits: "DecodeLimits"

    def folder(self, option: str) -> Path | None:
        """Return the folder that an option writes to, --ray or --count; the last release took --output for it.

        Raises:
            UsageError: --output is given as well.
        """
        if self.output is None:
            return self.out
        if self.out is not None:
            raise UsageError(
                f"--output: not with {option}, whose results are a folder", hint="leave it out; --out is given"
            )
        renamed("--output", f"--out with {option}")
        return self.output


@dataclass(frozen=True, slots=True)
class PaintRequest:
    """What a generator is asked for, as typed; None: not given."""

    count: int | None
    label: tuple[str, ...]
    seed: int | None

    @property
    def asked(self) -> bool:
        """Whether any of it was given."""
        return self.count is not None or bool(self.label) or self.seed is not None


def named_images(paths: list[str] | None) -> list[str]:
    """Return what was named, of which there must be something.

    Raises:
        UsageError: nothing was.
    """
    if not paths:
        raise UsageError("no images are named", hint="name images or folders; a generator paints with --count N")
    return paths
