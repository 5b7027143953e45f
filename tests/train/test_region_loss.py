"""Losses of a detector, against torchvision's own and against loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from lstn.nn.turned_boxes import difference, thetas_of, upright
from lstn.train.batches.loading import NOBODY
from lstn.train.objectives.region_loss import (
    FAR,
    NEAR,
    anchor_losses,
    overlaps_counted,
    region_losses,
    region_targets,
)
from lstn.warps.quadrilaterals import overlaps

HW = (100, 140)


def boxes(count: int, seed: int, turn: float = 0.7) -> torch.Tensor:
    random = np.random.default_rng(seed)
    low, high = [10, 10, 8, 8, -turn], [130, 90, 60, 60, turn]
    return torch.tensor(random.uniform(low, high, (count, 5)), dtype=torch.float32)


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_counted_overlaps_are_near_the_exact_ones(seed: int) -> None:
    one, other = boxes(6, seed), boxes(5, seed + 1)
    found = overlaps_counted(one[None], other[None])[0].numpy()
    exact = overlaps(thetas_of(one, HW).numpy(), thetas_of(other, HW).numpy())
    np.testing.assert_allclose(found, exact, atol=0.06)


def test_anchors_are_asked_as_torchvision_matches_them() -> None:
    anchors, objects = boxes(400, 0, turn=0.0), boxes(3, 1)
    overlap = box_iou(upright(objects), upright(anchors))
    matched = Matcher(NEAR, FAR, allow_low_quality_matches=True)(overlap)
    shows, empty = matched >= 0, matched == -1
    assert shows.sum() <= 128
    assert (shows | empty).sum() > 256
    # With the same score for all the mean doesn't depend on which empty ones were drawn.
    scores, numbers = torch.full((1, 400), 0.3), torch.zeros(1, 400, 5)
    of_scores, of_boxes = anchor_losses(scores, numbers, anchors, objects[None], torch.zeros(1, 3, dtype=torch.int64))
    near = int(shows.sum())
    wanted = (near * math.log1p(math.exp(-0.3)) + (256 - near) * math.log1p(math.exp(0.3))) / 256
    assert float(of_scores) == pytest.approx(wanted, rel=1e-5)
    targets = difference(anchors[shows], objects[matched[shows]], 5)
    absolute = targets.abs()
    smooth = torch.where(absolute < 1, targets.square() / 2, absolute - 0.5)
    assert float(of_boxes) == pytest.approx(float(smooth.sum()) / 256, rel=1e-4)


def test_an_image_without_objects_asks_for_empty_anchors_alone() -> None:
    labels = torch.full((1, 2), NOBODY)
    scores, numbers = torch.full((1, 30), -1.0), torch.randn(1, 30, 5)
    of_scores, of_boxes = anchor_losses(scores, numbers, boxes(30, 0), boxes(2, 1)[None], labels)
    assert float(of_scores) == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)
    assert float(of_boxes) == 0


def test_regions_show_the_object_that_they_overlap_by_half() -> None:
    objects = torch.tensor([[50.0, 50, 20, 20, 0.5], [90, 40, 30, 10, 0], [20, 20, 20, 20, 0]])[None]
    labels = torch.tensor([[2, 1, NOBODY]])
    regions = torch.tensor([[51.0, 50, 20, 20, 0.5], [90, 44, 30, 10, 0], [90, 48, 30, 10, 0], [20, 20, 20, 20, 0]])
    classes, wanted = region_targets(regions[None], objects, labels, nothing=3)
    assert classes.tolist() == [[2, 3, 3, 3]]  # 4 of 10 pixels lower is an overlap of 0.43; nobody is at (20, 20)
    torch.testing.assert_close(wanted[0, 0], objects[0, 0])


def test_region_losses_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    regions, logits, numbers = boxes(8, 0).reshape(2, 4, 5), torch.randn(2, 4, 4), torch.randn(2, 4, 5)
    classes, wanted = torch.tensor([[0, 3, 2, 3], [3, 3, 1, 0]]), boxes(8, 1).reshape(2, 4, 5)
    of_classes, of_boxes, right = region_losses(logits, numbers, regions, classes, wanted)
    entropy, smooth, hits = 0.0, 0.0, 0
    for image in range(2):
        for place in range(4):
            row, label = logits[image, place], int(classes[image, place])
            entropy -= float(row.log_softmax(0)[label])
            hits += int(row.argmax()) == label
            if label < 3:
                target = difference(regions[image, place], wanted[image, place], 5)
                for off in (numbers[image, place] - target).abs().tolist():
                    smooth += off - 0.5 if off > 1 else off * off / 2
    assert float(of_classes) == pytest.approx(entropy / 8, rel=1e-5)
    assert float(of_boxes) == pytest.approx(smooth / 8, rel=1e-4)
    assert float(right) == hits / 8


def test_what_a_perfect_detector_answers_costs_nothing() -> None:
    objects = boxes(4, 3)[None]
    labels = torch.tensor([[0, 1, 2, 0]])
    classes, wanted = region_targets(objects, objects, labels, nothing=3)
    logits = torch.nn.functional.one_hot(classes, 4) * 100.0
    of_classes, of_boxes, right = region_losses(logits, torch.zeros(1, 4, 5), objects, classes, wanted)
    assert (float(of_classes), float(of_boxes), float(right)) == pytest.approx((0, 0, 1), abs=1e-6)
