"""Supervision of the localizer: theta is drawn to the true poses of the images that have one (`--supervise`)."""

import hashlib
import math

import torch
from torch import Tensor

from lstn.contract import CONTROLS, Loc
from lstn.data.poses import pose_of
from lstn.data.splits import Split
from lstn.errors import UsageError
from lstn.nn.warping.forms import each_warp, homogeneous_points, landmarks
from lstn.train.computing.distributed import ALONE, World

_FOCUS = 3.0


def pose_loss(theta: Tensor, poses: Tensor, batch: int, world: World = ALONE) -> Tensor:
    """Return how far theta (N, …) is from the true poses (N, 2, 3), a scalar: the mean over the batch's known ones.

    Of several warps of an image, (N, K, …) and (N, K, 2, 3), each has a pose of its own.

    Of an image it is 2 (sqrt(1 + d2) - 1), with d2 the mean squared distance of the landmarks of pose^-1 theta from the
    crop's own, which are corners or control points, in half sides of the object, so that small objects count as much as
    large ones. Near the pose that is d2. Far away, as an untrained theta is from a small object, it grows like the
    distance: a square's gradient would drown the others', and a clamped one is nothing.

    poses: not a number where they are not known
    batch: how many images the batch has over all processes. Shares may know different numbers of poses, and each pose
           counts alike in the mean over processes that training takes, in which a share counts by its images.
    """
    images, theta, poses = len(theta), each_warp(theta), poses.reshape(-1, 2, 3)
    known = poses.isfinite().all(2).all(1)
    squares = corner_squares(theta, torch.where(known[:, None, None], poses, torch.eye(2, 3, device=theta.device)))
    return _mean_of_known(2 * ((1 + squares).sqrt() - 1), known, images, batch, world)


def attention_loss(attention: Tensor, places: Tensor, poses: Tensor, batch: int, world: World = ALONE) -> Tensor:
    """Return how far a reader's attention is from its symbols, a scalar: the mean cross-entropy over the known ones.

    Wanted of a place is a weight that falls with its distance r from the symbol's centre as exp(-3 r^2), in half sides
    of its box. A weighted mean of places alone, of which `pose_loss` is, would leave open which places it is of. After
    the same 1,000 steps on rows of digits, crops overlapped boxes by 0.52 with this, and by 0.28 in a run without it
    that had other crops as well: the two are no clean pair.

    attention: (N, K, P), logarithms of weights; places: (P, 2), on -1..1 of the image; poses: (N, K, 2, 3)
    """
    known = poses.isfinite().all(3).all(2)
    centred = torch.where(known[..., None, None], poses, torch.eye(2, 3, device=poses.device))
    (a, b, x), (c, d, y) = (row.unbind(2) for row in centred[..., None].unbind(2))
    right, below = places[:, 0] - x, places[:, 1] - y
    area = a * d - b * c
    squares = ((d * right - b * below) / area).square() + ((a * below - c * right) / area).square()
    wanted = torch.softmax(-_FOCUS * squares, dim=2)
    errors = -(wanted * attention).sum(2)
    return _mean_of_known(errors.flatten(), known.flatten(), len(poses), batch, world)


def _mean_of_known(errors: Tensor, known: Tensor, images: int, batch: int, world: World) -> Tensor:
    """Return the mean over the known poses of a batch, of which `images` images are in this process."""
    total, count = torch.where(known, errors, 0.0).sum(), known.sum()
    if world.size > 1 and world.shared(batch):
        (everywhere,) = world.sum(count[None])
        return total / max(everywhere, 1.0) * (batch / images)
    return total / count.clamp(min=1)


def corner_squares(theta: Tensor, poses: Tensor) -> Tensor:
    """Return the mean squared distance of the landmarks of pose^-1 theta from the crop's: (N, …), (N, 2, 3) -> (N,)."""
    x, y = (landmarks(theta) - (poses[:, None] * homogeneous_points(theta)[:, None]).sum(3)).unbind(2)
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
