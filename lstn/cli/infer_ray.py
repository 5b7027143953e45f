"""`lstn infer --ray`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.cli.infer_format import Format, batch_size
from lstn.errors import LstnError, UsageError
from lstn.machine.gpu import Device
from lstn.terminal import note

if TYPE_CHECKING:
    from lstn.images import Reading


def infer_on_ray(
    address: str,
    words: list[str],
    engine: Path,
    output: Path | None,
    format_: Format | None,
    *,
    top: int,
    batch: int | None,
    device: Device,
    threads: int | None,
    workers: int | None,
    reading: "Reading",
) -> None:
    """Answer the images that `words` stand for on a Ray cluster; see `infer` for the options.

    Raises:
        LstnError: an image has no answer, or what `open_parts`, `open_pool` and `Pool.infer` raise.
    """
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.sources import check_sources
    from lstn.runtime.ray.ray_infer import open_pool
    from lstn.runtime.ray.result_parts import open_parts, run_of

    wanted = Format.JSON if format_ in (None, Format.JSONL) else format_  # parts are lines in either case
    if wanted not in (Format.JSON, Format.PARQUET):
        raise UsageError(f"--format {wanted.value}: not with --ray", hint="choose jsonl or parquet")
    if output is None:
        raise UsageError("--ray needs --output", hint="name a folder for the parts of the results")
    open_engine(engine, device=device)  # not entered: only whether there is such a file
    check_sources(words)
    with open_parts(output, run_of(engine, top=top, format_=wanted.value)) as parts:
        before = len(parts.done)
        with open_pool(address, engine, device=device, threads=threads) as pool:
            started = time.perf_counter()
            size = batch_size(batch, pool, engine)
            pool.infer(words, parts, batch=size, top=top, workers=workers, reading=reading)
        took = time.perf_counter() - started
    count = len(parts.done) - before
    skipped = f", {before} done before" if before else ""
    note(f"{count} images in {took:.1f} s, {count / took:.0f} images/s{skipped} -> {output}")
    if parts.failed:
        hint = "the error in their rows says why"
        raise LstnError(f"{parts.failed} of {len(parts.done)} images have no answer", hint=hint)
