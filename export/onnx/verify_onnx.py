"""The same real images through PyTorch and through ONNX Runtime: how far apart are the two?"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, PIXELS, THETA, WHOLE_IMAGE, Contract, Loc, Task
from lstn.data.dataset import open_data
from lstn.data.splits import Split, spaced
from lstn.data.task_sets import open_for
from lstn.detection.region_order import nearest_regions
from lstn.errors import ArtifactError, DeviceError, LstnError, VerificationError
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.imaging.framing import STRETCHED, Framing
from lstn.machine.memory import batch_of
from lstn.tagging.tags import has_tags
from lstn.terminal import warn
from lstn.warps.warp import drift_px

if TYPE_CHECKING:
    from torch import nn

LOGIT_TOLERANCE = 1e-3
"""Largest logit difference, as a share of the largest logit.

The same float32 sums in another order, and BatchNorm folded into weights, come to 1e-6 of it in a trained model. A
thousand times as much is still too little to change an answer that wasn't a near tie; so top-1 agreement is reported,
and needs no tolerance of its own.
"""

DRIFT_TOLERANCE_PX = 0.01
"""Largest drift, in pixels, for a theta within -1..1; a larger one may drift in proportion, as float32 rounds.

Trained localizers come to 2e-4 px at 64 x 64. A hundredth of a pixel moves a gray level by a hundredth of the contrast.
"""

ROUNDINGS = 10.0
"""What passes either tolerance passes all the same within this many times PyTorch's own distance from float64.

A short training leaves weights that amplify rounding, L-STN's 17 BatchNorms above all: one untrained L-STN +
EfficientNet-B0 at 224 was 0.9 % of its logits and 0.007 px away from itself in float64, and its ONNX file 0.7 % and
0.003 px. Over six such models the ONNX file was 0.5 to 3 times as far away as PyTorch.
"""

INT8_LOGIT_TOLERANCE = 3 / 127
"""Of an int8 model, in place of LOGIT_TOLERANCE: three steps of its scale."""

MOST = 0.9
"""The share of images that must pass in int8.

A value at the edge between two steps falls to either side by one rounding in float32, and takes what comes after with
it. Over three trained models that happened to the theta of 0 to 3 in 64 images, by up to 0.3 px; all others were within
1e-4 px. What is wrong with a graph shows in nearly every image.
"""

IMAGES = 64
"""How many images are compared."""

MOST_REGIONS = 0.99
"""The share of a detector's regions that must pass: the last of an image's K is one of two that are about as good."""

_FIRST_BATCHES, _BATCH = (1, 2, 7), 16
"""Several sizes, since a graph that took its example's batch for a constant runs at that one alone."""

Outputs: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""Logits (N, …), and theta (N, …) with a transformer; float64 where a model is compared with itself."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an ONNX file compares with the PyTorch model that it was made from.

    images:           how many were compared
    logit_difference: the largest, absolute
    top1:             share of the images that both put into the same class, or give the same labels, 0..1
    drift_px:         the largest, in pixels of the input; None without a transformer
    what:             `top1` in words
    """

    images: int
    logit_difference: float
    top1: float
    drift_px: float | None
    what: str = "top-1 agreement"

    def __str__(self) -> str:
        """Return the figures as part of a sentence."""
        drift = "" if self.drift_px is None else f", drift {self.drift_px:.1e} px"
        return f"largest logit difference {self.logit_difference:.1e}, {self.what} {100 * self.top1:.3g} %{drift}"


def sample_images(
    data: str,
    image_hw: tuple[int, int],
    *,
    seed: int,
    count: int = IMAGES,
    task: Task = Task.CLASSIFY,
    framing: Framing = STRETCHED,
) -> Pixels:
    """Decode up to `count` validation images of the data set `data`, spread over it: (N, H, W, 3) uint8 RGB.

    Where that data set can't be read any more, say so, and take the embedded digits instead: any image that makes the
    layers work shows a wrong graph.
    """
    try:
        return _spread(open_for(task, data, image_hw=image_hw, seed=seed, framing=framing).val, count)
    except LstnError as error:
        warn(f"{error.message}; comparing on the embedded digits instead")
        return _spread(open_data("digits", image_hw=image_hw, seed=seed).val, count)


def _spread(split: Split, count: int) -> Pixels:
    return np.stack([split[index][0] for index in spaced(len(split), count)])


def verify_onnx(path: Path, model: "nn.Module", contract: Contract, images: Pixels) -> Agreement:
    """Compare the ONNX file at `path` with `model`, in evaluation mode on the CPU, on images (N, H, W, 3) uint8 RGB.

    Raises:
        VerificationError: logits or theta aren't finite or differ by more than the tolerance, or the file doesn't run.
    """
    expected = _torch_outputs(model, contract, images)
    if broken := not_finite(expected):
        raise VerificationError(
            f"the trained model itself computes {broken} that are not finite", hint="train again, with a lower --lr"
        )
    found = onnx_outputs(path, contract, images)
    check_outputs_finite(found, "ONNX Runtime")
    agreement = compare_answers(found, expected, contract)
    logits, drift = tolerances(expected)
    if agreement.logit_difference > logits or (agreement.drift_px or 0.0) > drift:
        exact = _torch_outputs(copy.deepcopy(model).double(), contract, images)
        own, away = compare_answers(expected, exact, contract), compare_answers(found, exact, contract)
        logits = max(logits, ROUNDINGS * own.logit_difference)
        drift = max(drift, ROUNDINGS * (own.drift_px or 0.0))
        if away.logit_difference > logits or (away.drift_px or 0.0) > drift:
            allowed = f"{logits:.1e}" + ("" if away.drift_px is None else f" and {drift:.1e} px")
            raise VerificationError(
                f"the exported model differs from PyTorch: {agreement}; rounding explains {allowed}"
            )
    return agreement


def check_outputs_finite(outputs: Outputs, library: str) -> None:
    """Check that an exported model computed numbers.

    Raises:
        VerificationError: it didn't, in the library of that name.
    """
    if broken := not_finite(outputs):
        raise VerificationError(f"in {library} the exported model computes {broken} that are not finite")


def compare_answers(found: Outputs, expected: Outputs, contract: Contract) -> Agreement:
    """Compare what two forms of one model answered to the same images."""
    found = in_order_of(found, expected, contract)
    logits, drift = distance(found, expected, contract, 1.0)
    tags = contract.task is Task.TAG
    one, other = (has_tags(each[LOGITS], contract) if tags else each[LOGITS].argmax(-1) for each in (found, expected))
    same = (one == other).all(-1) if tags else one == other
    return Agreement(
        images=len(expected[LOGITS]),
        logit_difference=logits,
        top1=float(same.mean()),
        drift_px=None if contract.loc is Loc.NONE else drift,
        what="same labels" if tags else "top-1 agreement",
    )


def distance(found: Outputs, expected: Outputs, contract: Contract, share: float) -> tuple[float, float]:
    """Return the largest logit difference and drift in pixels among the `share` of images that are nearest.

    Of a detector it is the share of regions, of which a hundredth may differ whatever is asked; of a reader, symbols.
    """
    detects, several = contract.task is Task.DETECT, contract.task not in WHOLE_IMAGE
    found = in_order_of(found, expected, contract)
    share = min(share, MOST_REGIONS) if detects else share
    method: Literal["higher", "linear"] = "higher" if detects else "linear"
    drift = 0.0
    if contract.loc is not Loc.NONE:
        one, other = (each[THETA].reshape(-1, 2, 3) if several else each[THETA] for each in (found, expected))
        of_all = drift_px(one, other, contract.image_hw)
        drift = float(np.quantile(of_all, share, method=method))
    apart = np.abs(found[LOGITS] - expected[LOGITS]).max(axis=-1)
    return float(np.quantile(apart, share, method=method)), drift


def in_order_of(found: Outputs, expected: Outputs, contract: Contract) -> Outputs:
    """Return a detector's answers with the regions of each image in the order of the nearest expected ones.

    Two regions of nearly the same score may change places by rounding, which changes nothing of what is detected.
    """
    if contract.task is not Task.DETECT:
        return found
    order = nearest_regions(found[THETA], of=expected[THETA])
    return {
        LOGITS: np.take_along_axis(found[LOGITS], order[:, :, None], axis=1),
        THETA: np.take_along_axis(found[THETA], order[:, :, None, None], axis=1),
    }


def tolerances(expected: Outputs) -> tuple[float, float]:
    """Return the largest logit difference, and the largest drift in pixels, that need no explanation."""
    reach = float(np.abs(expected[THETA]).max()) if THETA in expected else 1.0
    return LOGIT_TOLERANCE * float(np.abs(expected[LOGITS]).max()), DRIFT_TOLERANCE_PX * max(1.0, reach)


def _torch_outputs(model: "nn.Module", contract: Contract, images: Pixels) -> Outputs:
    import torch

    batches = []
    with torch.inference_mode():
        for pixels in batched(images):
            outputs = model(torch.from_numpy(pixels))
            batches.append([outputs] if contract.loc is Loc.NONE else list(outputs))
    joined = [torch.cat(parts).numpy() for parts in zip(*batches, strict=True)]
    return dict(zip((LOGITS, THETA), joined, strict=False))


def onnx_outputs(model: Path | bytes, contract: Contract, images: Pixels, *, as_written: bool = False) -> Outputs:
    """Run an ONNX file, or its bytes, in ONNX Runtime on the CPU.

    as_written: as for `OnnxSession`

    Raises:
        VerificationError: ONNX Runtime can't run it.
    """
    names = [LOGITS] if contract.loc is Loc.NONE else [LOGITS, THETA]
    try:
        session = OnnxSession(model, as_written=as_written)
        batches = [session.run({PIXELS: pixels}, names) for pixels in batched(images)]
    except (ArtifactError, DeviceError) as error:
        raise VerificationError(f"ONNX Runtime can't run the exported model: {error.message}") from error
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*batches, strict=True), strict=True)}


def batched(images: Pixels) -> Iterator[Pixels]:
    """Cut images into batches of several sizes."""
    start = 0
    most = batch_of((images.shape[1], images.shape[2]), _BATCH)
    for size in (size for size in _FIRST_BATCHES if size <= most):
        if start < len(images):
            yield images[start : start + size]
        start += size
    for begin in range(start, len(images), most):
        yield images[begin : begin + most]


def not_finite(outputs: Outputs) -> str:
    """Return which outputs hold a value that isn't finite, in words."""
    return " and ".join(name for name, values in outputs.items() if not np.isfinite(values).all())
