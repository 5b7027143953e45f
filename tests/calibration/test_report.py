import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hand_made import Edit, MeasureByHand, untouched
from rich.console import Console

from lstn.calibration.cost.cost_report import blame, cost_conditions, costs_to_json, decibel, headline, print_costs
from lstn.calibration.cost.lowering_cost import ClassifierCost
from lstn.calibration.cost.noise import LayerNoise
from lstn.contract import Contract, Loc


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def coarse(weights: dict[str, np.ndarray]) -> None:
    for name in weights:
        if name.endswith("weight"):
            weights[name] = np.round(weights[name], 1)


def read(costs: Mapping[str, ClassifierCost]) -> dict[str, Any]:
    return json.loads(costs_to_json(costs), parse_constant=refuse)["precisions"]


@pytest.fixture
def cost(measure_by_hand: MeasureByHand) -> ClassifierCost:
    return measure_by_hand(coarse)


def test_json_holds_every_figure(cost: ClassifierCost) -> None:
    found = read({"int8": cost, "fp16": cost})
    assert list(found) == ["int8", "fp16"]
    one = found["int8"]
    assert cost.drift is not None
    assert cost.changed is not None
    assert cost.top5 is not None
    for name in ("top1", "top5", "drift", "changed", "logit_difference"):
        assert one[name] == asdict(getattr(cost, name))
    for name in ("agreement", "images", "split_size", "noise_images"):
        assert one[name] == getattr(cost, name)
    assert one["warnings"] == list(cost.warnings)
    assert Contract.from_json(json.dumps(one["contract"]), source="json") == cost.contract


def test_json_holds_every_image(cost: ClassifierCost) -> None:
    found = read({"int8": cost})["int8"]
    for name in ("index", "label", "reference", "lowered", "logit_difference", "drift_px"):
        np.testing.assert_array_equal(found["per_image"][name], getattr(cost.per_image, name))
    for case, kept in zip(cost.worst, found["worst"], strict=True):
        assert kept["place"] == case.place
        np.testing.assert_array_equal(np.float32(kept["lowered_theta"]), case.lowered_theta)
        np.testing.assert_array_equal(np.float32(kept["reference_theta"]), case.reference_theta)


def test_json_holds_every_layer_and_has_words_for_what_is_no_number(cost: ClassifierCost) -> None:
    layers = (
        LayerNoise("backbone.a/Conv", "Conv", 20.5, math.inf),
        LayerNoise("backbone.b/Conv", "Conv", -math.inf, -math.inf),
        LayerNoise("backbone.c/Conv", "Conv", None, None),
    )
    found = read({"int8": replace(cost, layers=layers)})["int8"]["layers"]
    assert [(layer["output_db"], layer["own_db"]) for layer in found] == [
        (20.5, "exact"),
        ("no signal", "no signal"),
        (None, None),
    ]
    assert [layer["node"] for layer in found] == [layer.node for layer in layers]
    assert [decibel(layer.own_db) for layer in layers] == ["exact", "no signal", "not found"]


def test_what_there_is_not_is_null(measure_by_hand: MeasureByHand) -> None:
    cost = measure_by_hand(coarse, loc=Loc.NONE, labels=("a", "b", "c"))
    found = read({"fp16": cost})["fp16"]
    assert (found["drift"], found["changed"], found["top5"], found["per_image"]["drift_px"]) == (None,) * 4
    titles = [row[0] for row in headline({"fp16": cost}).rows]
    assert titles == [
        *("top-1", "calibration error", "same top-1 as fp32"),
        *("logit difference, mean", "logit difference, largest"),
    ]
    assert "theta" not in headline({"fp16": cost}).note


@pytest.mark.parametrize("edit", [coarse, untouched])
def test_the_table_says_what_was_measured(measure_by_hand: MeasureByHand, edit: Edit) -> None:
    cost = measure_by_hand(edit)
    table = headline({"int8": cost, "fp16": cost})
    assert table.columns == ("", "fp32", "int8", "fp16")
    rows = {title: cells for title, *cells in table.rows}
    assert cost.drift is not None
    assert cost.changed is not None
    assert rows["top-1"] == [f"{100 * cost.top1.reference:.2f} %", *[f"{100 * cost.top1.lowered:.2f} %"] * 2]
    errors = cost.errors
    assert rows["calibration error"] == [f"{100 * errors.reference:.2f} %", *[f"{100 * errors.fitted:.2f} %"] * 2]
    assert rows["same top-1 as fp32"] == ["", *[f"{100 * cost.agreement:.2f} %"] * 2]
    assert rows["drift, p99"] == ["", *[f"{cost.drift.p99_px:.3g} px"] * 2]
    assert rows["changed by the warp alone"] == ["", *[f"{100 * cost.changed.warp:.2f} %"] * 2]
    assert rows["changed by the backbone alone"] == ["", *[f"{100 * cost.changed.backbone:.2f} %"] * 2]
    assert "16 x 16" in table.note


def test_the_noisiest_layers_of_each_part_are_blamed(cost: ClassifierCost) -> None:
    def layer(name: str, own_db: float | None) -> LayerNoise:
        return LayerNoise(name, "Conv", 5.0, own_db)

    names = [f"backbone.{index}/Conv" for index in range(7)]
    layers = [layer(name, 20.0 + index) for index, name in enumerate(names)]
    layers += [layer("localizer.a/Conv", 40.0), layer("localizer.b/Conv", math.inf), layer("backbone.lost/Conv", None)]
    layers += [layer("backbone.dead/Conv", -math.inf), layer("logits", 1.0)]
    table = blame("int8", replace(cost, layers=tuple(layers)))
    assert table.rows[0] == ("localizer.a/Conv", "40.0", "5.0")
    assert table.rows[1] == ("backbone.dead/Conv", "no signal", "5.0")
    assert [row[0] for row in table.rows[2:]] == names[:4]


def test_what_is_printed_holds_table_warnings_and_layers(cost: ClassifierCost) -> None:
    out = StringIO()
    print_costs(Console(file=out, width=100, highlight=False), {"int8": cost})
    text = out.getvalue()
    assert "changed by the warp alone" in text
    assert f"warning: {cost.warnings[0]}" in text
    assert "Layers of int8 that add most noise" in text
    assert text.count("localizer.features.0/Conv") == 1


def test_nothing_is_blamed_where_nothing_is_noisy(measure_by_hand: MeasureByHand) -> None:
    out = StringIO()
    print_costs(Console(file=out, width=100, highlight=False), {"int8": measure_by_hand(untouched)})
    assert "add most noise" not in out.getvalue()


def test_one_line_says_what_was_measured_on_what(cost: ClassifierCost) -> None:
    assert cost_conditions({"int8": cost}) == (
        "lstn + cnn, 8 classes, 16 x 16 pixels; 40 of 40 validation images; ONNX Runtime on the CPU"
    )
