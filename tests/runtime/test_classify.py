"""`Engine.classify` and `lstn.classify`, against a softmax in NumPy of logits worked out by hand."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import MakeTiny, Tiny

import lstn
from lstn.contract import Contract, Loc
from lstn.images import decode
from lstn.testing import FakeEngine

CONTRACT = Contract(Loc.NONE, "cnn", (4, 6), ("dark", "light", "odd"))


def brightness(pixels: np.ndarray) -> lstn.Prediction:
    light = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32) / 50
    return lstn.Prediction(np.stack([5 - light, light, light * 0], axis=1), None)


def photo(folder: Path, seed: int = 0) -> Path:
    path = folder / f"{seed}.png"
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def test_one_image_as_file_bytes_or_array_is_one_answer(tiny: Tiny, tmp_path: Path) -> None:
    path = photo(tmp_path)
    pixels = decode(path, (8, 8))[None]
    exact = np.exp(tiny.logits(pixels)[0].astype(np.float64))
    wanted = dict(zip(tiny.contract.labels, exact / exact.sum(), strict=True))
    with lstn.open_engine(str(tiny.path), device="cpu", threads=1) as engine:
        for image in (path, str(path), path.read_bytes(), np.asarray(Image.open(path)), pixels[0]):
            found = engine.classify(image)
            assert found.label == max(wanted, key=lambda label: wanted[label])
            assert list(found.probabilities) == sorted(found.probabilities, reverse=True)
            assert dict(zip(found.labels, found.probabilities, strict=True)) == pytest.approx(wanted, abs=1e-5)
            assert found.theta is not None
            np.testing.assert_allclose(found.theta, tiny.theta(pixels)[0], atol=1e-5)
            assert str(found) == f"{found.label} {100 * found.probability:.1f} %"


def test_a_list_is_answered_in_order_and_in_batches_that_the_engine_takes() -> None:
    engine = FakeEngine(CONTRACT, brightness, max_batch=4)
    images = [np.full((5, 5, 3), value, np.uint8) for value in range(0, 250, 25)]
    answers = engine.classify(images)
    assert engine.calls == [4, 4, 2]
    alone = [engine.classify(image) for image in images]
    assert [each.probabilities for each in answers] == [each.probabilities for each in alone]
    assert [each.label for each in answers] == ["dark"] * 6 + ["light"] * 4
    assert engine.classify([]) == []


def test_a_model_without_a_transformer_has_no_theta(make_tiny: MakeTiny, tmp_path: Path) -> None:
    tiny = make_tiny(loc=Loc.NONE)
    (found,) = lstn.classify([photo(tmp_path)], tiny.path)
    assert found.theta is None
    assert lstn.classify(photo(tmp_path), tiny.path).label == found.label


@given(st.integers(1, 40), st.integers(1, 40))
def test_an_array_is_resized_as_its_file_would_be(height: int, width: int) -> None:
    """A lossless file of the same pixels is the reference."""
    pixels = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    seen: list[np.ndarray] = []
    engine = FakeEngine(CONTRACT, lambda pixels: seen.append(pixels) or brightness(pixels))
    file = Image.fromarray(pixels)
    file.save(buffer := io.BytesIO(), "PNG")
    engine.classify([pixels, buffer.getvalue()])
    np.testing.assert_array_equal(seen[0][0], seen[0][1])


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), r"uint8 \(2, 8, 8, 3\); expected uint8 \(height, width, 3\)"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (Image.new("RGB", (8, 8)), "type Image; expected a path, bytes or an array"),
        (7, "type int"),
        ((path for path in ()), "type generator"),
        ([None], "type NoneType"),
    ],
)
def test_what_is_not_an_image_is_refused(image: Any, says: str) -> None:
    with pytest.raises(lstn.UsageError, match=says):
        FakeEngine(CONTRACT, brightness).classify(image)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 cut off")
    with pytest.raises(lstn.ImageError, match=r"broken\.jpg"):
        FakeEngine(CONTRACT, brightness).classify([photo(tmp_path), tmp_path / "broken.jpg"])


def test_a_url_is_not_taken_for_a_file() -> None:
    with pytest.raises(lstn.UsageError, match=r"^https://example\.org/cat\.jpg: a URL; expected a file$"):
        FakeEngine(CONTRACT, brightness).classify("https://example.org/cat.jpg")


def test_answers_that_are_not_finite_are_an_error() -> None:
    engine = FakeEngine(CONTRACT, lambda pixels: lstn.Prediction(np.full((len(pixels), 3), np.nan, np.float32), None))
    with pytest.raises(lstn.ArtifactError, match="not finite"):
        engine.classify(np.zeros((2, 2, 3), np.uint8))


def test_a_theta_that_is_not_finite_is_an_error() -> None:
    contract = replace(CONTRACT, loc=lstn.Loc.STN)
    theta = np.full((1, 2, 3), np.inf, np.float32)
    engine = FakeEngine(contract, lambda pixels: lstn.Prediction(np.zeros((len(pixels), 3), np.float32), theta))
    with pytest.raises(lstn.ArtifactError, match="not finite"):
        engine.classify(np.zeros((2, 2, 3), np.uint8))


def test_a_fake_engine_takes_and_gives_only_what_a_real_one_would() -> None:
    engine = FakeEngine(CONTRACT, brightness, max_batch=2)
    with pytest.raises(lstn.UsageError, match="N from 1 to 2"):
        engine.infer(np.zeros((3, 4, 6, 3), np.uint8))
    wrong = FakeEngine(CONTRACT, lambda pixels: lstn.Prediction(np.zeros((len(pixels), 2), np.float32), None))
    with pytest.raises(lstn.ArtifactError, match=r"FakeEngine: answered .*\(1, 2\)"):
        wrong.infer(np.zeros((1, 4, 6, 3), np.uint8))


def test_an_unknown_device_is_refused(tiny: Tiny) -> None:
    for threads in (-1, 0, 1_000_000):
        with pytest.raises(lstn.UsageError, match=r"expected 1 or more|too many"):
            lstn.open_engine(tiny.path, threads=threads)
    with pytest.raises(lstn.UsageError, match="unknown device 'tpu'"):
        lstn.open_engine(tiny.path, device="tpu")
