"""Training images changed at random, through torchvision: the same change for one seed, epoch and image, always."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Meta
from torch import Tensor
from torchvision.transforms import v2

from lstn.contract import IMAGENET_MEAN, Task
from lstn.errors import UsageError

Augment: TypeAlias = Annotated[str, Meta(max_length=100)]
"""`none`, or names of KINDS with commas between them."""

KINDS = ("affine", "standard", "randaugment", "erase", "mixup", "cutmix")
"""What can be done to training images, in the order in which it is done.

affine:   turned by up to 15 degrees, shifted by up to a tenth of the side, scaled by 0.9 to 1.1; outside the image
          goes on as a mirror image, for a localizer would follow a black border instead of what is in the picture
standard: a crop of the image with a reflected border of an eighth of its side, mirrored half of the time where the
          classes allow it (He et al. 2016, section 4.2: 4 pixels of border on CIFAR-10's 32); affine or this
randaugment: two changes out of 14, of which some move the image and others its colours (Cubuk et al. 2020), with
          torchvision's usual strength; outside it gets the mean colour
erase:    half of the time, a rectangle of 2 to 33 % of the image gets the mean colour (Zhong et al. 2020)
mixup, cutmix: images are mixed with others (`lstn.train.batches.mixing`)
"""

_MIXED = ("mixup", "cutmix")

Move: TypeAlias = npt.NDArray[np.float64]
"""(3, 3): where the content of an image moves, from the image to the changed one."""

_TURN_DEG, _SHIFT, _SCALE = 15.0, 0.1, (0.9, 1.1)
_BEYOND = 0.3
"""Of the side: how far outside of it a corner of the image can be moved from, by all three together."""

_BORDER = 1 / 8


def kinds_of(augment: Augment) -> tuple[str, ...]:
    """Return what is to be done to training images, in the order of KINDS.

    Raises:
        UsageError: an unknown name, the same twice, or two that exclude each other.
    """
    names = [word.strip() for word in augment.split(",")]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in KINDS:
            raise UsageError(f"unknown augmentation {name!r:.40}", hint=f"use none, or names out of {', '.join(KINDS)}")
    if len(set(names)) < len(names):
        raise UsageError(f"augmentation {augment:.80}: one is named twice", hint="name each once")
    if {"affine", "standard"} <= set(names):
        raise UsageError(f"augmentation {augment:.80}: affine and standard both move images", hint="name one of them")
    return tuple(kind for kind in KINDS if kind in names)


def mixing_of(augment: Augment) -> tuple[str, ...]:
    """Return by what batches are mixed."""
    return tuple(kind for kind in kinds_of(augment) if kind in _MIXED)


def check_augment(augment: Augment, task: Task, *, supervised: bool) -> None:
    """Check that augmentations are known, and leave what a fit is shown true: of images with labels, not their places.

    Raises:
        UsageError: they aren't, or they don't.
    """
    kinds = kinds_of(augment)
    if task is Task.TAG:
        if mixed := [kind for kind in kinds if kind in _MIXED]:
            raise UsageError(
                f"--task tag: --augment {mixed[0]} is for images with one label", hint="use the other augmentations"
            )
        return
    moved = [kind for kind in kinds if kind in ("randaugment", *_MIXED)]
    if moved and (task is not Task.CLASSIFY or supervised):
        who = "--supervise" if task is Task.CLASSIFY else f"--task {task.value}"
        raise UsageError(
            f"{who} needs to know where objects are, which --augment {moved[0]} loses",
            hint="use affine, standard or erase",
        )


class Augmentation:
    """What happens to each image of a run. It can be sent to a worker process.

    mirrors: a mirrored image still shows its class
    mean:    per RGB channel on the 0..1 scale: the colour of what is erased, or shown of the outside

    Raises:
        UsageError: no such kind.
    """

    def __init__(
        self,
        kind: Augment,
        *,
        image_hw: tuple[int, int],
        mirrors: bool,
        seed: int,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
    ) -> None:
        self._seed = seed
        colour = [255 * each for each in mean]
        self._steps = tuple(
            step for each in kinds_of(kind) if each not in _MIXED for step in _steps(each, image_hw, mirrors, colour)
        )

    def __call__(self, pixels: Tensor, poses: Tensor, indices: list[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Change images (N, H, W, 3) uint8, which have these numbers in their split, as is due in `epoch`.

        poses (N, 2, 3) float32, of the objects in them, or (N, M, 2, 3) of several, are moved along; a pose that is no
        number stays none.
        """
        if not self._steps:
            return pixels, poses
        # torchvision draws from the global generator, which dropout draws from as well.
        before = torch.get_rng_state()
        try:
            changed = [self._changed(image, n, epoch) for image, n in zip(pixels, indices, strict=True)]
        finally:
            torch.set_rng_state(before)
        moves = torch.stack([torch.from_numpy(move) for _, move in changed])
        moved = (moves if poses.dim() == 3 else moves[:, None]) @ _square(poses)
        return torch.stack([image for image, _ in changed]), _unmirrored(moved[..., :2, :].float())

    @property
    def idle(self) -> bool:
        """Whether images stay as they are."""
        return not self._steps

    def _changed(self, image: Tensor, index: int, epoch: int) -> tuple[Tensor, Move]:
        key = np.random.SeedSequence([self._seed, epoch, index]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(key[0] >> np.uint64(1)))
        changed, whole = image.permute(2, 0, 1), np.eye(3)
        for step in self._steps:
            params = step.make_params([changed])
            height, width = changed.shape[1:]
            whole = _unit(_move(step, params, (height, width)), (height, width)) @ whole
            changed = step.transform(changed, params)
        return changed.permute(1, 2, 0), whole


class _Step(Protocol):
    """A transform of torchvision: draws its parameters, and changes an image (3, H, W) by them."""

    def make_params(self, flat_inputs: list[Any], /) -> dict[str, Any]: ...

    def transform(self, inpt: Any, params: dict[str, Any], /) -> Any: ...


class _Affine:
    """torchvision's RandomAffine, but with mirror images outside, where it knows only one colour."""

    def __init__(self) -> None:
        self._drawn = v2.RandomAffine(_TURN_DEG, (_SHIFT, _SHIFT), _SCALE)

    def make_params(self, flat_inputs: list[Any], /) -> dict[str, Any]:
        return dict(self._drawn.make_params(flat_inputs))

    def transform(self, inpt: Any, params: dict[str, Any], /) -> Any:
        size = list(inpt.shape[-2:])
        border = [math.ceil(_BEYOND * side) for side in reversed(size)]
        wide = v2.functional.pad(inpt, border, padding_mode="symmetric")
        moved = v2.functional.affine(wide, **params, interpolation=v2.InterpolationMode.BILINEAR)
        return v2.functional.center_crop(moved, size)


class _Mirrored:
    """torchvision's RandomHorizontalFlip, which has no parameters to look at."""

    def make_params(self, flat_inputs: list[Any], /) -> dict[str, Any]:
        return {"mirrored": bool(torch.rand(1) < 0.5)}

    def transform(self, inpt: Any, params: dict[str, Any], /) -> Any:
        return inpt.flip(-1) if params["mirrored"] else inpt


class _Whole:
    """A transform of torchvision that draws while it changes an image."""

    def __init__(self, drawn: Callable[[Tensor], Tensor]) -> None:
        self._drawn = drawn

    def make_params(self, flat_inputs: list[Any], /) -> dict[str, Any]:
        return {}

    def transform(self, inpt: Any, params: dict[str, Any], /) -> Any:
        return self._drawn(inpt)


def _steps(kind: str, image_hw: tuple[int, int], mirrors: bool, colour: list[float]) -> tuple[_Step, ...]:
    """(3, H, W) uint8 -> (3, H, W) uint8, each."""
    if kind == "affine":
        return (_Affine(),)
    if kind == "randaugment":
        return (_Whole(v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR, fill=colour)),)
    if kind == "erase":
        return (_Whole(v2.RandomErasing(value=[round(each) for each in colour])),)
    height, width = image_hw
    border = [max(1, round(width * _BORDER)), max(1, round(height * _BORDER))]
    crop = v2.RandomCrop(image_hw, padding=border, padding_mode="reflect")
    return (crop, _Mirrored()) if mirrors else (crop,)


def _move(step: _Step, params: dict[str, Any], image_hw: tuple[int, int]) -> Move:
    """Return where a step takes a point (x, y, 1) of the image, in pixels.

    torchvision can move points itself (KeyPoints), but not yet into a reflected border, and by whole pixels' centres
    in one step and their edges in another.
    """
    height, width = image_hw
    if isinstance(step, _Affine):
        angle, middle = np.deg2rad(params["angle"]), np.array([width, height]) / 2
        cos, sin = params["scale"] * np.cos(angle), params["scale"] * np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return _matrix(turn, middle + params["translate"] - turn @ middle)
    if isinstance(step, _Whole):  # erasing moves nothing; where RandAugment moves an object, nobody asks where to
        return np.eye(3)
    if isinstance(step, v2.RandomCrop):
        left, top = (params["padding"][side] for side in (0, 1)) if params["needs_pad"] else (0, 0)
        return _matrix(np.eye(2), np.array([left - params["left"], top - params["top"]]))
    assert isinstance(step, _Mirrored)
    return _matrix(np.diag([-1.0, 1.0]), np.array([width, 0.0])) if params["mirrored"] else np.eye(3)


def _matrix(linear: Move, shift: Move) -> Move:
    return np.vstack([np.column_stack([linear, shift]), [0.0, 0.0, 1.0]])


def _unit(move: Move, image_hw: tuple[int, int]) -> Move:
    """From pixels to -1..1 over the whole image, before and after."""
    height, width = image_hw
    to_pixels = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    unit: Move = np.linalg.inv(to_pixels) @ move @ to_pixels
    return unit


def _square(poses: Tensor) -> Tensor:
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(*poses.shape[:-2], 1, 3)
    return torch.cat([poses.double(), last], dim=-2)


def _unmirrored(poses: Tensor) -> Tensor:
    """Exchange left and right of mirrored crops: of a mirrored image the crop is upright, and not mirrored back."""
    mirrored = poses[..., 0, 0] * poses[..., 1, 1] < poses[..., 0, 1] * poses[..., 1, 0]
    across = torch.where(mirrored[..., None, None], -poses[..., :1], poses[..., :1])
    return torch.cat([across, poses[..., 1:]], dim=-1)
