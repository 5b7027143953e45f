"""Counting what a model costs, on a forward pass without numbers (torch's meta device), so that no backbone needs
formulas of its own.

Torch shows every function that a model calls, `F.adaptive_avg_pool2d` in a DenseNet as well as a module's; hooks say
which part is calling. The paper's convention is the one that reproduces its tables (`lstn/research/claims/paper.json`):

    convolution        output elements x (input channels / groups x kernel height x width + 1 with a bias)
    BatchNorm          2 x elements
    linear             inputs x outputs, without the bias
    adaptive average   output elements x (input pixels / output pixels + 1)
    average pooling    output elements
    all else           0: activations, max-pooling, sums, local response normalisation, grid and sampler

The full one adds what the paper leaves out of its totals: grid and sampler.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lstn.contract import Contract, Loc
from lstn.nn.classifier import Classifier
from lstn.nn.costs.part_costs import CostPart, PartCost, PartCosts
from lstn.nn.shapes import shapes_only
from lstn.nn.warping.localizers import LOCALIZERS, build_localizer
from lstn.nn.warping.transformer import Transformer

_Count: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any], Tensor], int]
"""(arguments, keywords, result) of a function of torch -> multiply-accumulates."""


def count_costs(loc: Loc, backbone: str, image_hw: tuple[int, int], classes: int) -> PartCosts:
    """Count what one image costs in each part of a model: the transformer keeps its size, so the two add up.

    Raises:
        UsageError: no such backbone, or images too small for it or for the localizer.
    """
    return {**_count_transformer(loc, image_hw), CostPart.BACKBONE: _count_backbone(backbone, image_hw, classes)}


@cache
def _count_backbone(backbone: str, image_hw: tuple[int, int], classes: int) -> PartCost:
    labels = tuple(str(label) for label in range(classes))
    with shapes_only():
        module = Classifier(Contract(Loc.NONE, backbone, image_hw, labels)).backbone.eval()
        images = torch.empty(1, 3, *image_hw)
    return _run(module, images, {CostPart.BACKBONE: module})[CostPart.BACKBONE]


@cache
def _count_transformer(loc: Loc, image_hw: tuple[int, int]) -> PartCosts:
    if loc is Loc.NONE:
        return dict.fromkeys(CostPart, PartCost())
    with shapes_only():
        localizer = build_localizer(loc, image_hw)
        transformer = Transformer(localizer, image_hw).eval()
        images = torch.empty(1, 3, *image_hw)
    return _run(
        transformer,
        images,
        {CostPart.CONVOLUTIONS: localizer.get_submodule("features"), CostPart.HEAD: localizer.get_submodule("head")},
    )


def _run(module: nn.Module, images: Tensor, modules: Mapping[CostPart, nn.Module]) -> PartCosts:
    """Run `module` on images without numbers, and count; `modules` says which of it belongs to which part."""
    counter = _Counter()
    for part, inner in modules.items():
        counter.watch(inner, part)
    with torch.inference_mode(), counter:
        module(images)
    sizes = {part: sum(weight.numel() for weight in inner.parameters()) for part, inner in modules.items()}
    return {part: counter.found.get(part, PartCost()) + PartCost(parameters=sizes.get(part, 0)) for part in CostPart}


def count_rows(loc: Loc) -> tuple[int, ...]:
    """Count the parameters in each row of the localizer's table: a convolution with its BatchNorm, or a max-pooling."""
    rows: list[int] = []
    with shapes_only():
        features = LOCALIZERS[loc](3)
    for layer in features:
        size = sum(weight.numel() for weight in layer.parameters())
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            rows.append(size)
        else:
            rows[-1] += size
    return tuple(rows)


class _Counter(TorchFunctionMode):
    """Sees every function of torch that is called, and keeps what it costs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[CostPart, PartCost] = {}
        self._part: CostPart | None = None

    def watch(self, module: nn.Module, part: CostPart) -> None:
        """Put what `module` calls down to `part`."""
        module.register_forward_pre_hook(lambda *_: self._enter(part))
        module.register_forward_hook(lambda *_: self._enter(None))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func` as if nobody watched; what it calls itself is not seen, so nothing counts twice."""
        keywords = kwargs or {}
        result = func(*args, **keywords)
        if func is F.grid_sample:
            self._add(CostPart.GRID, _grid_cost(args[1]))
            self._add(CostPart.SAMPLER, _sampler_cost(args[0], args[1], result))
        elif func in _MACS and self._part is not None:
            macs = _MACS[func](args, keywords, result)
            moved = 0 if func is F.batch_norm else _bytes(args[0], result)  # engines fold it into the convolution
            self._add(self._part, PartCost(paper_macs=macs, macs=macs, activation_bytes=moved))
        return result

    def _enter(self, part: CostPart | None) -> None:
        self._part = part

    def _add(self, part: CostPart, cost: PartCost) -> None:
        self.found[part] = self.found.get(part, PartCost()) + cost


def _grid_cost(grid: Tensor) -> PartCost:
    """`lstn.nn.warping.grids.affine_grid`: 2 numbers for each column and 2 for each of the (N, H, W, 2) points."""
    _, _, width, _ = grid.shape
    return PartCost(macs=2 * width + grid.numel(), activation_bytes=_bytes(grid))


def _sampler_cost(images: Tensor, grid: Tensor, result: Tensor) -> PartCost:
    """Bilinear: a point's 2 coordinates go to pixels, make 4 weights, and each channel adds 4 weighted pixels up."""
    points, channels = grid.numel() // 2, result.shape[1]
    return PartCost(macs=points * (2 + 4 + 4 * channels), activation_bytes=_bytes(images, grid, result))


def _convolution(args: tuple[Any, ...], _: Mapping[str, Any], result: Tensor) -> int:
    weight, bias = args[1], args[2]
    return result.numel() * (int(weight[0].numel()) + (bias is not None))


def _adaptive_average(args: tuple[Any, ...], _: Mapping[str, Any], result: Tensor) -> int:
    side = [math.prod(tensor.shape[-2:]) for tensor in (args[0], result)]
    return int(result.numel() * (side[0] / side[1] + 1))


_MACS: dict[Callable[..., Any], _Count] = {
    F.conv2d: _convolution,
    F.batch_norm: lambda args, _, result: 2 * result.numel(),
    F.linear: lambda args, _, result: result.numel() * int(args[1].shape[1]),
    F.adaptive_avg_pool2d: _adaptive_average,
    F.avg_pool2d: lambda args, _, result: result.numel(),
    F.max_pool2d: lambda args, _, result: 0,
}
"""The paper's convention; a function that isn't here costs nothing."""


def _bytes(*tensors: Tensor) -> int:
    return sum(4 * tensor.numel() for tensor in tensors)
