"""Error of crops against the true poses of the objects, where a set knows them. Free of torch.

All is measured between two quadrilaterals in the picture: what the crop samples, and what the pose says. Residual
rotation is the angle between them. A transformer is trained on classes, not on what people call upright, and may turn
every 7 by the same 10 degrees: that slant is the class's own, and is taken out. It is the circular mean of the class's
other images, because an image would take a part of its own error out of itself.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lstn.data.poses import pose_of
from lstn.data.splits import Split, spaced
from lstn.evaluation.measured_follow import Locate, angle_deg
from lstn.health.pose_error import PoseError
from lstn.warps.quadrilaterals import overlaps
from lstn.warps.warp import Theta, frame_of

MOST_POSED = 1000
"""Images whose crops are compared with their poses."""

_BEYOND = 1e6
"""What stands for a distance that went to infinity, which JSON has no number for."""


def measure_pose(locate: Locate, images: Split, *, batch: int) -> PoseError | None:
    """Measure the crops of `locate` on images whose pose is known, evenly spaced; None if there are none."""
    known = [(index, pose.theta) for index in range(len(images)) if (pose := pose_of(images, index)) is not None]
    if not known:
        return None
    chosen = [known[place] for place in spaced(len(known), MOST_POSED)]
    found, labels, image_hw = [], [], images[chosen[0][0]][0].shape[:2]
    for start in range(0, len(chosen), batch):
        read = [images[index] for index, _ in chosen[start : start + batch]]
        found.append(locate(np.stack([pixels for pixels, _ in read])))
        labels += [label for _, label in read]
    poses = np.stack([theta for _, theta in chosen])
    return pose_error(np.concatenate(found), poses, labels, (image_hw[0], image_hw[1]))


def known_poses(images: Split, indices: Sequence[int]) -> Theta:
    """Return the true poses of these images, (N, 2, 3) float32, not a number where they are not known."""
    poses = np.full((len(indices), 2, 3), np.nan, np.float32)
    for place, index in enumerate(indices):
        if (pose := pose_of(images, index)) is not None:
            poses[place] = pose.theta
    return poses


def pose_error(theta: Theta, poses: Theta, labels: Sequence[int], image_hw: tuple[int, int]) -> PoseError | None:
    """Compare crops by theta (N, …) with the poses (N, 2, 3) that are known; None if no pose is.

    A crop that isn't affine counts as the affine one nearest to it (`lstn.warps.warp.frame_of`). None of several warps
    of an image, (N, K, …), has to be its object's.

    poses: not a number where they are not known
    """
    known = np.isfinite(poses).all((1, 2))
    if not known.any() or theta.ndim > 3:
        return None
    answered, true = frame_of(theta[known]), poses[known].astype(np.float64)
    half = np.array([image_hw[1], image_hw[0]]) / 2
    away = np.linalg.norm((answered - true)[:, :, 2] * half, axis=1)
    sides = 2 * np.sqrt(np.abs(np.linalg.det(true[:, :, :2])) * half.prod())
    return PoseError(
        images=int(known.sum()),
        rotation_deg=_residual_rotation(answered, true, np.asarray(labels)[known], image_hw[1] / image_hw[0]),
        centre_px=_bounded(float(np.median(away))),
        centre_share=_bounded(float(np.median(away / sides))),
        overlap=float(np.mean([overlaps(crop[None], pose[None]) for crop, pose in zip(answered, true, strict=True)])),
    )


def _residual_rotation(
    answered: npt.NDArray[np.float64], true: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], ratio: float
) -> float | None:
    """Return the median angle between crop and pose, each without the mean of its class's other images, in degrees."""
    finite = np.where(np.isfinite(answered).all((1, 2), keepdims=True), answered, 0.0)
    turned = np.exp(1j * np.radians(angle_deg(finite, ratio) - angle_deg(true, ratio)))
    left = []
    for label in np.unique(labels):
        of_class = turned[labels == label]
        if len(of_class) > 1:
            left.append(np.abs(np.degrees(np.angle(of_class * np.conj(of_class.sum() - of_class)))))
    return float(np.median(np.concatenate(left))) if left else None


def _bounded(value: float) -> float:
    return min(value, _BEYOND) if np.isfinite(value) else _BEYOND
