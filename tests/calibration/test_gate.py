"""A lowered model that answers otherwise than float32 is not kept unless that is asked for."""

from dataclasses import replace

import pytest
from hand_made import MeasureByHand, untouched

from lstn.calibration.cost.gate import beyond
from lstn.calibration.cost.lowering_cost import Accuracy, ClassifierCost, Drift


@pytest.fixture
def cost(measure_by_hand: MeasureByHand) -> ClassifierCost:
    """Of a model that was not lowered at all, on 500 images."""
    return replace(measure_by_hand(untouched), images=500)


def test_a_model_that_lost_nothing_passes(cost: ClassifierCost) -> None:
    assert beyond(cost) == ""
    assert beyond(cost, max_drop=0, max_drift_px=0) == ""


@pytest.mark.parametrize(
    ("images", "lost", "kept"),
    [(500, 10, True), (500, 11, False), (100, 2, True), (100, 3, False), (12, 2, True), (12, 3, False), (1, 1, True)],
)
def test_two_points_or_two_images_may_be_lost(cost: ClassifierCost, images: int, lost: int, kept: bool) -> None:
    """2 points of 500 images are 10 of them; of 12 images one is 8 points, and a tie says nothing."""
    lowered = replace(cost, images=images, top1=Accuracy(1.0, 1 - lost / images))
    assert (beyond(lowered) == "") is kept
    if not kept:
        assert f"falls by {100 * lost / images:.2f} points, more than" in beyond(lowered)
        assert "--max-drop" not in beyond(lowered)


@pytest.mark.parametrize(
    ("images", "changed", "kept"), [(500, 25, True), (500, 26, False), (500, 360, False), (20, 2, True), (20, 3, False)]
)
def test_one_answer_in_twenty_may_change(cost: ClassifierCost, images: int, changed: int, kept: bool) -> None:
    lowered = replace(cost, images=images, agreement=1 - changed / images)
    assert (beyond(lowered) == "") is kept
    if not kept:
        assert f"another answer than in float32 for {changed / images:.1%} of {images} images" in beyond(lowered)


def test_a_bound_that_is_given_is_exact(cost: ClassifierCost) -> None:
    lowered = replace(cost, images=12, top1=Accuracy(1.0, 1 - 1 / 12))
    assert beyond(lowered) == ""
    assert beyond(lowered, max_drop=8.0).endswith("more than --max-drop 8")
    assert beyond(lowered, max_drop=100 / 12) == ""
    assert beyond(replace(cost, top1=Accuracy(1.0, 0.5)), max_drop=50) == ""


def test_warps_may_move_by_a_fiftieth_of_the_side(cost: ClassifierCost) -> None:
    side = max(cost.contract.image_hw)
    within, outside = (replace(cost, drift=Drift(0.0, side * share, side)) for share in (0.0199, 0.0201))
    assert beyond(within) == ""
    assert beyond(outside).startswith("1 % of the warps move by")
    assert beyond(outside, max_drift_px=side) == ""
    assert beyond(within, max_drift_px=0.001).endswith("more than --max-drift-px 0.001")
    assert beyond(replace(outside, drift=None)) == ""


def test_every_bound_is_named(cost: ClassifierCost) -> None:
    side = max(cost.contract.image_hw)
    worse = replace(cost, agreement=0.5, drift=Drift(0.0, side, side), top1=Accuracy(1.0, 0.5))
    assert [reason in beyond(worse) for reason in ("accuracy falls", "another answer", "the warps move")] == [True] * 3
