"""Ranges of a model's tensors, measured on training images, and kept for the next time."""

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import onnx
from msgspec import Meta
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    CalibrationDataReader,
    CalibrationMethod,
    TensorData,
    TensorsData,
    create_calibrator,
)

from lstn.calibration.kept_layers import QUANTIZED, kept_layers, layer_names, lowered_nodes
from lstn.contract import PIXELS
from lstn.data.dataset import Split
from lstn.errors import ArtifactError, DataError, LstnError
from lstn.files import scratch_folder, sha256_of, write_text
from lstn.images import Pixels
from lstn.machine.memory import batch_of
from lstn.precision import RangeMethod
from lstn.report.wording import counted
from lstn.terminal import note, warn
from lstn.untrusted.checked_json import Count, Natural, read_bytes, read_text
from lstn.waiting import worked, working

FEWEST, FEW = 8, 128
"""Fewer images than the first are refused, than the second warned of: the ranges would be those of single images."""

_BATCH = 8
_MAX_BYTES = 16 << 20
_LARGEST = float(np.finfo(np.float32).max)

_Bound: TypeAlias = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]

_METHODS = {
    RangeMethod.MINMAX: (CalibrationMethod.MinMax, {}),
    RangeMethod.ENTROPY: (CalibrationMethod.Entropy, {"num_bins": 2048, "num_quantized_bins": 128, "symmetric": True}),
    RangeMethod.PERCENTILE: (CalibrationMethod.Percentile, {"num_bins": 2048, "percentile": 99.999, "symmetric": True}),
}


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of a model's tensors, and what they were measured on.

    onnx_sha256: of the model
    images, seed, data: how many, drawn how, from which split (its fingerprint)
    tensors:     name -> smallest and largest value
    """

    onnx_sha256: str
    method: RangeMethod
    images: Count
    seed: Natural
    data: str
    tensors: dict[str, tuple[_Bound, _Bound]]

    def for_quantizer(self) -> TensorsData:
        """Return the ranges as ONNX Runtime's quantizer takes them."""
        tensors = {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in self.tensors.items()
        }
        return TensorsData(CalibrationMethod.MinMax, tensors)


def drawn_indices(split: Split, count: int, seed: int) -> list[int]:
    """Return the indices of `count` images of a split, or of all if it has fewer, in an order that `seed` decides.

    Raises:
        DataError: fewer than 8.
    """
    check_count(split, count)
    if (found := min(count, len(split))) < FEW:
        warn(f"calibrating on {counted(found, 'image')}; {FEW} or more give steadier ranges")
    return [int(index) for index in np.random.default_rng(seed).permutation(len(split))[:found]]


def check_count(split: Split, count: int) -> None:
    """Refuse too few images.

    Raises:
        DataError: fewer than 8.
    """
    if (found := min(count, len(split))) < FEWEST:
        hint = "use a larger data set" if len(split) < FEWEST else f"use --images {FEWEST} or more"
        raise DataError(f"{counted(found, 'image')} to calibrate on, at least {FEWEST} are needed", hint=hint)


def ranges_of(onnx_file: Path, split: Split, *, method: RangeMethod, count: int, seed: int, cache: Path) -> Ranges:
    """Return the ranges of every tensor that quantization may need, from `cache` if it has them.

    A cache of another model or of other settings is measured again, and replaced.

    split: of training images

    Raises:
        ArtifactError: the cache is damaged.
        DataError: too few images.
        LstnError: a tensor isn't finite.
    """
    wanted = Ranges(sha256_of(onnx_file), method, min(count, len(split)), seed, split.fingerprint, {})
    if cache.exists() and (kept := _read(cache, wanted, onnx_file)) is not None:
        return kept
    indices = drawn_indices(split, count, seed)
    tensors = _measure(onnx_file, split, indices, method)
    if broken := [name for name, values in tensors.items() if not all(map(math.isfinite, values))]:
        raise LstnError(f"{onnx_file}: {broken[0]} has values that are not finite", hint="train the model again")
    ranges = Ranges(wanted.onnx_sha256, method, len(indices), seed, wanted.data, tensors)
    write_text(cache, json.dumps(asdict(ranges) | {"method": method.value}, indent=1))
    return ranges


def _measure(
    onnx_file: Path, split: Split, indices: Sequence[int], method: RangeMethod
) -> dict[str, tuple[float, float]]:
    with scratch_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not finite, which the caller refuses
        calibrator = _calibrator(onnx_file, folder, method)
        batch = batch_of(split[0][0].shape[:2], _BATCH)
        starts = range(0, len(indices), batch)
        for start in worked("measuring ranges", starts, len(starts)):
            # One batch a call: within a call, the calibrator keeps every tensor of every image.
            pixels = np.stack([split[index][0] for index in indices[start : start + batch]])
            try:
                with redirect_stdout(StringIO()):  # it reports there, where results are to stand
                    calibrator.collect_data(_OneBatch(pixels))
            except ValueError as error:  # NumPy's, of values that it can't divide into bins
                raise LstnError(
                    f"{onnx_file}: no {method.value} ranges: a tensor's values are too small, or not finite ({error})",
                    hint="use --ranges minmax",
                ) from error
        with working("choosing ranges"), redirect_stdout(StringIO()):
            data = calibrator.compute_data()
    ranges = {name: entry.range_value for name, entry in data.items()}
    return {name: (ranges[name][0].item(), ranges[name][1].item()) for name in sorted(ranges)}  # else as hashes fall


def _calibrator(onnx_file: Path, folder: Path, method: RangeMethod) -> CalibraterBase:
    how, options = _METHODS[method]
    try:
        return create_calibrator(
            onnx_file,
            list(QUANTIZED),
            str(folder / "augmented.onnx"),
            how,
            providers=["CPUExecutionProvider"],
            extra_options=options,
        )
    # On a full disk ONNX cuts its file off silently. It or ONNX Runtime, whose errors have no base, reads that back.
    except Exception as error:
        raise LstnError(
            f"cannot write a copy of {onnx_file} to {folder.parent}",
            hint="free some space there, or set TMPDIR to another place",
        ) from error


class _OneBatch(CalibrationDataReader):  # type: ignore[misc]  # of an untyped package
    """One batch of pixels, as the calibrator takes its input."""

    def __init__(self, pixels: Pixels) -> None:
        self._batches: Iterator[dict[str, Pixels]] = iter([{PIXELS: pixels}])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)


def _read(cache: Path, wanted: Ranges, onnx_file: Path) -> Ranges | None:
    hint = "remove it, and the ranges are measured again"
    data = read_bytes(cache, most=_MAX_BYTES, what="a cache of ranges", hint=hint)
    found = read_text(data, Ranges, source=str(cache), what="ranges", hint=hint)
    for field, what in _BELONGS.items():
        ours, theirs = getattr(wanted, field), getattr(found, field)
        if ours != theirs:
            note(f"{cache}: ranges of another {what} ({theirs!s:.12}, not {ours!s:.12}); they are measured again")
            return None
    if broken := [name for name, (low, high) in found.tensors.items() if low > high]:
        raise ArtifactError(f"{cache}: damaged ranges ({broken[0]:.80} has none)", hint=hint)
    if lost := sorted(_wanted_tensors(onnx_file) - set(found.tensors)):
        raise ArtifactError(f"{cache}: damaged ranges ({lost[0]:.80} is missing)", hint=hint)
    return found


def _wanted_tensors(onnx_file: Path) -> set[str]:
    """Return what quantization reads ranges of: all that a quantized operator is given, if only the head is kept."""
    model = onnx.load(onnx_file, load_external_data=False)
    constants = {weight.name for weight in model.graph.initializer}
    lowered = set(lowered_nodes(model, kept_layers(layer_names(model), ())))
    readers = (node for node in model.graph.node if node.op_type in QUANTIZED and node.name in lowered)
    return {name for node in readers for name in node.input if name and name not in constants}


_BELONGS = {
    "onnx_sha256": "model",
    "method": "method",
    "images": "number of images",
    "seed": "seed",
    "data": "data set",
}
"""A field of `Ranges` that must be as wanted -> what it is called."""
