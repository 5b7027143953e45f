"""Options of `lstn tune` that say what to try: engines, precisions, crops, threads, and a server's waits."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TypeVar

from lstn.cli.parsing.size_options import sides_from
from lstn.errors import UsageError
from lstn.formats.engine_kind import EngineKind
from lstn.install import install_line
from lstn.machine.cores import usable_cores, within_cores
from lstn.precision import Precision

T = TypeVar("T")

_PACKAGES = {EngineKind.ONNX: "onnxruntime", EngineKind.OPENVINO: "openvino"}
_WAITS_MS = "0,2,5,10"
_LONGEST_WAIT_MS = 60_000
_MOST = 16
"""Entries of a list: each multiplies the settings."""


def tuned_engines(named: list[EngineKind] | None) -> tuple[EngineKind, ...]:
    """Return the engines to try, each once: those that are named, or those of a CPU that are installed.

    Raises:
        UsageError: one that has nothing to tune, or none is installed.
    """
    for each in named or ():
        if each not in _PACKAGES:
            raise UsageError(
                f"--engine {each.value}: a plan has its batch sizes from its build, and no threads to choose",
                hint="tune --engine onnx or openvino; compare plans with: lstn bench --throughput",
            )
    found = dict.fromkeys(named or (kind for kind, package in _PACKAGES.items() if find_spec(package)))
    if not found:
        raise UsageError("neither ONNX Runtime nor OpenVINO is installed", hint=f"run: {install_line('runtime')}")
    return tuple(sorted(found, key=list(_PACKAGES).index))


def tuned_precisions(text: str) -> tuple[Precision | None, ...]:
    """Return the precisions to try, float32 (None) first, which is always among them.

    Raises:
        UsageError: not a precision, or one that no CPU engine runs.
    """
    names = [each.strip().lower() for each in text.split(",") if each.strip()]
    known = ["fp32", *(each.value for each in Precision if not (each.float8 or each.half_between))]
    for name in names:
        if name not in known:
            raise UsageError(f"--precision {name!r:.40}: not one to tune", hint=f"choose of: {', '.join(known)}")
    return None, *dict.fromkeys(Precision(name) for name in names if name != "fp32")


def crop_sides(text: str | None) -> tuple[tuple[int, int], ...]:
    """Return heights and widths of crops, each once.

    Raises:
        UsageError: not sizes.
    """
    sizes = [sides_from("--crop", each) for each in (text or "").split(",") if each.strip()]
    return tuple(dict.fromkeys(_few("--crop", sizes)))


def tuned_threads(text: str | None) -> tuple[int, ...]:
    """Return numbers of threads, the fewest first; by default 1, 2, 4 … up to the cores here.

    Raises:
        UsageError: not numbers, or more than this machine can stand.
    """
    cores = usable_cores()
    if text is None:
        return tuple(sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores}))
    if not re.fullmatch(r"\s*[1-9]\d{0,3}(\s*,\s*[1-9]\d{0,3})*\s*", text):
        raise UsageError(f"--threads {text!r:.40}: expected numbers", hint="for example: --threads 1,2,4")
    counts = sorted({int(each) for each in text.split(",")})
    within_cores(counts[-1])
    return tuple(_few("--threads", counts))


def tuned_waits(text: str | None) -> tuple[float, ...]:
    """Return how long requests may wait for others, in ms, the shortest first; some usual times by default.

    Raises:
        UsageError: not times, or longer than a server takes.
    """
    given = [each.strip() for each in (text or _WAITS_MS).split(",")]
    if not all(re.fullmatch(r"\d{1,5}(\.\d{1,3})?", each) and float(each) <= _LONGEST_WAIT_MS for each in given):
        raise UsageError(f"--wait-ms {text!r:.40}: expected times from 0 to 60000", hint=f"such as: {_WAITS_MS}")
    return tuple(_few("--wait-ms", sorted({float(each) for each in given})))


def check_mode(load: float | None, of_files: Mapping[str, object], of_serving: Mapping[str, object]) -> None:
    """Refuse options that say nothing here. load: under which a server is tuned; None: a model's files are

    of_files, of_serving: options of one of the two alone -> what was typed, or None

    Raises:
        UsageError: one was typed.
    """
    for name, typed in (of_serving if load is None else of_files).items():
        if typed not in (None, []):
            told = "for lstn serve, with --load" if load is None else "not with --load, which tunes lstn serve"
            raise UsageError(
                f"{name} is {told}", hint="leave it out, or add --load" if load is None else "leave it out"
            )


def _few(option: str, given: list[T]) -> list[T]:
    if len(given) > _MOST:
        raise UsageError(f"{option}: {len(given)} values to try", hint=f"give {_MOST} at most")
    return given
