"""Regions of a detector -> labelled quadrilaterals: scores, and non-maximum suppression in NumPy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lstn.evaluation.answer import Logits, softmax
from lstn.warps.quadrilaterals import Overlaps, Rectangle, overlaps, upright_box, upright_boxes
from lstn.warps.warp import Theta

LEAST_SCORE, SHOWN_SCORE = 0.001, 0.3
"""The lowest score that counts when precision is measured, which is averaged over all recalls; and when it is shown."""

OVERLAP = 0.5
"""The largest overlap of two detections of a class, as torchvision's detectors have it."""

MOST_FOUND = 100
"""How many detections of an image count: the best ones, as for COCO."""


_WHOLE = (1, 1)
"""The size of an image in which pixels are shares of its sides."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """An object that a model found.

    label: its class
    score: how sure the model is of it, 0..1
    theta: (2, 3) float32, from the crop that shows it to the picture, both from -1 to 1 and from edge to edge
    """

    label: str
    score: float
    theta: Theta

    @property
    def box(self) -> Rectangle:
        """The upright box around it: left, top, right and bottom, in shares of the image's width and height."""
        return upright_box(self.theta, _WHOLE)

    def fields(self) -> dict[str, object]:
        """Return what JSON says of it: label, score, box and theta, with six digits."""
        theta = (np.round(self.theta.astype(float), 6) + 0.0).tolist()
        box = [round(side, 6) + 0.0 for side in self.box]  # not -0.0
        return {"label": self.label, "score": round(self.score, 6), "box": box, "theta": theta}

    def __str__(self) -> str:
        """Return the class and the score: `cat 97.3 %`."""
        return f"{self.label} {100 * self.score:.1f} %"


def detections(
    logits: Logits,
    theta: Theta,
    labels: tuple[str, ...],
    *,
    least: float,
    most: int = MOST_FOUND,
    overlap: float = OVERLAP,
) -> tuple[Detection, ...]:
    """Return what a model found in one image, best first.

    Each region is a candidate for each class (Ren et al. 2015). Of two candidates of one class that overlap, the one
    with the lower score is left out; regions of different classes never suppress each other.

    logits:  (K, C + 1) float32, one column for each label and a last one for "nothing here"; finite
    theta:   (K, 2, 3) float32, finite; a region without an area, or wholly outside of the picture, is never found
    least:   the lowest score that counts, 0..1
    most:    how many are returned at most
    overlap: the largest intersection over union that two of a class may have, 0..1; of the quadrilaterals, exactly
    """
    scores = softmax(logits)[:, :-1]
    solid = np.linalg.det(theta[:, :, :2].astype(np.float64)) != 0
    left, top, right, bottom = upright_boxes(theta, _WHOLE).T
    inside = (left < 1) & (top < 1) & (right > 0) & (bottom > 0)
    regions, classes = np.nonzero((scores >= least) & (solid & inside)[:, None])
    values = scores[regions, classes]
    used = np.unique(regions)
    shared = overlaps(theta[used], theta[used])
    places = np.searchsorted(used, regions)
    kept = np.concatenate(
        [
            of_class[_greedy(values[of_class], places[of_class], shared, most, overlap)]
            for label in np.unique(classes)
            for of_class in [np.flatnonzero(classes == label)]
        ]
        or [np.zeros(0, np.intp)]
    )
    best = kept[np.argsort(-values[kept], kind="stable")][:most]
    return tuple(
        Detection(labels[label], float(value), theta[region])
        for label, value, region in zip(classes[best].tolist(), values[best], regions[best].tolist(), strict=True)
    )


def _greedy(
    values: npt.NDArray[np.float32], places: npt.NDArray[np.intp], shared: Overlaps, most: int, overlap: float
) -> npt.NDArray[np.intp]:
    """Return which candidates of one class stay, best first: each that overlaps no better one that stays."""
    left = np.argsort(-values, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[shared[places[best], places[left]] <= overlap]
    return np.array(kept, np.intp)
