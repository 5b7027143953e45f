"""Average precision by COCO's rules, computed by pycocotools: of upright boxes, and of turned quadrilaterals."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.data.objects import Objects
from lstn.detection.suppression import Detection
from lstn.imports import require
from lstn.warps.quadrilaterals import areas_px, overlaps, upright_boxes

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

SMALL_PX, MEDIUM_PX = 32, 96
"""COCO's sizes: an object of less area than a square of this side is small, or else medium, or else large."""

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_AT_50, _AT_75 = 0, 5
"""Among the ten thresholds of overlap, 0.5 to 0.95."""

_Figures: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassPrecision:
    """Average precision of one class, 0..1; None where the images show no such object.

    objects:  how many the images show
    ap, ap50: over overlaps of 0.5 to 0.95, and at 0.5
    """

    label: str
    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's figures, means over classes, each 0..1; None where no object counts.

    ap:         over the overlaps 0.50, 0.55, … 0.95
    ap50, ap75: at one overlap
    small, medium, large: `ap` of objects by their area in pixels of the picture that the model sees
    classes:    in the order of the labels
    curve:      precision at overlap 0.5, at recalls of 0.00, 0.01, … 1.00; empty where no object counts
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    classes: tuple[ClassPrecision, ...]
    curve: tuple[float, ...]


def average_precision(
    truths: Sequence[Objects],
    found: Sequence[Sequence[Detection]],
    labels: tuple[str, ...],
    image_hw: tuple[int, int],
    *,
    turned: bool,
) -> AveragePrecision:
    """Compare what a model found in each image with the objects that are there.

    turned: compare quadrilaterals, exactly; or else the upright boxes around them, as COCO does

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    true = [_of_image(number, each.labels, each.thetas, image_hw, turned) for number, each in enumerate(truths, 1)]
    number_of = {label: number for number, label in enumerate(labels)}
    answered = []
    for number, each in enumerate(found, 1):
        thetas = np.stack([one.theta for one in each]) if each else np.zeros((0, 2, 3), np.float32)
        numbers = np.array([number_of[one.label] for one in each], np.int64)
        rows = _of_image(number, numbers, thetas, image_hw, turned)
        answered.append([row | {"score": one.score} for row, one in zip(rows, each, strict=True)])
    counts = np.bincount(np.concatenate([each.labels for each in truths]), minlength=len(labels))
    with redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        judge = _judge(_set_of(true, labels), _set_of(answered, labels), turned=turned)
        judge.evaluate()
        judge.accumulate()
    return _summary(np.asarray(judge.eval["precision"]), labels, counts)


def _summary(precision: _Figures, labels: tuple[str, ...], counts: npt.NDArray[np.int64]) -> AveragePrecision:
    """Average the precisions (overlaps 10, recalls 101, classes, sizes 4, most found 3), -1 where no object counts."""
    best = precision[..., -1]
    whole = best[..., _ALL]
    shown = whole[_AT_50][:, counts > 0]
    return AveragePrecision(
        ap=_mean(whole),
        ap50=_mean(whole[_AT_50]),
        ap75=_mean(whole[_AT_75]),
        small=_mean(best[..., _SMALL]),
        medium=_mean(best[..., _MEDIUM]),
        large=_mean(best[..., _LARGE]),
        classes=tuple(
            ClassPrecision(label, int(count), _mean(whole[:, :, index]), _mean(whole[_AT_50, :, index]))
            for index, (label, count) in enumerate(zip(labels, counts, strict=True))
        ),
        curve=tuple(shown.mean(axis=1).tolist()) if shown.size else (),
    )


def _mean(figures: _Figures) -> float | None:
    counting = figures[figures > -1]
    return float(counting.mean()) if counting.size else None


def _of_image(
    image: int, labels: npt.NDArray[np.int64], thetas: npt.NDArray[np.float32], image_hw: tuple[int, int], turned: bool
) -> list[dict[str, Any]]:
    """Return rows as COCO has them. A box is left, top, width and height; the theta rides along."""
    boxes = upright_boxes(thetas, image_hw)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = areas_px(thetas, image_hw) if turned else sides.prod(axis=1)
    return [
        {
            "image_id": image,
            "category_id": label,
            "bbox": [left, top, wide, high],
            "area": area,
            "iscrowd": 0,
            "theta": theta,
        }
        for label, (left, top, _, _), (wide, high), area, theta in zip(
            labels.tolist(), boxes.tolist(), sides.tolist(), areas.tolist(), thetas, strict=True
        )
    ]


def _set_of(images: Sequence[list[dict[str, Any]]], labels: tuple[str, ...]) -> "COCO":
    """Return a data set as pycocotools has it. Numbers of rows begin at 1: 0 stands for "not matched"."""
    require("pycocotools.coco", extra="detect")
    from pycocotools.coco import COCO

    rows = [row for image in images for row in image]
    made = COCO()
    made.dataset = {
        "images": [{"id": number} for number in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels)],
        "annotations": [row | {"id": number} for number, row in enumerate(rows, 1)],
    }
    made.createIndex()
    return made


def _judge(true: "COCO", answered: "COCO", *, turned: bool) -> "COCOeval":
    """Return what compares the two sets; of turned ones, by the exact overlap of quadrilaterals."""
    from pycocotools.cocoeval import COCOeval

    class TurnedEval(COCOeval):  # type: ignore[misc]
        def computeIoU(self, image: int, label: int) -> list[Any] | npt.NDArray[np.float64]:  # noqa: N802 - theirs
            """(found, true) of one class in one image, the best found first."""
            there, found = self._gts[image, label], self._dts[image, label]
            if not there or not found:
                return []
            order = np.argsort([-each["score"] for each in found], kind="mergesort")[: self.params.maxDets[-1]]
            best = np.stack([found[index]["theta"] for index in order])
            return overlaps(best, np.stack([each["theta"] for each in there]))

    return (TurnedEval if turned else COCOeval)(true, answered, "bbox")
