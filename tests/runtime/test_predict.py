import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lstn.contract import Contract, Loc
from lstn.errors import DeviceError
from lstn.images import DecodeLimits, Pixels, decode
from lstn.imaging.framing import Framing
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.inference.decoding import decode_ahead
from lstn.runtime.inference.predict import predict
from lstn.runtime.inference.result_rows import ResultRow
from lstn.testing import FakeEngine

LABELS = ("ant", "bee", "cat")
HW = (8, 8)


CONTRACT = Contract(Loc.NONE, "cnn", HW, LABELS)


def by_colour(pixels: Pixels) -> Prediction:
    """The label is the strongest channel."""
    return Prediction(pixels.mean(axis=(1, 2), dtype=np.float32) / 50, None)


def run(
    engine: Engine, paths: list[Path], *, batch: int = 4, top: int = 1, workers: int = 4, keep: bool = False
) -> list[ResultRow]:
    return [row for rows in predict(engine, paths, batch=batch, top=top, workers=workers, keep=keep) for row in rows]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Thirty images: red, green, blue, red, …"""
    paths = []
    for index in range(30):
        colour = tuple(250 if channel == index % 3 else index for channel in range(3))
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{index}.png")
        paths.append(tmp_path / f"{index}.png")
    return paths


def labels(rows: list[ResultRow]) -> list[str]:
    return [row.guesses[0].label if row.guesses else "" for row in rows]


@pytest.mark.parametrize("batch", [1, 4, 30, 64])
@pytest.mark.parametrize("workers", [1, 5])
def test_order_is_kept_however_long_decoding_takes(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, batch: int, workers: int
) -> None:
    delays = dict(zip(images, np.random.default_rng(0).uniform(0, 0.01, 30), strict=True))

    def slow(path: Path, image_hw: tuple[int, int], *, limits: DecodeLimits, framing: Framing) -> Pixels:
        time.sleep(delays[path])
        return decode(path, image_hw, limits=limits, framing=framing)

    monkeypatch.setattr("lstn.runtime.inference.decoding.decode", slow)
    rows = run(FakeEngine(CONTRACT, by_colour), images, batch=batch, workers=workers)
    assert [row.path for row in rows] == images
    assert labels(rows) == ["ant", "bee", "cat"] * 10


def test_answers_less_probable_than_asked_are_rejected_and_keep_their_guesses(images: list[Path]) -> None:
    engine = FakeEngine(CONTRACT, by_colour)
    plain = run(engine, images)
    probable = sorted(row.guesses[0].probability for row in plain)
    least = probable[10]
    rows = [row for rows in predict(engine, images, batch=4, least=least, workers=2) for row in rows]
    assert [row.rejected for row in rows] == [row.guesses[0].probability < least for row in plain]
    assert 0 < sum(row.rejected for row in rows) <= 10
    assert [row.guesses for row in rows] == [row.guesses for row in plain]
    assert not any(row.rejected for row in plain)


def test_batches_are_full_but_for_the_last(images: list[Path]) -> None:
    sizes = []

    def answer(pixels: Pixels) -> Prediction:
        sizes.append(len(pixels))
        return by_colour(pixels)

    run(FakeEngine(CONTRACT, answer), images, batch=8)
    assert sizes == [8, 8, 8, 6]


def test_a_broken_image_becomes_a_row_and_the_rest_goes_on(images: list[Path], tmp_path: Path) -> None:
    images[3].write_bytes(images[3].read_bytes()[:40])
    images[5].write_bytes(b"")
    images[7].unlink()
    rows = run(FakeEngine(CONTRACT, by_colour), images)
    broken = {index: row.error for index, row in enumerate(rows) if row.error}
    assert list(broken) == [3, 5, 7]
    assert broken[5] == "the file is empty"
    assert broken[7] == "No such file or directory"
    assert str(tmp_path) not in " ".join(broken.values())
    assert all(rows[index].guesses == () for index in broken)
    assert [label for label in labels(rows) if label] == [LABELS[i % 3] for i in range(30) if i not in broken]


def test_only_broken_images_never_reach_the_engine(tmp_path: Path) -> None:
    def never(pixels: Pixels) -> Prediction:
        raise AssertionError

    (tmp_path / "a.png").write_bytes(b"junk")
    assert [row.error for row in run(FakeEngine(CONTRACT, never), [tmp_path / "a.png"] * 9)] == ["not an image"] * 9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_become_an_error(images: list[Path], value: float) -> None:
    def answer(pixels: Pixels) -> Prediction:
        logits = by_colour(pixels).logits
        logits[1, 2] = value
        return Prediction(logits, None)

    rows = run(FakeEngine(CONTRACT, answer), images[:4])
    assert [row.error for row in rows] == ["", "the model's answer is not a number", "", ""]
    assert rows[1].guesses == ()


def test_a_theta_that_is_no_number_becomes_an_error(images: list[Path]) -> None:
    """The sampler may still answer with numbers."""

    def answer(pixels: Pixels) -> Prediction:
        theta = np.zeros((len(pixels), 2, 3), np.float32)
        theta[2, 1, 0] = np.nan
        return Prediction(by_colour(pixels).logits, theta)

    rows = run(FakeEngine(CONTRACT, answer), images[:4])
    assert [row.error for row in rows] == ["", "", "the model's answer is not a number", ""]
    assert rows[2].guesses == ()


def test_theta_and_pixels_belong_to_their_row(images: list[Path]) -> None:
    def answer(pixels: Pixels) -> Prediction:
        mean = pixels.mean(axis=(1, 2, 3), dtype=np.float32)
        return Prediction(by_colour(pixels).logits, np.repeat(mean, 6).reshape(-1, 2, 3))

    for row in run(FakeEngine(CONTRACT, answer), images, batch=7, keep=True):
        np.testing.assert_array_equal(row.pixels, decode(row.path, HW))
        np.testing.assert_allclose(row.theta, np.full((2, 3), row.pixels.mean()), rtol=1e-6)


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (4, 8), (8, 3)])
def test_never_more_images_than_the_window_holds(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, batch: int, workers: int
) -> None:
    lock, begun, taken, most = threading.Lock(), 0, 0, 0

    def counting(path: Path, image_hw: tuple[int, int], *, limits: DecodeLimits, framing: Framing) -> Pixels:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - taken)
        return decode(path, image_hw, limits=limits, framing=framing)

    monkeypatch.setattr("lstn.runtime.inference.decoding.decode", counting)
    with closing(decode_ahead(images * 5, CONTRACT, workers=workers, window=2 * batch)) as decoded:
        for _ in decoded:
            time.sleep(0.001)
            with lock:
                taken += 1
    assert taken == begun == 150
    assert most <= 2 * batch + 1  # the window, and the one that the consumer holds


def test_decoding_goes_on_while_the_engine_works(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []
    seen = []

    def noting(path: Path, image_hw: tuple[int, int], *, limits: DecodeLimits, framing: Framing) -> Pixels:
        begun.append(path)
        return decode(path, image_hw, limits=limits, framing=framing)

    def answer(pixels: Pixels) -> Prediction:
        deadline = time.monotonic() + 5
        while len(begun) < min(30, 4 * (len(seen) + 2)) and time.monotonic() < deadline:
            time.sleep(0.001)
        seen.append(len(begun))
        return by_colour(pixels)

    monkeypatch.setattr("lstn.runtime.inference.decoding.decode", noting)
    run(FakeEngine(CONTRACT, answer), images, batch=4, workers=2)
    assert all(count >= min(30, 4 * (index + 2)) for index, count in enumerate(seen))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, DeviceError])
@pytest.mark.parametrize("place", ["engine", "decoder"])
def test_other_errors_pass_and_leave_no_thread(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, error: type[BaseException], place: str
) -> None:
    def broken(*_: object, **__: object) -> Prediction:
        raise error("broken")

    if place == "decoder":
        monkeypatch.setattr("lstn.runtime.inference.decoding.decode", broken)
    with pytest.raises(error):
        run(FakeEngine(CONTRACT, broken), images)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_closing_early_stops_the_threads(images: list[Path]) -> None:
    with closing(predict(FakeEngine(CONTRACT, by_colour), images * 100, batch=4, top=1, workers=2)) as batches:
        assert len(next(batches)) == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_bytes_to_label_is_one_path(images: list[Path]) -> None:
    """What a row holds is what decode and engine say when they are called by hand."""
    logits = by_colour(decode(images[4].read_bytes(), HW)[None]).logits[0]
    (row,) = run(FakeEngine(CONTRACT, by_colour), [images[4]], top=3)
    weights = np.exp(logits - logits.max())
    expected = sorted(zip(weights / weights.sum(), LABELS, strict=True), key=lambda pair: -pair[0])
    assert [guess.label for guess in row.guesses] == [label for _, label in expected]
    np.testing.assert_allclose([guess.probability for guess in row.guesses], [p for p, _ in expected], rtol=1e-5)
