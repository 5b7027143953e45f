"""Distance of where a recurrent localizer looked from where it should have: of readers and of aligners."""

from torch import Tensor

from lstn.contract import ThetaForm
from lstn.nn.recurrent_localizer import Glimpses
from lstn.nn.turned_boxes import boxes_of, thetas_of, upright_around
from lstn.train.computing.distributed import World
from lstn.train.objectives.supervision import attention_loss, pose_loss
from lstn.train.runs.options import Options


def glimpse_loss(found: Glimpses, poses: Tensor, options: Options, size: int, world: World) -> Tensor:
    """Return the distance of crops and of attention from the poses of each step, as one loss.

    poses: (N, T, 2, 3), not a number where a step has none; of upright crops (`--theta crop`) what counts is the box
    size:  images of the whole batch, over all processes
    """
    if options.recipe.theta is ThetaForm.CROP:
        poses = thetas_of(upright_around(boxes_of(poses, options.image_size)), options.image_size)
    theta = thetas_of(found.boxes, options.image_size)
    apart = pose_loss(theta, poses, size, world)
    return apart + attention_loss(found.attention, found.places, poses, size, world)
