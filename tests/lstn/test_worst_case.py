"""Worst of many moves: the parser, the grid against hand-made matrices, and the counts against a plain loop."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from tiny import Tiny

from lstn.data.dataset import open_data
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.evaluation.measured_follow import moved, sampled_at
from lstn.evaluation.move_bounds import MoveBounds
from lstn.evaluation.worst_case import measure_worst
from lstn.images import Pixels

SIDE = 16
ALL = "rotate 30, shift 0.1, scale 1.2"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 2, len(IMAGES))
WEIGHTS = RNG.normal(size=(SIDE * SIDE * 3, 2))


class Held:
    """Images in memory, as a split."""

    fingerprint = "held"

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return IMAGES[index], int(LABELS[index])

    def redrawn(self, epoch: int) -> "Held":
        return self


def answer(pixels: Pixels) -> np.ndarray:
    return ((pixels.reshape(len(pixels), -1) / 255 - 0.5) @ WEIGHTS).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("rotate 30", 121), ("shift 0.1", 121), ("scale 1.2", 121), ("rotate 30, scale 2", 121),
        ("rotate 30, shift 0.1", 125), (ALL, 135), (f"random 7, {ALL}", 7), (" scale  1.5 ,rotate 170", 121),
    ],
)  # fmt: skip
def test_a_grid_has_about_121_moves(text: str, count: int) -> None:
    bounds = MoveBounds.from_text(text)
    thetas = bounds.thetas((SIDE, 24), 3, 0)
    assert bounds.count == len(thetas) == len(np.unique(thetas.round(9), axis=0)) == count
    assert str(count) in bounds.describe()


def test_the_grid_is_the_product_of_its_ends_and_what_lies_between() -> None:
    """Each move as a matrix of pixels, made by hand: turned by a in square pixels, scaled by s, shifted by t."""
    height, width = 20, 40
    wanted = []
    for angle, across, down, size in product((-30, -15, 0, 15, 30), (-0.1, 0, 0.1), (-0.1, 0, 0.1), (1 / 1.2, 1, 1.2)):
        cos, sin = size * math.cos(math.radians(angle)), size * math.sin(math.radians(angle))
        # Counter-clockwise as one sees it; y points down.
        forward = np.array([[cos, sin, across * width], [-sin, cos, down * height], [0, 0, 1]])
        to_px = np.diag([width / 2, height / 2, 1])
        wanted.append((np.linalg.inv(to_px) @ np.linalg.inv(forward) @ to_px)[:2])
    found = MoveBounds.from_text(ALL).thetas((height, width), 0, 0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@given(st.integers(1, 20), st.integers(0, 1000), st.integers(0, 5))
def test_drawn_moves_lie_within_the_bounds_and_more_begin_with_fewer(draws: int, index: int, seed: int) -> None:
    few, many = (MoveBounds(30, 0.1, 1.2, count).thetas((SIDE, SIDE), index, seed) for count in (draws, draws + 5))
    np.testing.assert_array_equal(few, many[:draws])
    size = np.sqrt(np.linalg.det(many[:, :, :2]))
    assert ((size > 1 / 1.2001) & (size < 1.2001)).all()
    assert (np.abs(np.degrees(np.arctan2(many[:, 1, 0], many[:, 0, 0]))) <= 30.01).all()
    shift = -np.einsum("nij,nj->ni", np.linalg.inv(many[:, :, :2]), many[:, :, 2]) / 2
    assert (np.abs(shift) <= 0.1001).all()
    assert len(many) == 1 or not np.array_equal(
        many, MoveBounds(30, 0.1, 1.2, len(many)).thetas((SIDE, SIDE), index + 1, seed)
    )


@pytest.mark.parametrize("batch", [1, 7, 500])
@pytest.mark.parametrize("text", [ALL, f"random 11, {ALL}"])
def test_the_counts_are_those_of_a_plain_loop(text: str, batch: int) -> None:
    bounds, heard = MoveBounds.from_text(text), []
    found = measure_worst(answer, Held(), bounds, batch=batch, seed=4, advance=heard.append)
    right = np.array([
        [answer(seen[None]).argmax() == label
         for seen in (image, *sampled_at(image, bounds.thetas((SIDE, SIDE), n, 4)))]
        for n, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True))
    ])  # fmt: skip
    assert (found.upright, found.worst) == (right[:, 0].sum(), right.all(axis=1).sum())
    assert found.mean == pytest.approx(right[:, 1:].mean())
    assert sum(heard) == found.images == len(IMAGES)
    for name, row in found.rows().items():
        assert 0 <= row.low <= row.value <= row.high <= 100, name


def test_more_draws_never_help_the_model_and_the_worst_is_no_better_than_the_mean() -> None:
    counts = [measure_worst(answer, Held(), MoveBounds(90, 0.3, 2, k), batch=64).worst for k in (1, 2, 5, 20, 80)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    found = measure_worst(answer, Held(), MoveBounds(90, 0.3, 2), batch=64)
    assert found.worst / found.images < found.mean < 1


def test_a_constant_answer_loses_nothing() -> None:
    found = measure_worst(lambda p: np.tile(np.float32([1, 0]), (len(p), 1)), Held(), MoveBounds(30), batch=8)
    assert found.upright == found.worst == (LABELS == 0).sum()
    assert found.mean == pytest.approx(found.upright / found.images)


def test_pictures_go_on_as_a_mirror_image_however_far_they_are_moved() -> None:
    """Nothing black comes in, also where half of the side isn't enough."""
    white = np.full((SIDE, 10, 3), 200, np.uint8)
    assert (sampled_at(white, MoveBounds(180, 0.5, 4).thetas((SIDE, 10), 0, 0)) == 200).all()
    move = Disturbance(Kind.ROTATE, 25)
    np.testing.assert_array_equal(
        sampled_at(IMAGES[0], move.theta((SIDE, SIDE), 0)[None])[0], moved(IMAGES[0], move, 0)
    )


def test_answers_that_are_no_numbers_are_said() -> None:
    with pytest.raises(ArtifactError, match="not finite"):
        measure_worst(lambda p: np.full((len(p), 2), np.nan, np.float32), Held(), MoveBounds(30), batch=8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected rotate, shift, scale or random, each with a number"), ("turn 30", "'turn 30'"),
        ("rotate", "'rotate'"), ("rotate 30,", "''"), ("rotate 30 shift 1", "'rotate 30 shift 1'"),
        ("rotate x", "rotate 'x'; expected a number above 0, up to 180"), ("rotate nan", "'nan'"),
        ("rotate 181", "180"), ("rotate 0", "above 0"), ("shift -1", "up to 0.5"), ("scale 1", "above 1, up to 4"),
        ("scale inf", "'inf'"),
        ("rotate 3, rotate 4", "rotate is named twice"), ("random 10", "no kind of move is named"),
        ("random 1.5, rotate 3", "a whole number from 1 to"), ("random 0, rotate 3", "'0'"),
    ],
)  # fmt: skip
def test_what_is_no_move_is_one_line(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        MoveBounds.from_text(text)
    assert says in caught.value.message
    assert caught.value.message.startswith("--worst: ")


def test_every_report_has_it(tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    kept, page = tmp_path / "kept.json", tmp_path / "page.html"
    words = ("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept, "--html", page)
    ran = run_lstn(*words, "--worst", ALL)
    assert ran.code == 0
    assert "24 images, 135 moves each" in ran.err
    found = json.loads(kept.read_text())["worst"]
    split = open_data(f"folder:{folder}", image_hw=tiny.contract.image_hw).test
    loop = measure_worst(tiny.logits, split, MoveBounds.from_text(ALL), batch=1000)
    assert (found["moves"], found["images"], found["random"]) == (135, 24, None)
    assert (found["rotate"], found["shift"], found["scale"]) == (30, 0.1, 1.2)
    assert found["worst"]["top1"] == loop.worst / 24
    assert found["mean"]["top1"] == pytest.approx(loop.mean)
    assert found["upright"]["top1"] == json.loads(kept.read_text())["top1"]
    for each in (found["worst"], found["mean"], found["upright"]):
        assert each["interval"][0] <= each["top1"] <= each["interval"][1]
    for text in (ran.out, page.read_text()):
        assert "Accuracy under moves" in text
        for name in ("as they are", "a random move", "worst of 135"):
            assert name in text
    assert "worst of" not in run_lstn(*words).out
    assert "worst" not in json.loads(kept.read_text())


def test_a_move_that_is_none_is_said_before_any_work(tiny: Tiny, folder: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--worst", "rotate x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: --worst: rotate 'x'; expected a number")
