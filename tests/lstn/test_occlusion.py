"""Occlusion against a loop that covers one window after another and asks the model each time."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import ThetaForm
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.answer import Logits, softmax
from lstn.explanation.occlusion import Window, by_pixel, occlude, window_for
from lstn.images import Pixels
from lstn.warps.warp import Theta, identity_theta

HW = 12, 17
FILL = (10, 200, 30)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 0.02, (HW[0] * HW[1] * 3, 4))
MOVES = RNG.normal(0, 0.0004, (HW[0] * HW[1] * 3, 6))


def answer(pixels: Pixels) -> tuple[Logits, Theta | None]:
    """A linear model, whose theta depends on every pixel too."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float64) - 120
    theta = np.eye(2, 3) + (flat @ MOVES).reshape(-1, 2, 3)
    return (flat @ LOGITS).astype(np.float32), theta.astype(np.float32)


def picture(seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*HW, 3), dtype=np.uint8)


def corners_px(theta: np.ndarray) -> np.ndarray:
    found = []
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        at = theta[0] @ (x, y, 1), theta[1] @ (x, y, 1)
        found.append([(at[0] + 1) / 2 * HW[1], (at[1] + 1) / 2 * HW[0]])
    return np.array(found)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_it_is_what_a_loop_finds(batch: int) -> None:
    pixels, window = picture(), Window(5, 3)
    heard: list[int] = []
    found = occlude(answer, pixels, window, fill=FILL, batch=batch, advance=heard.append)
    logits, theta = answer(pixels[None])
    before, place = softmax(logits)[0], corners_px(theta[0])
    label = int(before.argmax())
    rows, columns = [0, 3, 6, 7], [0, 3, 6, 9, 12]
    assert (window.starts(HW[0]), window.starts(HW[1])) == (rows, columns)
    assert (found.label, found.fall.shape) == (label, (4, 5))
    assert found.probabilities == pytest.approx(before, abs=1e-6)
    for (i, y), (j, x) in itertools.product(enumerate(rows), enumerate(columns)):
        covered = pixels.copy()
        for row, column in itertools.product(range(y, y + 5), range(x, x + 5)):
            covered[row, column] = FILL
        logits, theta = answer(covered[None])
        assert found.fall[i, j] == pytest.approx(before[label] - softmax(logits)[0, label], abs=1e-6)
        away = [float(np.hypot(*each)) for each in corners_px(theta[0]) - place]
        assert found.moved_px is not None
        assert found.moved_px[i, j] == pytest.approx(sum(away) / 4, abs=1e-5)
    assert sum(heard) == 1 + window.count(HW) == 21
    assert max(heard) <= batch


def test_a_picture_is_left_as_it_was_and_a_model_without_a_transformer_moves_nothing() -> None:
    pixels = picture()
    before = pixels.copy()
    found = occlude(lambda given: (answer(given)[0], None), pixels, Window(4, 2), fill=FILL, batch=8)
    assert (found.moved_px, found.theta) == (None, None)
    assert (pixels == before).all()


@given(side=st.integers(1, 9), data=st.data(), height=st.integers(9, 30), width=st.integers(9, 30))
def test_a_pixel_gets_the_mean_of_the_windows_that_cover_it(
    side: int, data: st.DataObject, height: int, width: int
) -> None:
    window = Window(side, data.draw(st.integers(1, side)))
    rows, columns = window.starts(height), window.starts(width)
    grid = np.random.default_rng(side).normal(size=(len(rows), len(columns)))
    found = by_pixel(grid, window, (height, width))
    assert rows == sorted(set(rows))
    for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 3), (height - 1, 0)):
        covering = [
            grid[i, j]
            for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns))
            if top <= y < top + side and left <= x < left + side
        ]
        assert found[y, x] == pytest.approx(np.mean(covering))


def test_the_usual_window_is_a_sixth_and_moves_by_three_quarters_of_that() -> None:
    assert window_for((224, 300)) == Window(37, 27)
    assert window_for((224, 224)).count((224, 224)) == 64
    assert window_for((3, 3)) == Window(1, 1)
    assert window_for((40, 40), side=9) == Window(9, 6)


@pytest.mark.parametrize(
    ("side", "stride", "said"), [(41, None, "--window 41: larger"), (8, 9, "--stride 9: pixels between windows of 8")]
)
def test_a_window_that_cannot_be_is_refused(side: int, stride: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        window_for((40, 60), side, stride)


@pytest.mark.parametrize("broken", [0, 1])
def test_answers_that_are_not_numbers_are_refused(broken: int) -> None:
    def odd(pixels: Pixels) -> tuple[Logits, Theta | None]:
        both = [answer(pixels)[0], np.stack([identity_theta(ThetaForm.AFFINE)] * len(pixels))]
        both[broken] = np.full_like(both[broken], np.nan)
        return both[0], both[1]

    with pytest.raises(ArtifactError, match="not finite"):
        occlude(odd, picture(), Window(6, 6), fill=FILL, batch=4)
