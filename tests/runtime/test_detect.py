"""`Engine.detect`, against `detections` on what the engine answers itself, and its rows in `lstn infer`."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from PIL import Image
from tiny import Tiny
from tiny_detector import CLASSES, tiny_detector

import lstn
from lstn.contract import Contract, Loc, Task
from lstn.detection.suppression import detections
from lstn.images import decode
from lstn.testing import FakeEngine
from lstn.warps.quadrilaterals import upright_box


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return tiny_detector(tmp_path / "detector.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Of colours in which the detector finds more and fewer objects."""
    random = np.random.default_rng(1)
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for path in paths:
        colour = random.integers(0, 256, 3)
        noise = random.integers(-9, 10, (20, 30, 3))
        Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)
    return paths


def fields(found: tuple[lstn.Detection, ...]) -> list[dict[str, object]]:
    return [each.fields() for each in found]


@pytest.mark.parametrize("least", [0.0, 0.3, 0.9])
def test_its_objects_are_those_of_its_regions(tiny: Tiny, photos: list[Path], least: float) -> None:
    pixels = np.stack([decode(path, tiny.contract.image_hw) for path in photos])
    with lstn.open_engine(tiny.path, device="cpu", threads=1) as engine:
        found = engine.detect(photos, least=least)
        raw = engine.infer(pixels)
        assert raw.theta is not None
        assert raw.logits.shape == (len(photos), 12, len(CLASSES) + 1)
        np.testing.assert_allclose(raw.logits, tiny.logits(pixels), atol=1e-4)
        wanted = [detections(*each, CLASSES, least=least) for each in zip(raw.logits, raw.theta, strict=True)]
        assert [fields(each) for each in found] == [fields(each) for each in wanted]
        for image in (photos[0], str(photos[0]), photos[0].read_bytes(), pixels[0]):
            one = engine.detect(image, least=least)
            assert isinstance(one, tuple)
            assert [each.label for each in one] == [each.label for each in found[0]]
            np.testing.assert_allclose([each.score for each in one], [each.score for each in found[0]], atol=1e-6)
    assert len({len(each) for each in found}) > 1  # not all alike


def test_its_objects_are_the_rows_of_lstn_infer(
    tiny: Tiny, photos: list[Path], tmp_path: Path, run_lstn: RunLstn
) -> None:
    out = tmp_path / "rows.json"
    assert run_lstn("infer", *photos, "--engine", tiny.path, "--output", out, "--batch", len(photos)).code == 0
    with lstn.open_engine(tiny.path, device="cpu") as engine:
        found = engine.detect(photos)
    rows = json.loads(out.read_text())
    assert [row["objects"] for row in rows] == json.loads(json.dumps([fields(each) for each in found]))
    assert sum(map(len, found)) > len(photos)


def test_an_object_says_what_it_is_and_where() -> None:
    theta = np.array([[0.5, 0, -0.25], [0, 0.25, 0.5]], np.float32)
    found = lstn.Detection("bus", 0.9731239, theta)
    assert str(found) == "bus 97.3 %"
    assert found.box == (0.125, 0.625, 0.625, 0.875)
    height, width = 40, 200
    scaled = tuple(side * of for side, of in zip(found.box, (width, height) * 2, strict=True))
    assert scaled == pytest.approx(upright_box(theta, (height, width)))
    assert found.fields() == {
        "label": "bus",
        "score": 0.973124,
        "box": [0.125, 0.625, 0.625, 0.875],
        "theta": [[0.5, 0.0, -0.25], [0.0, 0.25, 0.5]],
    }


def two_places(pixels: np.ndarray) -> lstn.Prediction:
    """Two regions: in the left one is a car, in the other one nothing."""
    logits = np.tile(np.array([[0, 4, 0], [0, 0, 9]], np.float32), (len(pixels), 1, 1))
    left = [[0.25, 0, -0.5], [0, 1, 0]]
    return lstn.Prediction(logits, np.tile(np.array([left, left], np.float32), (len(pixels), 1, 1, 1)))


DETECTOR = Contract(Loc.GLANCE, "cnn", (4, 6), ("bus", "car"), warps=2, task=Task.DETECT)


def test_a_fake_engine_detects_what_its_function_says_in_batches_that_it_takes() -> None:
    engine = FakeEngine(DETECTOR, two_places, max_batch=2)
    image = np.zeros((9, 9, 3), np.uint8)
    ((car,), *others) = engine.detect([image] * 5)
    assert (car.label, car.score) == ("car", pytest.approx(np.exp(4) / (np.exp(4) + 2)))
    assert car.box == (0.125, 0.0, 0.375, 1.0)
    assert [len(each) for each in others] == [1, 1, 1, 1]
    assert engine.calls == [2, 2, 1]
    assert engine.detect([]) == []
    assert engine.detect(image, least=0.99) == ()
    wrong = FakeEngine(DETECTOR, lambda pixels: lstn.Prediction(np.zeros((len(pixels), 2), np.float32), None))
    with pytest.raises(lstn.ArtifactError, match=r"FakeEngine: answered .*\(1, 2\)"):
        wrong.detect(image)


def test_what_the_other_kind_of_model_does_is_refused_in_one_line() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    detector = FakeEngine(DETECTOR, two_places)
    classifier = FakeEngine(Contract(Loc.NONE, "cnn", (4, 6), ("bus", "car")), two_places)
    with pytest.raises(lstn.UsageError) as refused:
        detector.classify(image)
    assert str(refused.value) == "classify is for models that classify, and this one detects"
    for images in (image, [image], []):
        with pytest.raises(lstn.UsageError) as refused:
            classifier.detect(images)
        assert str(refused.value) == "detect is for models that detect, and this one classifies"
    assert (detector.calls, classifier.calls) == ([], [])


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_score_that_is_none_is_refused(least: float) -> None:
    with pytest.raises(lstn.UsageError, match="expected a number from 0 to 1"):
        FakeEngine(DETECTOR, two_places).detect(np.zeros((4, 6, 3), np.uint8), least=least)


@pytest.mark.parametrize("of", ["logits", "theta"])
def test_regions_that_are_not_finite_are_an_error(of: str) -> None:
    def broken(pixels: np.ndarray) -> lstn.Prediction:
        prediction = two_places(pixels)
        getattr(prediction, of)[0, 1] = np.nan
        return prediction

    with pytest.raises(lstn.ArtifactError, match="not finite"):
        FakeEngine(DETECTOR, broken).detect(np.zeros((4, 6, 3), np.uint8))
