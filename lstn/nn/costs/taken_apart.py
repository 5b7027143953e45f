"""A model taken apart for measuring: each part as a module of its own, with the inputs to run it on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.contract import PAPER_LOCS, Contract, Loc, ThetaForm
from lstn.errors import UsageError
from lstn.nn.classifier import Classifier
from lstn.nn.warping.grids import affine_grid
from lstn.nn.warping.localizers import usual_view
from lstn.nn.warping.transformer import Normalisation, Transformer, sample

_SETTLING = 4
"""Images that BatchNorm's statistics come from."""

_BENT = 0.05
"""Added to what other forms than affine start from."""

TRANSFORMER, LOCALIZER, GRID, SAMPLER = "transformer", "localizer", "grid", "sampler"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A module in evaluation mode, the names of its inputs and outputs, and inputs for a batch of N images."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: Callable[[int], tuple[Tensor, ...]]


class DefaultGridTransformer(Transformer):
    """A transformer as it is usually written, with torch's own grid."""

    def warp(self, images: Tensor, theta: Tensor, values: Normalisation | None = None) -> Tensor:
        """Warp as `Transformer` does."""
        images = images if values is None else images * values[0] + values[1]
        return sample(images, F.affine_grid(theta, list(images.shape), align_corners=False))


class _Grid(nn.Module):
    def __init__(self, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.image_hw = image_hw

    def forward(self, theta: Tensor) -> Tensor:
        return affine_grid(theta, self.image_hw)


class _Sampler(nn.Module):
    def forward(self, images: Tensor, grid: Tensor) -> Tensor:
        return sample(images, grid)


def take_apart(transformer: Transformer) -> dict[str, Piece]:
    """Return the transformer, and its localizer, grid and sampler, each to run alone."""
    height, width = transformer.frame_hw

    def images_only(count: int) -> tuple[Tensor, ...]:
        return (_images(count, height, width),)

    def images_and_grid(count: int) -> tuple[Tensor, ...]:
        return _images(count, height, width), affine_grid(_thetas(count), (height, width))

    return {
        TRANSFORMER: Piece(transformer.eval(), ("images",), ("warped", "theta"), images_only),
        LOCALIZER: Piece(transformer.localizer.eval(), ("images",), ("theta",), images_only),
        GRID: Piece(_Grid((height, width)), ("theta",), ("grid",), lambda count: (_thetas(count),)),
        SAMPLER: Piece(_Sampler(), ("images", "grid"), ("warped",), images_and_grid),
    }


def build_models(backbone: str, image_hw: tuple[int, int], labels: tuple[str, ...], seed: int) -> dict[Loc, Classifier]:
    """Make a model for every localizer, all around one backbone, in evaluation mode: the paper's, `glance` with its
    usual view, and `shared` where the backbone's first layers are known and leave enough.

    They are untrained, but bent so that they cost what trained ones do: theta is no identity, which would be sampled
    from memory in order; and BatchNorm has seen images, for without its statistics the values of a deep network fade
    into denormal numbers, which a CPU computes many times more slowly.

    Raises:
        UsageError: no such backbone, or images too small for it or for a localizer.
    """
    torch.manual_seed(seed)
    models = {}
    for loc in (*PAPER_LOCS, Loc.GLANCE, Loc.SHARED):
        contract = Contract(loc, backbone, image_hw, labels, view_hw=usual_view(loc, image_hw))
        try:
            models[loc] = Classifier(contract)
        except UsageError:
            if loc is not Loc.SHARED:
                raise
    for model in models.values():
        model.backbone = models[Loc.NONE].backbone
        make_usual(model)
    return models


def make_usual(model: Classifier) -> None:
    """Make an untrained model cost what a trained one does; see `build_models`. It is in evaluation mode then."""
    pixels = torch.randint(0, 256, (_SETTLING, *model.contract.image_hw, 3), dtype=torch.uint8)
    if model.transformer is not None:
        last = model.transformer.localizer.get_submodule("head.3")
        affine = model.contract.theta is ThetaForm.AFFINE and model.contract.warps == 1
        with torch.no_grad():
            bias = last.get_parameter("bias")
            bias.copy_(_thetas(1).reshape(6) if affine else bias + _BENT)
    _settle(model, pixels)


def default_of(model: Classifier, contract: Contract) -> Classifier:
    """Return the same model, weights shared, as it is usually written: with torch's `F.affine_grid`."""
    if model.transformer is None:
        raise ValueError("a model without a localizer has no grid")
    other = Classifier(contract)
    other.backbone = model.backbone
    other.transformer = _by_default(model.transformer)
    return other.eval()


def default_piece(piece: Piece) -> Piece:
    """Return a transformer's piece with torch's `F.affine_grid` in place of ours."""
    assert isinstance(piece.module, Transformer)
    return replace(piece, module=_by_default(piece.module).eval())


def _by_default(transformer: Transformer) -> DefaultGridTransformer:
    return DefaultGridTransformer(transformer.localizer, transformer.frame_hw)


def runner(
    module: nn.Module, inputs: tuple[Tensor | npt.NDArray[Any], ...], *, compiled: bool, threads: int | None
) -> Callable[[], object]:
    """Return one call of `module` in PyTorch, eager or through `torch.compile`, which is warm when this returns.

    threads: of all of PyTorch in this process; None leaves it the choice
    """
    if threads is not None:
        torch.set_num_threads(threads)
    call = torch.compile(module, dynamic=False) if compiled else module
    tensors = tuple(torch.as_tensor(array) for array in inputs)

    def run() -> object:
        with torch.inference_mode():
            return call(*tensors)

    run()
    return run


def _settle(model: nn.Module, pixels: Tensor) -> None:
    """Let BatchNorm take its statistics from one batch."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _images(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def _thetas(count: int) -> Tensor:
    """A rotation by 20 degrees at nine tenths of the size: (N, 2, 3)."""
    return torch.tensor([[0.846, -0.308, 0.05], [0.308, 0.846, -0.05]]).expand(count, 2, 3).contiguous()
