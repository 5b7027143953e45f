"""Supervision of the localizer: theta is drawn to the true poses of the images that have one (`--supervise`)."""

import hashlib
import math

import torch
from torch import Tensor

from lstn.contract import CONTROLS, Loc
from lstn.data.poses import pose_of
from lstn.data.splits import Split
from lstn.errors import UsageError
from lstn.nn.warping.forms import fixed_points, landmarks
from lstn.train.computing.distributed import ALONE, World


def pose_loss(theta: Tensor, poses: Tensor, batch: int, world: World = ALONE) -> Tensor:
    """Return how far theta (N, …) is from the true poses (N, 2, 3), a scalar: the mean over the batch's known ones.

    Of an image it is 2 (sqrt(1 + d2) - 1), with d2 the mean squared distance of the landmarks of pose^-1 theta from the
    crop's own, which are corners or control points, in half sides of the object, so that small objects count as much as
    large ones. Near the pose that is d2. Far away, as an untrained theta is from a small object, it grows like the
    distance: a square's gradient would drown the others', and a clamped one is nothing.

    poses: not a number where they are not known
    batch: how many images the batch has over all processes. Shares may know different numbers of poses, and each pose
           counts alike in the mean over processes that training takes, in which a share counts by its images.
    """
    known = poses.isfinite().all(2).all(1)
    squares = corner_squares(theta, torch.where(known[:, None, None], poses, torch.eye(2, 3, device=theta.device)))
    errors = torch.where(known, 2 * ((1 + squares).sqrt() - 1), 0.0).sum()
    count = known.sum()
    if world.size > 1 and world.shared(batch):
        (everywhere,) = world.sum(count[None])
        return errors / max(everywhere, 1.0) * (batch / len(poses))
    return errors / count.clamp(min=1)


def corner_squares(theta: Tensor, poses: Tensor) -> Tensor:
    """Return the mean squared distance of the landmarks of pose^-1 theta from the crop's: (N, …), (N, 2, 3) -> (N,)."""
    x, y = (landmarks(theta) - (poses[:, None] * fixed_points(theta)[:, None]).sum(3)).unbind(2)
    a, b, c, d = (poses[:, row, column, None] for row in (0, 1) for column in (0, 1))
    across, down = (d * x - b * y) / (a * d - b * c), (a * y - c * x) / (a * d - b * c)
    return (across.square() + down.square()).mean(1)


def check_supervise(loc: Loc, weight: float, warps: int = 1) -> None:
    """Check that a weight of the true poses is one, and that there is a localizer to train, of one warp.

    Raises:
        UsageError: it isn't, or there is none.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise UsageError(f"--supervise {weight:g} is not a weight", hint="give 0 for none, or a number such as 1")
    if weight and loc in (Loc.NONE, *CONTROLS):
        raise UsageError(f"a run of loc {loc.value} trains no localizer", hint="leave out --supervise")
    if weight and warps > 1:
        raise UsageError(
            f"an image has one true pose, and --warps {warps} chooses {warps} crops of it",
            hint="leave out --supervise or --warps",
        )


def check_posed(train: Split, data: str) -> None:
    """Check that a true pose is known of a training image at least.

    Raises:
        UsageError: it isn't.
    """
    if all(pose_of(train, index) is None for index in range(len(train))):
        raise UsageError(
            f"--supervise needs true poses, and --data {data} has none of its training images",
            hint="a boxes.csv directly in the folder (path,x1,y1,x2,y2,degrees) gives its training images poses",
        )


def poses_digest(train: Split) -> str:
    """Return a hash of the true poses of images that are read from files.

    A set that is drawn draws its poses too, so its fingerprint covers them.
    """
    digest = hashlib.sha256()
    for index in range(len(train) if train.redrawn(1) is train else 0):
        pose = pose_of(train, index)
        digest.update(b"-" if pose is None else pose.theta.tobytes())
    return digest.hexdigest()
