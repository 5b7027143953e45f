"""Memory of a training step, counted on shapes alone before anything is computed."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.contract import Contract, Task
from lstn.errors import UsageError
from lstn.machine.memory import available_bytes, size
from lstn.nn.generation.adversarial_network import AdversarialNetwork
from lstn.nn.generation.generator import Generator
from lstn.nn.models import Model, build_model, example_of

_PER_WEIGHT = 5
"""The weight, its gradient, Adam's two moments, and what Adam's step holds for a moment."""

_BACKWARDS = 2
"""Gradients of the largest tensor's size that a step holds at once on its way back."""

_UNSEEN = 1.2
"""What libraries take besides. So six models took 0.87 to 1.01 times what this says, at 96 to 224 pixels on a CPU."""

_COUNTED = 4
"""Images that are counted; activations grow with their number."""


@dataclass(frozen=True, slots=True)
class StepBytes:
    """Bytes that a step holds at its peak, in float32: whatever the batch, and for each of its images."""

    weights: int
    per_image: int

    def of(self, images: int) -> float:
        """Return what a batch of so many needs."""
        return _UNSEEN * (self.weights + self.per_image * images)


def step_bytes(contract: Contract) -> StepBytes:
    """Count what training a model keeps: weights, Adam's state, activations, and gradients on their way back."""
    kept: dict[int, Tensor] = {}
    largest = 0

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # several layers may keep one tensor
        return tensor

    def look(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        largest = max(largest, output.nbytes if isinstance(output, Tensor) else 0)

    with torch.device("meta"):  # all shapes, and no arithmetic
        model = build_model(contract).train()
        for module in model.modules():
            module.register_forward_hook(look)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            _forwards(model, contract)
    weights = list(model.parameters())
    own = {weight.untyped_storage()._cdata for weight in weights}
    activations = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
    per_image = (activations + _BACKWARDS * largest) // _COUNTED
    per_image *= (
        2 if contract.task is Task.DETECT else 1
    )  # true boxes are looked at as well, as many as regions at most
    return StepBytes(_PER_WEIGHT * sum(weight.nbytes for weight in weights), per_image)


def _forwards(model: Model, contract: Contract) -> None:
    """Go once forwards through what a step computes."""
    if isinstance(model, Generator):
        pixels = torch.zeros(_COUNTED, *contract.image_hw, 3, dtype=torch.uint8)
        AdversarialNetwork(model)(pixels, torch.zeros(_COUNTED, dtype=torch.int64))
        return
    logits = model(*example_of(contract, _COUNTED))
    first = logits[0] if isinstance(logits, tuple) else logits
    F.cross_entropy(first.flatten(0, -2), torch.zeros(first.shape[:-1].numel(), dtype=torch.long))


def check_memory(contract: Contract, batch: int, device: torch.device) -> None:
    """Check that a training step on the CPU fits into memory: the system would end the process without a word.

    Raises:
        UsageError: it doesn't, by far enough to be sure; the hint says what fits.
    """
    free = available_bytes() if device.type == "cpu" else None
    if free is None:
        return
    need = step_bytes(contract)
    if need.of(batch) <= free:
        return
    height, width = contract.image_hw
    fits = int((free / _UNSEEN - need.weights) // need.per_image)
    side = int(height * math.sqrt(max(0.0, free / _UNSEEN - need.weights) / need.per_image / batch)) // 32 * 32
    several = f"--batch-size {fits} --accumulate {-(-batch // max(1, fits))}"
    cures = ([several] if fits >= 2 else []) + ([f"--image-size {side}"] if side else [])
    raise UsageError(
        f"{contract.loc.value} + {contract.backbone} at {height} x {width} pixels needs about {size(need.of(batch))} "
        f"for a batch of {batch}, and {size(free)} of memory are free",
        hint=f"use {' or '.join(cures)}" if cures else "use a smaller --model",
    )
