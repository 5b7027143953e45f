"""The cost of a lowered detector, against loops over what both files answer."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from browser import Browser
from objects_in_memory import ObjectsInMemory, coloured
from onnx import numpy_helper
from tiny import SIDE, Tiny
from tiny_detector import CLASSES, tiny_detector

from lstn.calibration.answer_judge import LabelJudge, ObjectJudge, judge_of
from lstn.calibration.cost.cost_page import cost_page
from lstn.calibration.cost.cost_report import costs_to_json, headline
from lstn.calibration.cost.detector_cost import same_objects
from lstn.calibration.cost.drift import measure_drift
from lstn.calibration.cost.gate import beyond
from lstn.calibration.cost.lowering_cost import Accuracy, DetectorCost, Drift, PrecisionPair
from lstn.contract import LOGITS, THETA, Contract, Loc, ThetaForm
from lstn.data.objects import Objects
from lstn.detection.average_precision import average_precision
from lstn.detection.suppression import Detection, detections
from lstn.errors import DataError
from lstn.warps.quadrilaterals import overlaps

IMAGES, REGIONS = 30, 12


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return tiny_detector(tmp_path / "model.onnx", regions=REGIONS)


@pytest.fixture
def scenes(tiny: Tiny) -> ObjectsInMemory:
    """In each image are the objects that the model finds, but for the last, so that it is good and not perfect."""
    pixels = coloured(IMAGES, SIDE)
    logits, thetas = tiny.logits(pixels), tiny.theta(pixels).astype(np.float32)
    known = []
    for one, theta in zip(logits, thetas, strict=True):
        found = detections(one, theta, CLASSES, least=0.3)[:-1]
        labels = np.array([CLASSES.index(each.label) for each in found], np.int64)
        known.append(Objects(labels, np.reshape([each.theta for each in found], (-1, 2, 3)).astype(np.float32)))
    return ObjectsInMemory(pixels, tuple(known))


def lowered(tiny: Tiny, path: Path, *, order: np.ndarray | None = None, noise: float = 0.0, shift: float = 0.0) -> Tiny:
    """Write the same model with its regions in another order, other weights, or all regions moved to the right."""
    random, contract = np.random.default_rng(3), tiny.contract
    order = np.arange(REGIONS) if order is None else order
    logits = tiny.weights.reshape(3, REGIONS, -1)[:, order].reshape(3, -1)
    theta = tiny.theta_weights.reshape(3, REGIONS, 6)[:, order].reshape(3, -1)
    logits = (logits + noise * random.normal(size=logits.shape) / 100).astype(np.float32)
    theta = (theta + noise * random.normal(size=theta.shape) / 300).astype(np.float32)
    model = onnx.load(tiny.path)
    for weight in model.graph.initializer:
        values = {"weights": logits, "theta_weights": theta}.get(weight.name)
        if weight.name == "identity":
            values = numpy_helper.to_array(weight) + np.tile(np.array([0, 0, shift, 0, 0, 0]), REGIONS)
            values = values.astype(numpy_helper.to_array(weight).dtype)
        if values is not None:
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path.write_bytes(model.SerializeToString())
    return Tiny(path, contract, logits, theta)


def cost_of(reference: Tiny, other: Tiny, split: ObjectsInMemory) -> DetectorCost:
    cost = measure_drift(reference.path, other.path, split)
    assert isinstance(cost, DetectorCost)
    return cost


def test_regions_that_change_places_cost_nothing(tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path) -> None:
    other = lowered(tiny, tmp_path / "other.onnx", order=np.random.default_rng(1).permutation(REGIONS))
    cost = cost_of(tiny, other, scenes)
    assert (cost.agreement, cost.regions) == (1, 1)
    assert cost.logit_difference.largest < 1e-5
    assert cost.drift is not None
    assert cost.drift.max_px < 1e-5
    assert cost.region_drift.max_px < 1e-5
    assert cost.turned is not None
    for pair in (cost.upright, cost.turned):
        assert pair.ap.lowered == pytest.approx(pair.ap.reference, abs=1e-6)
    assert beyond(cost) == ""


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_figures_are_those_of_loops(tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path, noise: float) -> None:
    order = np.random.default_rng(1).permutation(REGIONS)
    other = lowered(tiny, tmp_path / "other.onnx", order=order, noise=noise)
    cost = cost_of(tiny, other, scenes)
    one, two = ((each.logits(scenes.pixels), each.theta(scenes.pixels).astype(np.float32)) for each in (tiny, other))
    drifts, region_drifts, kept, counts = [], [], [], np.zeros(3, int)
    for image in range(IMAGES):
        found = [detections(logits[image], theta[image], CLASSES, least=0.3) for logits, theta in (one, two)]
        near = [nearest(theta, two[1][image]) for theta in one[1][image]]
        region_drifts += [moved(*pair) for pair in zip(one[1][image], near, strict=True)]
        kept += [overlap(*pair) >= 0.5 for pair in zip(one[1][image], near, strict=True)]
        drifts += [moved(each.theta, nearest(each.theta, two[1][image])) for each in found[0]]
        counts += [len(found[0]), len(found[1]), paired(*found)]
    reference, lower, both = counts.tolist()
    assert asdict(cost.shown) == {"reference": reference, "lowered": lower, "both": both}
    assert cost.agreement == pytest.approx(both / (reference + lower - both))
    assert cost.regions == pytest.approx(np.mean(kept))
    assert cost.drift is not None
    for found_drift, wanted in ((cost.drift, drifts), (cost.region_drift, region_drifts)):
        np.testing.assert_allclose(
            [found_drift.mean_px, found_drift.p99_px, found_drift.max_px],
            [np.mean(wanted), np.percentile(wanted, 99), np.max(wanted)],
            rtol=1e-4,
            atol=1e-5,
        )
    for turned, pair in ((False, cost.upright), (True, cost.turned)):
        assert pair is not None
        for (logits, theta), model in ((one, "reference"), (two, "lowered")):
            answers = [detections(*each, CLASSES, least=0.001) for each in zip(logits, theta, strict=True)]
            wanted_ap = average_precision(scenes.known, answers, CLASSES, (SIDE, SIDE), turned=turned)
            assert getattr(pair.ap, model) == pytest.approx(wanted_ap.ap, abs=1e-4)
            assert getattr(pair.ap50, model) == pytest.approx(wanted_ap.ap50, abs=1e-4)
    assert 0 < cost.agreement < 1  # the noise is such that something is compared
    assert cost.objects == sum(map(len, scenes.known))
    assert cost.per_image.objects.tolist() == [len(each) for each in scenes.known]


def nearest(theta: np.ndarray, thetas: np.ndarray) -> np.ndarray:
    return min(thetas, key=lambda other: float(((other - theta) ** 2).sum()))


def moved(one: np.ndarray, other: np.ndarray) -> float:
    """How far the corner that moved most did, in pixels."""
    corners = [np.array([x, y, 1.0]) for x in (-1, 1) for y in (-1, 1)]
    return max(float(np.linalg.norm((one - other).astype(np.float64) @ corner) * SIDE / 2) for corner in corners)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(overlaps(one[None], other[None])[0, 0])


def paired(one: tuple[Detection, ...], other: tuple[Detection, ...]) -> int:
    """Each of one in its order takes the best of the others that are left."""
    left, count = list(other), 0
    for each in one:
        fits = [a for a in left if a.label == each.label and overlap(each.theta, a.theta) >= 0.5]
        if fits:
            left.remove(max(fits, key=lambda a: overlap(each.theta, a.theta)))
            count += 1
    return count


def test_no_object_is_taken_twice() -> None:
    square = np.eye(2, 3, dtype=np.float32)
    beside = square + np.array([[0, 0, 0.1], [0, 0, 0]], np.float32)
    one = (Detection("a", 0.9, square), Detection("a", 0.8, beside), Detection("b", 0.7, square))
    other = (Detection("a", 0.9, beside),)
    assert same_objects(one, other) == [(0, 0)]
    assert same_objects(one, ()) == same_objects((), one) == []
    assert same_objects(one, one) == [(0, 0), (1, 1), (2, 2)]


def test_a_shift_of_every_region_is_the_drift(tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path) -> None:
    cost = cost_of(tiny, lowered(tiny, tmp_path / "other.onnx", shift=0.01), scenes)
    assert cost.region_drift.max_px == pytest.approx(0.01 * SIDE / 2, rel=1e-3)
    assert cost.drift is not None
    assert cost.drift.mean_px == pytest.approx(0.01 * SIDE / 2, rel=1e-3)


def test_limits_are_for_precision_objects_and_their_drift(tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path) -> None:
    cost = cost_of(tiny, lowered(tiny, tmp_path / "other.onnx"), scenes)
    many = replace(cost, objects=1000)
    less = PrecisionPair(Accuracy(0.8, 0.77), Accuracy(0.9, 0.9))
    assert "average precision falls by 3.00 points, more than 2" in beyond(replace(many, turned=less))
    assert beyond(replace(many, turned=less), max_drop=3.1) == ""
    assert beyond(replace(many, upright=less)) == ""  # boxes of this model may be turned
    assert "average precision falls" in beyond(replace(many, upright=less, turned=None))
    assert "only one of the two models finds 6.0% of the objects" in beyond(replace(many, agreement=0.94))
    assert beyond(replace(many, objects=20, agreement=0.91)) == ""  # two of 20
    far = Drift(0.0, 1.0, 1.0)
    moved_far = replace(many, drift=far)
    assert beyond(moved_far) == ""  # average precision counts it
    told = beyond(moved_far, max_drift_px=0.5)
    assert told == "1 % of the objects move by 1.000 px or more, more than --max-drift-px 0.5"
    assert beyond(replace(many, region_drift=far), max_drift_px=0.5) == ""


def test_tables_and_json_hold_every_figure(tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path) -> None:
    cost = cost_of(tiny, lowered(tiny, tmp_path / "other.onnx", noise=0.3), scenes)
    assert cost.turned is not None
    rows = {title: cells for title, *cells in headline({"int8": cost}).rows}
    assert rows["AP, turned boxes"] == [
        f"{100 * cost.turned.ap.reference:.2f} %",
        f"{100 * cost.turned.ap.lowered:.2f} %",
    ]
    assert rows["same objects as fp32"] == ["", f"{100 * cost.agreement:.2f} %"]
    assert rows["objects found"] == [str(cost.shown.reference), str(cost.shown.lowered)]
    told = json.loads(costs_to_json({"int8": cost}))["precisions"]["int8"]
    for name in ("upright", "turned", "shown", "drift", "region_drift", "logit_difference"):
        assert told[name] == asdict(getattr(cost, name))
    assert told["regions"] == cost.regions
    assert told["per_image"]["both"] == cost.per_image.both.tolist()
    assert len(told["worst"]) == len(cost.worst) == 10
    upright = replace(cost, turned=None)
    assert "AP, turned boxes" not in {row[0] for row in headline({"int8": upright}).rows}
    assert next(iter(upright.scores)) == "AP, upright boxes"


def test_the_worst_images_are_those_whose_objects_differ(
    tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path, browser: Browser
) -> None:
    cost = cost_of(tiny, lowered(tiny, tmp_path / "other.onnx", noise=0.3), scenes)
    images = cost.per_image
    apart = images.reference + images.lowered - 2 * images.both
    assert [apart[scene.place] for scene in cost.worst] == sorted(apart.tolist(), reverse=True)[:10]
    file = tmp_path / "cost.html"
    file.write_text(cost_page({"<b>int8": cost}), encoding="utf-8")
    browser.show(file, width=390, scheme="light")
    assert browser.messages() == []
    assert browser.run("return document.documentElement.scrollWidth") == 390
    assert browser.run("return document.querySelectorAll('.two img').length") == 20
    assert browser.run("return [...document.images].filter(each => each.naturalWidth == 0).length") == 0


def test_images_must_say_where_their_objects_are(tiny: Tiny, scenes: ObjectsInMemory, tmp_path: Path) -> None:
    other = lowered(tiny, tmp_path / "other.onnx")

    class Nowhere:
        fingerprint = ""

        def __len__(self) -> int:
            return len(scenes)

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return scenes[index]

        def redrawn(self, epoch: int) -> "Nowhere":
            return self

    with pytest.raises(DataError, match="what they show, and not where"):
        measure_drift(tiny.path, other.path, Nowhere())


@pytest.mark.parametrize("form", [ThetaForm.AFFINE, ThetaForm.CROP])
def test_a_search_judges_by_average_precision(tiny: Tiny, scenes: ObjectsInMemory, form: ThetaForm) -> None:
    contract = replace(tiny.contract, theta=form)
    answers = {LOGITS: tiny.logits(scenes.pixels), THETA: tiny.theta(scenes.pixels).astype(np.float32)}
    judge = judge_of(contract, scenes, range(IMAGES), [0] * IMAGES)
    assert isinstance(judge, ObjectJudge)
    found = [detections(*each, CLASSES, least=0.001) for each in zip(*answers.values(), strict=True)]
    turned = form is ThetaForm.AFFINE
    wanted = average_precision(scenes.known, found, CLASSES, (SIDE, SIDE), turned=turned).ap
    assert judge.score(answers) == pytest.approx(wanted)
    order = np.random.default_rng(0).permutation(REGIONS)
    mixed = {name: values[:, order] for name, values in answers.items()}
    np.testing.assert_array_equal(judge.logits_like(mixed, answers), answers[LOGITS])


def test_a_classifier_is_judged_by_its_labels() -> None:
    contract = Contract(Loc.NONE, "cnn", (SIDE, SIDE), ("a", "b"))
    judge = judge_of(contract, ObjectsInMemory(coloured(4, SIDE), ()), range(4), [0, 1, 1, 0])
    assert isinstance(judge, LabelJudge)
    assert judge.score({LOGITS: np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)}) == 0.75
