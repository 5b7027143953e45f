"""Suppression of regions, against a loop written down from its definition, and torch's own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import nms

from lstn.data.poses import pose_from_box
from lstn.detection.suppression import Detection, detections
from lstn.evaluation.answer import Logits
from lstn.warps.quadrilaterals import overlaps
from lstn.warps.warp import Theta

LABELS = ("bus", "car")
HW = (100, 100)


def boxes(*rows: tuple[float, float, float, float]) -> Theta:
    """Return thetas of boxes: centre and sides in a picture of 100 x 100 pixels."""
    return np.stack([pose_from_box((x, y), (wide, high), 0, HW).theta for x, y, wide, high in rows])


def logits(*rows: tuple[float, float, float]) -> Logits:
    """Return logits whose softmax is these rows."""
    return np.log(np.maximum(np.array(rows, np.float32), 1e-9))


def found(answers: tuple[Detection, ...]) -> list[tuple[str, float]]:
    return [(each.label, round(each.score, 3)) for each in answers]


def test_the_better_of_two_that_overlap_stays() -> None:
    theta = boxes((30, 30, 20, 20), (32, 30, 20, 20), (70, 70, 20, 20))
    scores = logits((0.6, 0.1, 0.3), (0.8, 0.1, 0.1), (0.5, 0.2, 0.3))
    answers = detections(scores, theta, LABELS, least=0.3, most=10, overlap=0.5)
    assert found(answers) == [("bus", 0.8), ("bus", 0.5)]
    assert np.array_equal(answers[0].theta, theta[1])
    assert found(detections(scores, theta, LABELS, least=0.3, most=10, overlap=0.9)) == [
        ("bus", 0.8),
        ("bus", 0.6),
        ("bus", 0.5),
    ]
    assert found(detections(scores, theta, LABELS, least=0.3, most=1, overlap=0.9)) == [("bus", 0.8)]


def test_every_class_of_a_region_is_a_candidate_and_classes_leave_each_other_alone() -> None:
    scores = logits((0.5, 0.4, 0.1), (0.3, 0.45, 0.25))
    answers = detections(scores, boxes((30, 30, 20, 20), (30, 30, 20, 20)), LABELS, least=0.2, most=10, overlap=0.5)
    assert found(answers) == [("bus", 0.5), ("car", 0.45)]


def test_nothing_here_is_never_an_answer() -> None:
    scores = logits((0.01, 0.01, 0.98), (0.2, 0.1, 0.7))
    assert detections(scores, boxes((30, 30, 9, 9), (60, 60, 9, 9)), LABELS, least=0.3, most=9, overlap=0.5) == ()
    assert detections(scores[:0], boxes((1, 1, 1, 1))[:0], LABELS, least=0.0, most=9, overlap=0.5) == ()


def test_turned_quadrilaterals_are_compared_exactly() -> None:
    """The upright boxes around two crossed bars are the same; the bars hardly overlap."""
    theta = np.stack([pose_from_box((50, 50), (60, 6), degrees, HW).theta for degrees in (45, -45)])
    scores = logits((0.9, 0.0, 0.1), (0.8, 0.0, 0.2))
    assert found(detections(scores, theta, LABELS, least=0.5, most=9, overlap=0.3)) == [("bus", 0.9), ("bus", 0.8)]


def test_a_region_without_an_area_is_not_found() -> None:
    flat = np.zeros((1, 2, 3), np.float32)
    assert detections(logits((0.9, 0.05, 0.05)), flat, LABELS, least=0.5, most=9, overlap=0.5) == ()


SCORE = st.floats(-3, 3, width=32)
BOX = st.tuples(*[st.floats(20, 80)] * 2, *[st.floats(5, 50)] * 2)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(BOX, SCORE, SCORE, SCORE), min_size=1, max_size=8), st.floats(0.1, 0.9), st.integers(1, 6))
def test_suppression_is_its_definition(
    regions: list[tuple[tuple[float, ...], float, float, float]], overlap: float, most: int
) -> None:
    theta = boxes(*(box for box, *_ in regions))  # type: ignore[arg-type]
    raw = np.array([row[1:] for row in regions], np.float32)
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    pairs = overlaps(theta, theta)
    kept: list[tuple[float, int, int]] = []
    for label in range(2):
        stays: list[int] = []
        for region in sorted(range(len(regions)), key=lambda r: -scores[r, label]):
            if scores[region, label] >= 0.1 and all(pairs[region, better] <= overlap for better in stays):
                stays.append(region)
        kept += [(float(scores[region, label]), label, region) for region in stays]
    expected = sorted(kept, key=lambda each: -each[0])[:most]
    answers = detections(raw, theta, LABELS, least=0.1, most=most, overlap=overlap)
    assert [each.score for each in answers] == pytest.approx([score for score, *_ in expected], rel=1e-5)
    if len({round(score, 5) for score, *_ in kept}) == len(kept):  # among equals, any may be first
        assert [each.label for each in answers] == [LABELS[label] for _, label, _ in expected]
        assert all(
            np.array_equal(each.theta, theta[region]) for each, (*_, region) in zip(answers, expected, strict=True)
        )


def test_upright_suppression_is_that_of_torchvision() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (300, 2))
    sides = rng.uniform(10, 40, (300, 2))
    theta = boxes(*((x + w / 2, y + h / 2, w, h) for (x, y), (w, h) in zip(corners, sides, strict=True)))
    raw = rng.normal(0, 2, (300, 2)).astype(np.float32)
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    kept = nms(
        torch.from_numpy(np.concatenate([corners, corners + sides], axis=1).astype(np.float32)),
        torch.from_numpy(scores[:, 0].copy()),
        0.4,
    )
    answers = detections(raw, theta, ("bus",), least=0.0, most=300, overlap=0.4)
    assert np.array_equal(np.stack([each.theta for each in answers]), theta[kept.numpy()])


def test_a_region_outside_of_the_picture_is_never_found() -> None:
    middles = [(1.21, 0.7), (-1.21, -0.6), (-0.4, 1.21), (0.5, -1.21), (1.19, 0.0), (0.0, 0.0)]
    theta = np.array([[[0.2, 0, x], [0, 0.2, y]] for x, y in middles], np.float32)
    logits = np.zeros((6, 2), np.float32)
    logits[:, 0] = np.arange(6)
    found = detections(logits, theta, ("a",), least=0.0)
    assert [each.theta.tolist() for each in found] == [theta[5].tolist(), theta[4].tolist()]
