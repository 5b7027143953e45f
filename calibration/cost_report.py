"""The costs of one or several precisions as tables of text, and as JSON."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from lstn.calibration.lowering_cost import Accuracy, BadCase, Changed, Drift, LoweringCost
from lstn.calibration.noise import LayerNoise
from lstn.contract import Loc
from lstn.formats.node_names import ModelPart, part_of
from lstn.report.table import Table, print_table
from lstn.report.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1

LoweringCosts: TypeAlias = Mapping[str, LoweringCost]
"""Name of the precision -> what it costs, all of them against one float32 model on the same images."""

_BLAMED = 5
"""Layers that are named of each part."""


def print_costs(console: "Console", costs: LoweringCosts) -> None:
    """Print what each precision costs side by side, what weakens the figures, and which layers are to blame."""
    print_table(console, headline(costs))
    for warning in warnings(costs):
        console.print(f"warning: {warning}", style="yellow", markup=False)
    for name, cost in costs.items():
        table = blame(name, cost)
        if table.rows:
            print_table(console, table)


def costs_to_json(costs: LoweringCosts) -> str:
    """Return every figure, those of single images included, as one JSON object."""
    return json.dumps({"version": VERSION, "precisions": {name: _as_json(cost) for name, cost in costs.items()}})


def describe(costs: LoweringCosts) -> str:
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
    first, each = next(iter(costs.values())), tuple(costs.values())
    rows = []
    for title, accuracy in _ACCURACIES.items():
        found = [accuracy(cost) for cost in each]
        shares = [pair for pair in found if pair is not None]
        if shares:
            rows.append((title, _percent(shares[0].reference), *(_percent(pair.lowered) for pair in shares)))
    for title, figure in _FIGURES.items():
        rows.append((title, "", *(figure(cost) for cost in each)))
    warped = [(cost.drift, cost.changed) for cost in each if cost.drift is not None and cost.changed is not None]
    if warped:
        for title, moved in _WARP_FIGURES.items():
            rows.append((title, "", *(moved(*pair) for pair in warped)))
    height, width = first.contract.image_hw
    drift_note = (
        f"Drift: how far the corner of the sampled quadrilateral that moved most did, in pixels of the {width} x "
        f"{height} input. Warp alone: lowered theta, fp32 backbone. Backbone alone: fp32 theta, lowered backbone."
    )
    return Table("What lower precision costs", ("", "fp32", *costs), tuple(rows), note=drift_note if warped else "")


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


_ACCURACIES: dict[str, Callable[[LoweringCost], Accuracy | None]] = {
    "top-1": lambda cost: cost.top1,
    "top-5": lambda cost: cost.top5,
}

_FIGURES: dict[str, Callable[[LoweringCost], str]] = {
    "same top-1 as fp32": lambda cost: _percent(cost.agreement),
    "logit difference, mean": lambda cost: f"{cost.logit_difference.mean:.3g}",
    "logit difference, largest": lambda cost: f"{cost.logit_difference.largest:.3g}",
}

_WARP_FIGURES: dict[str, Callable[[Drift, Changed], str]] = {
    "changed by the warp alone": lambda drift, changed: _percent(changed.warp),
    "changed by the backbone alone": lambda drift, changed: _percent(changed.backbone),
    "drift, mean": lambda drift, changed: f"{drift.mean_px:.3g} px",
    "drift, p99": lambda drift, changed: f"{drift.p99_px:.3g} px",
    "drift, max": lambda drift, changed: f"{drift.max_px:.3g} px",
}


def _as_json(cost: LoweringCost) -> dict[str, object]:
    images = cost.per_image
    columns = {
        "index": images.index,
        "label": images.label,
        "reference": images.reference,
        "lowered": images.lowered,
        "logit_difference": images.logit_difference,
        "drift_px": images.drift_px,
    }
    return {
        "contract": json.loads(cost.contract.to_json()),
        "images": cost.images,
        "split_size": cost.split_size,
        "top1": asdict(cost.top1),
        "top5": None if cost.top5 is None else asdict(cost.top5),
        "agreement": cost.agreement,
        "logit_difference": asdict(cost.logit_difference),
        "drift": None if cost.drift is None else asdict(cost.drift),
        "changed": None if cost.changed is None else asdict(cost.changed),
        "noise_images": cost.noise_images,
        "layers": list(_layers(cost)),
        "per_image": {name: None if values is None else values.tolist() for name, values in columns.items()},
        "worst": [_worst(case) for case in cost.worst],
        "warnings": list(cost.warnings),
    }


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
