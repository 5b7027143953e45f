"""One calibration from end to end: measure ranges, choose layers, lower, measure the cost, and keep the file or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from lstn.calibration.cost.compared_models import IMAGES as MEASURED
from lstn.calibration.cost.cost_page import cost_page
from lstn.calibration.cost.cost_report import costs_to_json
from lstn.calibration.cost.drift import measure_drift
from lstn.calibration.cost.gate import beyond
from lstn.calibration.cost.lowering_cost import ClassifierCost, LoweringCost
from lstn.calibration.emulate import emulated
from lstn.calibration.kept_layers import HEAD_ALONE, LOCALIZER, all_kept, kept_layers, layer_names
from lstn.calibration.lower import load_float32, lowered_model
from lstn.calibration.ranges import Ranges, check_count, ranges_of
from lstn.calibration.sensitivity import Outcome, fewest_to_keep
from lstn.calibration.tempering import tempered
from lstn.contract import WHOLE_IMAGE, Contract, Loc, Task, does
from lstn.data.objects import check_objects
from lstn.data.splits import DataSet, spaced
from lstn.data.tags.tag_sets import check_tagged
from lstn.data.task_sets import open_for_model
from lstn.errors import UsageError, VerificationError
from lstn.files import as_utf8, replacing, scratch_folder
from lstn.formats.outputs import COST, ONNX, PAGE, RANGES, OutputFile, check_outputs
from lstn.imports import require
from lstn.precision import Precision, RangeMethod
from lstn.terminal import note_once

IMAGES = 512
"""How many training images ranges are measured on, unless told otherwise."""

DEFAULT_KEEP = {
    Precision.FP16: (HEAD_ALONE,),
    Precision.BF16: (LOCALIZER,),
    Precision.INT8: (LOCALIZER,),
    Precision.FP8: (LOCALIZER,),
    Precision.INT8_FP16: (LOCALIZER,),
    Precision.FP8_FP16: (LOCALIZER,),
}
"""What stays float32 unless told otherwise, by what trained models lost (docs/how-to/calibration.md).

In float16 the warps of a whole localizer move by hundredths of a pixel; in bfloat16 by up to a third of one, and in 8
bits by up to three.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """What to lower to, on which images, and how much it may cost.

    data, seed:   the data set, as `--data` names it: ranges come from its training split, the cost from its validation
                  split; no seed: nobody says what the model was trained with
    images:       how many the ranges are measured on
    keep:         layers that stay float32, as `lstn.calibration.kept_layers.kept_layers` takes them; None: the default
    auto:         find the layers to keep, so that top-1 accuracy, or the average precision of other models, falls by at
                  most so many points; None: don't
    max_drop:     in points of these; None: `lstn.calibration.cost.gate.MAX_DROP`
    max_drift_px: the 99th percentile over images; None: MAX_DRIFT there
    force:        keep the model whatever it costs
    """

    precision: Precision
    data: str
    seed: int | None
    images: int = IMAGES
    method: RangeMethod = RangeMethod.MINMAX
    keep: tuple[str, ...] | None = None
    auto: float | None = None
    max_drop: float | None = None
    max_drift_px: float | None = None
    force: bool = False

    def check(self) -> None:
        """Check that what is asked for has a meaning for this precision.

        Raises:
            UsageError: images or a method for ranges, of which there are none.
        """
        if not self.precision.quantized and (self.images != IMAGES or self.method is not RangeMethod.MINMAX):
            raise UsageError("--images and --ranges are for int8 and fp8: half precision needs no ranges")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was written, what it costs, and how the layers to keep were found if they were looked for.

    layers: all that have weights, in order of computation; kept: those in float32
    beyond: which bound the cost is beyond, although the model was kept; else empty
    """

    onnx: Path
    json: Path
    html: Path
    cost: LoweringCost
    layers: tuple[str, ...]
    kept: frozenset[str]
    search: Outcome | None
    beyond: str


def calibrate(onnx_file: Path, out: Path, settings: CalibrationSettings) -> Calibrated:
    """Lower `onnx_file` into the folder `out`: `model.onnx` -> `model.int8.onnx`, with its cost as JSON and as a page.

    The files get their names once the cost is known and within its bounds. Beyond its bounds, older files of the same
    names are removed. The ranges are kept beside them.

    Raises:
        UsageError: an option that doesn't fit the model.
        ArtifactError: no float32 ONNX file of lstn, or damaged ranges.
        DataError: too few images, or images of other classes.
        VerificationError: the cost is beyond its bounds, or the lowered model answers with what is not finite.
        LstnError: a weight is too large for float16, or no layer can be lowered within `auto` points.
    """
    contract, model = load_float32(onnx_file)
    check_outputs(lowered_outputs(onnx_file, out, settings.precision, settings.method), inputs=[onnx_file])
    data, kept = checked_settings(contract, layer_names(model), settings)
    ranges = _ranges(onnx_file, data, out, settings)
    search = _search(contract, model, data, ranges, kept, settings)
    if search is not None:
        kept = search.kept
    lowered = lowered_model(model, settings.precision, kept, ranges)
    made, json, html = _paths(onnx_file, out, settings.precision)
    try:
        cost = _measured(onnx_file, lowered, data, made.stem, settings.precision)
        reason = beyond(cost, max_drop=settings.max_drop, max_drift_px=settings.max_drift_px)
        if reason and not settings.force:
            hint = "keep more layers in float32: lstn calibrate --keep or --auto; --force writes it anyway"
            raise VerificationError(f"{reason}; no {made.name} is left", hint=hint)
    except VerificationError:
        for older in (made, json, html):  # it would pass for this one's
            older.unlink(missing_ok=True)
        raise
    if isinstance(cost, ClassifierCost) and cost.errors.temperature != 1:
        lowered = tempered(lowered, contract, cost.errors.temperature)
    costs = {settings.precision.value: cost}
    # They get their names together, the model's first; until then older ones stand.
    with replacing(html) as new_html, replacing(json) as new_json, replacing(made) as new:
        new.write_bytes(lowered.SerializeToString(deterministic=True))
        new_json.write_bytes(as_utf8(costs_to_json(costs)))
        new_html.write_bytes(as_utf8(cost_page(costs)))
    return Calibrated(made, json, html, cost, layer_names(model), kept, search, reason)


def checked_settings(
    contract: Contract, layers: Sequence[str], settings: CalibrationSettings
) -> tuple[DataSet, frozenset[str]]:
    """Check settings against a model before any work, and return the images and the layers to keep in float32.

    layers: those of the model that have weights

    Raises:
        UsageError: an option that doesn't fit the model.
        DataError: too few images, images of other classes, or no validation image that shows an object or has a
            label.
        MissingExtra: what measures detectors is not installed.
    """
    if contract.task not in (*WHOLE_IMAGE, Task.DETECT):
        raise UsageError(
            f"a lower precision is for models that classify, tag or detect, and this one {does(contract.task)}",
            hint="lstn export writes it in float32",
        )
    if settings.max_drift_px is not None and contract.loc is Loc.NONE:
        raise UsageError("--max-drift-px is for models with a transformer, and this one has none", hint="leave it out")
    kept = kept_layers(layers, DEFAULT_KEEP[settings.precision] if settings.keep is None else settings.keep)
    if set(layers) <= kept:
        raise all_kept()
    data = open_for_model(contract, settings.data, seed=settings.seed)
    if data.found:
        note_once(data.found)
    val = data.val  # what can't be opened is to be known before the work
    if contract.task is Task.DETECT:
        require("pycocotools.coco", extra="detect")
        check_objects(val, settings.data, spaced(len(val), MEASURED))
    if contract.task is Task.TAG:
        check_tagged(val, settings.data)
    if settings.precision.quantized:
        check_count(data.train, settings.images)
    return data, kept


def lowered_outputs(onnx_file: Path, out: Path, precision: Precision, method: RangeMethod) -> list[OutputFile]:
    """Return what `calibrate` writes for this model."""
    kinds = zip(_paths(onnx_file, out, precision), (ONNX, COST, PAGE), strict=True)
    ranges = [OutputFile(_cache(onnx_file, out, method), RANGES)] if precision.quantized else []
    return [*(OutputFile(path, kind) for path, kind in kinds), *ranges]


def _paths(onnx_file: Path, out: Path, precision: Precision) -> tuple[Path, Path, Path]:
    """The lowered model, and its cost as JSON and as a page."""
    stem = f"{onnx_file.stem}.{precision.value}"
    return out / f"{stem}.onnx", out / f"{stem}.cost.json", out / f"{stem}.cost.html"


def _cache(onnx_file: Path, out: Path, method: RangeMethod) -> Path:
    return out / f"{onnx_file.stem}.{method.value}.ranges.json"


def _ranges(onnx_file: Path, data: DataSet, out: Path, settings: CalibrationSettings) -> Ranges | None:
    if not settings.precision.quantized:
        return None
    cache = _cache(onnx_file, out, settings.method)
    return ranges_of(
        onnx_file, data.train, method=settings.method, count=settings.images, seed=settings.seed or 0, cache=cache
    )


def _search(
    contract: Contract,
    model: onnx.ModelProto,
    data: DataSet,
    ranges: Ranges | None,
    kept: frozenset[str],
    settings: CalibrationSettings,
) -> Outcome | None:
    if settings.auto is None:
        return None
    return fewest_to_keep(
        model,
        settings.precision,
        lambda layers: lowered_model(model, settings.precision, layers, ranges),
        data.val,
        contract=contract,
        always=kept,
        max_drop=settings.auto,
        count=MEASURED,
    )


def _measured(
    onnx_file: Path, lowered: onnx.ModelProto, data: DataSet, stem: str, precision: Precision
) -> LoweringCost:
    with scratch_folder() as folder:
        runs = folder / f"{stem}.onnx"
        runs.write_bytes(emulated(lowered, precision).SerializeToString())
        return measure_drift(onnx_file, runs, data.val)
