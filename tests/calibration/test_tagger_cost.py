"""The cost of a lowered model that tags, against loops over what both files answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from objects_in_memory import ObjectsInMemory, coloured
from onnx import numpy_helper
from sklearn.metrics import average_precision_score, f1_score
from tiny import SIDE, Tiny
from tiny_tagger import TAGS, THRESHOLDS, tiny_tagger

from lstn.calibration.answer_judge import TagJudge, judge_of
from lstn.calibration.cost.cost_page import cost_page
from lstn.calibration.cost.cost_report import costs_to_json, headline, label_differences
from lstn.calibration.cost.drift import measure_drift
from lstn.calibration.cost.gate import beyond
from lstn.calibration.cost.lowering_cost import Accuracy
from lstn.calibration.cost.tagger_cost import TaggerCost
from lstn.contract import LOGITS, Loc
from lstn.data.objects import Objects

IMAGES = 60


def has(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))) >= np.float32(THRESHOLDS))


def lowered(tiny: Tiny, path: Path, noise: float) -> Tiny:
    """Write the same model with other weights."""
    weights = (tiny.weights + noise * np.random.default_rng(3).normal(size=tiny.weights.shape) / 100).astype(np.float32)
    model = onnx.load(tiny.path)
    for weight in model.graph.initializer:
        if weight.name == "weights":
            weight.CopyFrom(numpy_helper.from_array(weights, weight.name))
    path.write_bytes(model.SerializeToString())
    return replace(tiny, path=path, weights=weights)


def labelled(tiny: Tiny) -> ObjectsInMemory:
    """Each image has the labels that the model gives it, but every fifth one has none."""
    pixels = coloured(IMAGES, SIDE)
    found = [
        np.flatnonzero(row) if number % 5 else np.empty(0, np.int64)
        for number, row in enumerate(has(tiny.logits(pixels)))
    ]
    return ObjectsInMemory(
        pixels, tuple(Objects(each, np.full((len(each), 2, 3), np.nan, np.float32)) for each in found)
    )


@pytest.fixture(params=[Loc.LSTN, Loc.NONE])
def tiny(tmp_path: Path, request: pytest.FixtureRequest) -> Tiny:
    return tiny_tagger(tmp_path / "model.onnx", loc=request.param)


@pytest.fixture
def images(tiny: Tiny) -> ObjectsInMemory:
    return labelled(tiny)


def cost_of(tiny: Tiny, other: Tiny, images: ObjectsInMemory) -> TaggerCost:
    cost = measure_drift(tiny.path, other.path, images)
    assert isinstance(cost, TaggerCost)
    return cost


def test_a_model_costs_nothing_against_itself(tiny: Tiny, images: ObjectsInMemory, tmp_path: Path) -> None:
    cost = cost_of(tiny, lowered(tiny, tmp_path / "same.onnx", 0.0), images)
    assert (cost.agreement, cost.logit_difference.largest) == (1, 0)
    assert cost.mean_average_precision.reference == cost.mean_average_precision.lowered
    assert beyond(cost) == ""
    assert label_differences("int8", cost).rows == ()


def test_figures_are_those_of_loops(tiny: Tiny, images: ObjectsInMemory, tmp_path: Path) -> None:
    other = lowered(tiny, tmp_path / "other.onnx", 0.5)
    cost = cost_of(tiny, other, images)
    one, two = (has(each.logits(images.pixels)) for each in (tiny, other))
    truth = np.array([[label in known.labels for label in range(len(TAGS))] for known in images.known])
    both, either = (one & two).sum(), (one | two).sum()
    assert 0 < both < either  # the noise is such that something is compared
    assert cost.agreement == pytest.approx(both / either)
    for given, first, second in zip(cost.given, one.T, two.T, strict=True):
        assert (given.reference, given.lowered, given.both) == (first.sum(), second.sum(), (first & second).sum())
        assert given.agreement == pytest.approx((first & second).sum() / max(1, (first | second).sum()))
    for name, each, answers in (("reference", tiny, one), ("lowered", other, two)):
        mean = average_precision_score(truth, each.logits(images.pixels), average="macro")
        assert getattr(cost.mean_average_precision, name) == pytest.approx(mean, abs=1e-6)
        assert getattr(cost.macro_f1, name) == pytest.approx(f1_score(truth, answers, average="macro"))
    assert cost.per_image.labels.tolist() == truth.sum(1).tolist()
    assert cost.per_image.both.tolist() == (one & two).sum(1).tolist()
    assert cost.shown == truth.sum()
    assert (cost.drift is None) == (tiny.contract.loc is Loc.NONE)
    apart = (one ^ two).sum(1)
    assert [apart[case.place] for case in cost.worst] == sorted(apart.tolist(), reverse=True)[:10]


def test_tables_json_and_the_page_hold_every_figure(tiny: Tiny, images: ObjectsInMemory, tmp_path: Path) -> None:
    cost = cost_of(tiny, lowered(tiny, tmp_path / "other.onnx", 0.5), images)
    rows = {title: cells for title, *cells in headline({"int8": cost}).rows}
    assert rows["same labels as fp32"] == ["", f"{100 * cost.agreement:.2f} %"]
    assert rows["labels given"] == [str(int(cost.per_image.reference.sum())), str(int(cost.per_image.lowered.sum()))]
    told = json.loads(costs_to_json({"int8": cost}))["precisions"]["int8"]
    assert [each["label"] for each in told["labels"]] == list(TAGS)
    assert [each["agreement"] for each in told["labels"]] == [each.agreement for each in cost.given]
    assert told["per_image"]["drift_px"] is None or tiny.contract.loc is not Loc.NONE
    differing = label_differences("int8", cost).rows
    assert [row[0] for row in differing] == [
        each.label for each in sorted(cost.given, key=lambda each: each.agreement) if each.agreement < 1
    ]
    page = cost_page({"int8": cost})
    assert "whose labels differ most" in page
    assert "<b>dog</b>" not in page  # a label is text


def test_limits_are_for_precision_and_labels(tiny: Tiny, images: ObjectsInMemory, tmp_path: Path) -> None:
    cost = replace(cost_of(tiny, lowered(tiny, tmp_path / "same.onnx", 0.0), images), shown=1000)
    less = replace(cost, mean_average_precision=Accuracy(0.8, 0.77))
    assert "average precision falls by 3.00 points, more than 2" in beyond(less)
    assert beyond(less, max_drop=3.1) == ""
    told = beyond(replace(cost, agreement=0.94))
    assert told == "another answer than in float32 for 6.0% of the labels, more than 5.0%"


def test_a_search_judges_by_mean_average_precision(tiny: Tiny, images: ObjectsInMemory) -> None:
    judge = judge_of(tiny.contract, images, range(IMAGES), [0] * IMAGES)
    assert isinstance(judge, TagJudge)
    logits = tiny.logits(images.pixels)
    truth = np.array([[label in known.labels for label in range(len(TAGS))] for known in images.known])
    assert judge.score({LOGITS: logits}) == pytest.approx(average_precision_score(truth, logits, average="macro"))
