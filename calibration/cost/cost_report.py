"""The costs of one or several precisions as tables of text, and as JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, fields
from typing import TYPE_CHECKING, TypeAlias

from lstn.calibration.cost.lowering_cost import (
    BadCase,
    BadScene,
    ClassifierCost,
    DetectorCost,
    LoweringCost,
    PerImage,
    PerScene,
)
from lstn.calibration.cost.noise import LayerNoise
from lstn.calibration.cost.tagger_cost import PerTagged, TaggerCost
from lstn.contract import Loc
from lstn.detection.suppression import SHOWN_SCORE
from lstn.formats.node_names import ModelPart, part_of
from lstn.report.table import Table, print_table
from lstn.report.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1

LoweringCosts: TypeAlias = Mapping[str, LoweringCost]
"""Name of the precision -> what it costs, all of them against one float32 model on the same images."""

_BLAMED, _APART = 5, 10
"""Layers that are named of each part, and labels."""


def print_costs(console: "Console", costs: LoweringCosts) -> None:
    """Print what each precision costs side by side, what weakens the figures, and which layers are to blame."""
    print_table(console, headline(costs))
    for warning in warnings(costs):
        console.print(f"warning: {warning}", style="yellow", markup=False)
    for name, cost in costs.items():
        for table in (label_differences(name, cost), blame(name, cost)):
            if table.rows:
                print_table(console, table)


def costs_to_json(costs: LoweringCosts) -> str:
    """Return every figure, those of single images included, as one JSON object."""
    return json.dumps({"version": VERSION, "precisions": {name: _as_json(cost) for name, cost in costs.items()}})


def cost_conditions(costs: LoweringCosts) -> str:
    """Say in a line what was measured on what."""
    cost = next(iter(costs.values()))
    contract = cost.contract
    height, width = contract.image_hw
    before = "" if contract.loc is Loc.NONE else f"{contract.loc.value} + "
    model = f"{before}{contract.backbone}, {counted(len(contract.labels), 'class')}, {width} x {height} pixels"
    return f"{model}; {cost.images} of {counted(cost.split_size, 'validation image')}; ONNX Runtime on the CPU"


def warnings(costs: LoweringCosts) -> tuple[str, ...]:
    """Return what makes the figures weaker than they look, each once."""
    return tuple(dict.fromkeys(warning for cost in costs.values() for warning in cost.warnings))


def headline(costs: LoweringCosts) -> Table:
    """Lay float32 and every precision out side by side."""
    first = next(iter(costs.values()))
    each = [_figures(cost) for cost in costs.values()]
    rows = tuple((title, cell[0], *(figures[title][1] for figures in each)) for title, cell in each[0].items())
    height, width = first.contract.image_hw
    moved = f"in pixels of the {width} x {height} input."
    note = ""
    if isinstance(first, DetectorCost):
        note = (
            f"Objects found: with a score of {SHOWN_SCORE:g} or more. Same objects: of those that either model finds, "
            "the share that both find, as one class and overlapping by a half. Same regions overlap by a half. Drift: "
            f"how far the corner that moved most did of what fp32 finds, or of every region, {moved}"
        )
    elif first.drift is not None:
        note = f"Drift: how far the corner of the sampled quadrilateral that moved most did, {moved}"
    if isinstance(first, ClassifierCost) and first.drift is not None:
        note += " Warp alone: lowered theta, fp32 backbone. Backbone alone: fp32 theta, lowered backbone."
    if isinstance(first, TaggerCost):
        note = f"Same labels: of those that either model gives to an image, the share that both give. {note}".strip()
    return Table("What lower precision costs", ("", "fp32", *costs), rows, note=note)


def _figures(cost: LoweringCost) -> dict[str, tuple[str, str]]:
    """What a row is called -> its cells, of float32 and of the lowered model."""
    figures = {title: (_percent(pair.reference), _percent(pair.lowered)) for title, pair in cost.scores.items()}
    if isinstance(cost, DetectorCost):
        figures["objects found"] = (f"{cost.shown.reference:,}", f"{cost.shown.lowered:,}")
        figures["same objects as fp32"] = ("", _percent(cost.agreement))
        figures["same regions as fp32"] = ("", _percent(cost.regions))
        figures["drift of regions, p99"] = ("", f"{cost.region_drift.p99_px:.3g} px")
    elif isinstance(cost, TaggerCost):
        given = (sum(getattr(each, model) for each in cost.given) for model in ("reference", "lowered"))
        figures["labels given"] = (f"{next(given):,}", f"{next(given):,}")
        figures["same labels as fp32"] = ("", _percent(cost.agreement))
    else:
        assert isinstance(cost, ClassifierCost)
        figures["calibration error"] = (_percent(cost.errors.reference), _percent(cost.errors.fitted))
        figures["same top-1 as fp32"] = ("", _percent(cost.agreement))
    figures["logit difference, mean"] = ("", f"{cost.logit_difference.mean:.3g}")
    figures["logit difference, largest"] = ("", f"{cost.logit_difference.largest:.3g}")
    if isinstance(cost, ClassifierCost) and cost.changed is not None:
        figures["changed by the warp alone"] = ("", _percent(cost.changed.warp))
        figures["changed by the backbone alone"] = ("", _percent(cost.changed.backbone))
    if cost.drift is not None:
        for name, moved_px in zip(("mean", "p99", "max"), astuple(cost.drift), strict=True):
            figures[f"drift, {name}"] = ("", f"{moved_px:.3g} px")
    return figures


def label_differences(name: str, cost: LoweringCost) -> Table:
    """Name the labels that the two models give to different images, the worst first; no rows for other tasks."""
    given = cost.given if isinstance(cost, TaggerCost) else ()
    worst = sorted((each for each in given if each.agreement < 1), key=lambda each: each.agreement)[:_APART]
    rows = [
        (each.label, str(each.reference), str(each.lowered), str(each.both), f"{100 * each.agreement:.1f}")
        for each in worst
    ]
    columns = ("label", "fp32", name, "both", "agreement %")
    return Table("Labels that agree least: images that are given them", columns, tuple(rows))


def blame(name: str, cost: LoweringCost) -> Table:
    """Name the layers that add most noise of their own, of the localizer and of the backbone."""
    rows = []
    for part in (ModelPart.LOCALIZER, ModelPart.BACKBONE):
        noisy = [layer for layer in cost.layers if part_of(layer.node) is part and layer.own_db not in (None, math.inf)]
        worst = sorted(noisy, key=_own)[:_BLAMED]
        rows += [(layer.node, decibel(layer.own_db), decibel(layer.output_db)) for layer in worst]
    note = (
        f"Signal to noise over {counted(cost.noise_images, 'image')}. Own: with fp32 before it, so what rounding its "
        "weights and inputs adds. So far: with everything before it lowered too."
    )
    return Table(f"Layers of {name} that add most noise", ("layer", "own dB", "so far dB"), tuple(rows), note=note)


def decibel(value: float | None) -> str:
    """34.53 -> `34.5`; and words for what is no number."""
    if value is None:
        return "not found"
    return f"{value:.1f}" if math.isfinite(value) else _word(value)


def _word(value: float) -> str:
    return "exact" if value > 0 else "no signal"


def _own(layer: LayerNoise) -> float:
    return math.inf if layer.own_db is None else layer.own_db


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _as_json(cost: LoweringCost) -> dict[str, object]:
    return {
        "contract": json.loads(cost.contract.to_json()),
        "images": cost.images,
        "split_size": cost.split_size,
        **_of_task(cost),
        "agreement": cost.agreement,
        "logit_difference": asdict(cost.logit_difference),
        "drift": None if cost.drift is None else asdict(cost.drift),
        "noise_images": cost.noise_images,
        "layers": list(_layers(cost)),
        "warnings": list(cost.warnings),
    }


def _of_task(cost: LoweringCost) -> dict[str, object]:
    """What only the cost of a model of one task has."""
    if isinstance(cost, DetectorCost):
        return {
            "objects": cost.objects,
            "upright": asdict(cost.upright),
            "turned": None if cost.turned is None else asdict(cost.turned),
            "shown": asdict(cost.shown),
            "regions": cost.regions,
            "region_drift": asdict(cost.region_drift),
            "per_image": _columns(cost.per_image),
            "worst": [_worst_scene(scene) for scene in cost.worst],
        }
    if isinstance(cost, TaggerCost):
        return {
            "mean_average_precision": asdict(cost.mean_average_precision),
            "macro_f1": asdict(cost.macro_f1),
            "labels": [asdict(each) | {"agreement": each.agreement} for each in cost.given],
            "per_image": _columns(cost.per_image),
            "worst": [_worst(case) for case in cost.worst],
        }
    assert isinstance(cost, ClassifierCost)
    return {
        "top1": asdict(cost.top1),
        "top5": None if cost.top5 is None else asdict(cost.top5),
        "calibration_error": asdict(cost.errors),
        "changed": None if cost.changed is None else asdict(cost.changed),
        "per_image": _columns(cost.per_image),
        "worst": [_worst(case) for case in cost.worst],
    }


def _columns(images: PerImage | PerScene | PerTagged) -> dict[str, object]:
    values = {each.name: getattr(images, each.name) for each in fields(images)}
    return {name: None if column is None else column.tolist() for name, column in values.items()}


def _layers(cost: LoweringCost) -> Iterator[dict[str, object]]:
    """JSON has no infinity, so that one is said in words."""
    for layer in cost.layers:
        fields: dict[str, object] = asdict(layer)
        for name, value in (("output_db", layer.output_db), ("own_db", layer.own_db)):
            if value is not None and math.isinf(value):
                fields[name] = _word(value)
        yield fields


def _worst(case: BadCase) -> dict[str, object]:
    thetas = {"reference_theta": case.reference_theta, "lowered_theta": case.lowered_theta}
    return {"place": case.place} | {name: None if theta is None else theta.tolist() for name, theta in thetas.items()}


def _worst_scene(scene: BadScene) -> dict[str, object]:
    found = {"reference": scene.reference, "lowered": scene.lowered}
    return {"place": scene.place} | {name: [each.fields() for each in objects] for name, objects in found.items()}
