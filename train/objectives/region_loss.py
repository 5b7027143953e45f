"""The losses of a detector: where objects may be, what is in each region, and how its box differs from the object's.

They follow Faster R-CNN (Ren et al. 2015, sections 3.1.2 and 3.1.3) and Fast R-CNN (Girshick 2015, section 2.3). Other
than there, anchors across the border count, the second stage is asked about all K regions of an image and its true
boxes, without drawing, and a box has one set of numbers for all classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from lstn.nn.turned_boxes import difference, upright
from lstn.train.batches.loading import NOBODY

NEAR, FAR = 0.7, 0.3
"""The overlap from which on an anchor shows an object, and up to which it shows none; between them it isn't asked."""

SHOWS = 0.5
"""The overlap from which on a region of the second stage shows an object."""

_ASKED, _ASKED_NEAR = 256, 128
"""Anchors of an image that count, and how many of these show an object, at most."""

_POINTS = 12
"""Points along each axis of a box, by which overlap of turned boxes is counted."""


class RegionLosses(NamedTuple):
    """Scalars: of the anchors' scores and boxes, of the regions' classes and boxes, and how many classes were right.

    right: the share of regions, true boxes among them, whose class was the most probable one
    """

    scores: Tensor
    anchors: Tensor
    classes: Tensor
    boxes: Tensor
    right: Tensor

    def total(self) -> Tensor:
        """Return the sum that is made small."""
        return self.scores + self.anchors + self.classes + self.boxes


def anchor_losses(
    scores: Tensor, numbers: Tensor, anchors: Tensor, boxes: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the losses of the localizer's answers: of its scores, and of its boxes.

    scores:  (N, P) float32, before a sigmoid, of P anchors
    numbers: (N, P, n) float32
    anchors: (P, 5) float32
    boxes:   (N, M, 5) float32, the objects of each image, of which those labelled NOBODY aren't there
    labels:  (N, M) int64
    """
    of_scores, of_boxes = [], []
    for score, number, box, label in zip(scores, numbers, boxes, labels, strict=True):
        there = box[label != NOBODY]
        nearest, shows, empty = _assigned(anchors, there)
        shows = _drawn(shows, _ASKED_NEAR)
        empty = _drawn(empty, _ASKED - int(shows.sum()))
        asked = shows | empty
        of_scores.append(F.binary_cross_entropy_with_logits(score[asked], shows[asked].float()))
        wanted = difference(anchors[shows], there[nearest[shows]], number.shape[1])
        of_boxes.append(F.smooth_l1_loss(number[shows], wanted, reduction="sum") / asked.sum())
    return torch.stack(of_scores).mean(), torch.stack(of_boxes).mean()


def _assigned(anchors: Tensor, objects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each anchor the nearest object, whether it shows that, and whether it shows none."""
    if not len(objects):
        none = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
        return none.long(), none, ~none
    overlap = box_iou(upright(anchors), upright(objects))
    best, nearest = overlap.max(dim=1)
    of_object = overlap.max(dim=0).values
    best_of_some = ((overlap == of_object) & (of_object > 0)).any(dim=1)
    return nearest, (best >= NEAR) | best_of_some, (best < FAR) & ~best_of_some


def _drawn(among: Tensor, most: int) -> Tensor:
    """Return `most` of the true ones at random."""
    if int(among.sum()) <= most:
        return among
    rank = torch.where(among, torch.rand(among.shape, device=among.device), -1.0)
    drawn = torch.zeros_like(among)
    drawn[rank.topk(most).indices] = True
    return drawn


def region_targets(regions: Tensor, boxes: Tensor, labels: Tensor, nothing: int) -> tuple[Tensor, Tensor]:
    """Return what each region shows, (N, K) int64, and the object's box, (N, K, 5).

    regions: (N, K, 5) float32
    nothing: the class of regions that show no object
    """
    overlap = overlaps_counted(regions, boxes).masked_fill((labels == NOBODY)[:, None], 0.0)
    best, nearest = overlap.max(dim=2)
    classes = torch.where(best >= SHOWS, labels.gather(1, nearest), nothing)
    return classes, boxes.gather(1, nearest[:, :, None].expand(-1, -1, 5))


def overlaps_counted(regions: Tensor, boxes: Tensor) -> Tensor:
    """Return intersection over union, counted on a grid of points in each region: (N, K, 5), (N, M, 5) -> (N, K, M).

    Within 0.06 of the exact one (seen, on 10,000 random pairs); whether a region shows an object needs no more.
    """
    steps = (torch.arange(_POINTS, device=regions.device, dtype=regions.dtype) + 0.5) / _POINTS - 0.5
    x, y, width, height, angle = (each[..., None, None] for each in regions.unbind(-1))
    cos, sin = torch.cos(angle), torch.sin(angle)
    across, down = width * steps, height * steps[:, None]
    points_x, points_y = x + cos * across + sin * down, y - sin * across + cos * down
    other_x, other_y, wide, high, turned = (each[:, None, :, None, None] for each in boxes.unbind(-1))
    cos, sin = torch.cos(turned), torch.sin(turned)
    right, below = points_x[:, :, None] - other_x, points_y[:, :, None] - other_y
    inside = ((cos * right - sin * below).abs() <= wide / 2) & ((sin * right + cos * below).abs() <= high / 2)
    area, other = (regions[..., 2] * regions[..., 3])[..., None], (boxes[..., 2] * boxes[..., 3])[:, None]
    common = inside.float().mean(dim=(3, 4)) * area
    return common / (area + other - common).clamp(min=1e-6)


def region_losses(
    logits: Tensor, numbers: Tensor, regions: Tensor, classes: Tensor, boxes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of the classes and of the boxes, and the share of classes that are right.

    logits:  (N, K, C + 1) float32
    numbers: (N, K, n) float32, by which the answered boxes differ from the regions
    classes, boxes: as `region_targets` returns them
    """
    flat = classes.flatten()
    of_classes = F.cross_entropy(logits.flatten(0, 1), flat)
    shows = flat != logits.shape[2] - 1
    wanted = difference(regions.flatten(0, 1)[shows], boxes.flatten(0, 1)[shows], numbers.shape[2])
    of_boxes = F.smooth_l1_loss(numbers.flatten(0, 1)[shows], wanted, reduction="sum") / len(flat)
    return of_classes, of_boxes, (logits.argmax(2) == classes).float().mean()
