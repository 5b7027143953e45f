"""Probe of the transformer: a few validation images, looked at after every epoch, say whether it is alive."""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.contract import Contract, Task
from lstn.data.dataset import Split
from lstn.data.objects import objects_of
from lstn.data.splits import spaced
from lstn.evaluation.measured_follow import MovedPictures, most_images
from lstn.evaluation.measured_pose import known_poses, pose_error
from lstn.health.follow import Follow
from lstn.health.liveness import Vitals
from lstn.images import Pixels
from lstn.nn.checkpoint_answers import locator
from lstn.nn.classifier import Classifier
from lstn.nn.warping.forms import first_theta
from lstn.nn.warping.transformer import compose
from lstn.tagging.tag_scores import truth_of
from lstn.warps.warp import Theta, crop_points, identity_theta, landmarks_px, sampled

FEWEST, MOST, SHARE = 32, 512, 30
"""How many validation images are looked at: a thirtieth of the training images, within these bounds.

Each goes through the backbone three times; with the gradient that was 4.5 % of an epoch of digits (40 images, cnn at 64
pixels) and 3.3 % of one of GTSRB (68 images, resnet-18 at 64), on one core. More training images make it less.
"""

GRADIENT_IMAGES = 32
"""Of them, how many the gradient is of. Its share is judged by powers of ten, and backwards is the dear direction."""

SHOWN = 8
"""Of them, how many are drawn, the same ones in every epoch."""

FEWEST_MOVED, MOST_MOVED, SHARE_MOVED = 24, 64, 100
"""Of them, how many are moved to see what the crop follows: a hundredth of the training images, within these bounds.

Each goes through the localizer six times, forward, where a training image goes through the whole network forward and
back.
"""

_MOST_BYTES = 64 << 20
"""Of pixels, so that huge images don't take the memory."""

_BEYOND_PX = 1e6
"""What stands for a corner that went to infinity, which JSON has no number for."""


class Probe:
    """Validation images that the transformer is watched on, evenly spaced over the split and the same in every epoch.

    pixels: (N, H, W, 3) uint8
    labels: (N,) int64; of a model that tags (N, C) float32, 1 for each label that an image has
    """

    def __init__(self, images: Split, contract: Contract, *, training_images: int, batch_size: int) -> None:
        first = images[0][0]
        count = min(len(images), max(FEWEST, training_images // SHARE), MOST, max(1, _MOST_BYTES // first.nbytes))
        numbers = spaced(len(images), count)
        chosen = [images[index] for index in numbers]
        self._poses = known_poses(images, numbers) if contract.task is Task.CLASSIFY else _unknown(count)
        self.pixels = torch.from_numpy(np.stack([pixels for pixels, _ in chosen]))
        self.labels = torch.tensor([label for _, label in chosen])
        if contract.task is Task.TAG:
            truth = truth_of([objects_of(images, number) for number in numbers], len(contract.labels))
            self.labels = torch.from_numpy(truth).float()
        self._batch_size = min(max(batch_size, 16), count)
        self._first = beginning(contract)
        self._moved = self._to_move(contract, training_images)

    def shown(self) -> Pixels:
        """Return the images that are drawn, (n, H, W, 3) uint8."""
        return np.asarray(self.pixels[spaced(len(self.pixels), SHOWN)].numpy())

    def thetas(self, model: Classifier) -> Theta:
        """Return where `model` looks in the images of `shown`, (n, …) float32."""
        model.eval()
        with torch.no_grad():
            _, theta = model.transform(torch.from_numpy(self.shown()).to(_device(model)))
        assert theta is not None  # a model without a transformer is not watched
        return np.asarray(theta.cpu().numpy())

    def examine(self, model: Classifier) -> Vitals:
        """Return what can be seen of the transformer, in evaluation mode and float32.

        Neither weights nor their `.grad` nor any random state are touched: training goes on as if nobody had looked.
        """
        model.eval()
        theta, right = self._classify(model)
        height, width = self.pixels.shape[1:3]
        corners = landmarks_px(theta, (height, width))
        identity = np.broadcast_to(identity_theta(model.contract.theta), theta.shape[1:])
        home = landmarks_px(identity[None], (height, width))
        began = landmarks_px(self._first, (height, width))
        return Vitals(
            images=len(self.pixels),
            gradient_share=_gradient_share(model, self.pixels[:GRADIENT_IMAGES], self.labels[:GRADIENT_IMAGES]),
            displacement_px=_bounded(np.linalg.norm(corners - home, axis=2).mean()),
            moved_px=_bounded(np.linalg.norm(corners - began, axis=2).mean()),
            spread_px=_spread(corners),
            outside_share=outside_share(theta, model.contract),
            accuracy=right[0],
            accuracy_identity=right[1],
            accuracy_swapped=right[2],
            follow=self._follow(model),
            pose=pose_error(theta, self._poses, self.labels.tolist(), (height, width)),
        )

    def _to_move(self, contract: Contract, training_images: int) -> MovedPictures | None:
        pixels = np.asarray(self.pixels.numpy())
        most = min(max(FEWEST_MOVED, training_images // SHARE_MOVED), MOST_MOVED)
        chosen = spaced(len(pixels), most_images(pixels[0], most))
        return MovedPictures(pixels[chosen], contract) if len(chosen) > 1 else None

    def _follow(self, model: Classifier) -> Follow | None:
        return self._moved.follow(locator(model), batch=self._batch_size) if self._moved is not None else None

    @torch.no_grad()
    def _classify(self, model: Classifier) -> tuple[Theta, list[float]]:
        """Return theta (N, …), and the accuracies with it, with the identity, and with another image's theta.

        Of a model that tags, the shares of labels that are right.
        """
        transformer = model.transformer
        assert transformer is not None
        batches = [pixels.to(_device(model)) for pixels in torch.split(self.pixels, self._batch_size)]
        frames = [model.frames(model.normalise(batch)) for batch in batches]
        theta = torch.cat([transformer.localize(batch, model.look) for batch in frames])
        # Half of the images away, for neighbours in a folder are of one class, or pictures of one object.
        other = theta.roll(len(theta) // 2, dims=0)
        identity = torch.from_numpy(identity_theta(model.contract.theta)).to(theta.device).expand_as(theta)
        right = torch.zeros(3, dtype=torch.float64)
        for index, batch in enumerate(frames):
            part = slice(index * self._batch_size, (index + 1) * self._batch_size)
            for place, used in enumerate((theta[part], identity[part], other[part])):
                right[place] += _right(model.classify(transformer.warp(batch, used)).cpu(), self.labels[part])
        return np.asarray(theta.float().cpu().numpy()), [float(count) / len(self.labels) for count in right]


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many images are classified rightly, or the sum over images of the share of labels that are right."""
    if labels.ndim == 1:
        return (logits.argmax(1) == labels).sum()
    return ((logits >= 0) == labels.bool()).double().mean(1).sum()


def _unknown(count: int) -> Theta:
    """Poses of objects that nobody knows, or of which an image has several."""
    return np.full((count, 2, 3), np.nan, np.float32)


def beginning(contract: Contract) -> Theta:
    """Return what theta is before the first step, whatever the image: (1, …) float32."""
    of_a_look = theta = first_theta(contract.theta, contract.warps)
    for _ in range(contract.iterations - 1):
        theta = compose(theta, of_a_look)
    return np.asarray(theta.numpy()).reshape(1, *contract.theta_shape)


def _spread(corners: npt.NDArray[np.float64]) -> float:
    if not np.isfinite(corners).all():
        return _BEYOND_PX
    return _bounded(np.sqrt(np.square(corners - corners.mean(0)).sum(2).mean()))


def outside_share(theta: Theta, contract: Contract) -> float:
    """(N, …) float32 -> the share of the crop's points that are sampled outside of the frame, 0..1."""
    places = sampled(theta, crop_points(contract.theta, contract.backbone_hw, contract.image_hw))
    return float(1 - ((np.abs(places) <= 1).all(-1)).mean())  # so that a point that is no number is outside


@torch.enable_grad()
def _gradient_share(model: Classifier, pixels: Tensor, labels: Tensor) -> float | None:
    """Return the norm of the loss's gradient to the localizer over that to all weights, 0..1, or None if all are 0."""
    assert model.transformer is not None
    device = _device(model)
    logits = model.classify(model.transform(pixels.to(device))[0])
    entropy = F.cross_entropy if labels.ndim == 1 else F.binary_cross_entropy_with_logits
    loss = entropy(logits, labels.to(device))
    localizer, backbone = (_weights(part) for part in (model.transformer, model.backbone))
    # Not `backward`, which would leave its gradients where the optimizer looks.
    gradients = torch.autograd.grad(loss, localizer + backbone, allow_unused=True)
    squares = [0.0 if each is None else float(each.double().square().sum()) for each in gradients]
    whole = sum(squares)
    if not math.isfinite(whole):  # an exploded theta; the warps say so too
        return 0.0
    return math.sqrt(sum(squares[: len(localizer)]) / whole) if whole else None


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]


def _device(model: Classifier) -> torch.device:
    return model.scale.device


def _bounded(pixels: float) -> float:
    return float(min(np.nan_to_num(pixels, nan=_BEYOND_PX), _BEYOND_PX))
