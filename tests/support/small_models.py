"""Models that are quick to export, and as well-behaved as trained ones."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import numpy_helper

from lstn.calibration.kept_layers import kept_layers, layer_names, lowered_nodes
from lstn.contract import LOGITS, PIXELS, At, Contract, Loc, ThetaForm
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import Agreement, sample_images
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.nn.classifier import Classifier

SIDE = 48
LABELS = tuple("0123456789")


@dataclass(frozen=True)
class Exported:
    """A model, and the ONNX file that was made of it."""

    model: Classifier
    contract: Contract
    path: Path
    agreement: Agreement
    images: Pixels


def warping_model(
    loc: Loc,
    backbone: str = "cnn",
    *,
    iterations: int = 1,
    at: At = At.INPUT,
    view: int | None = None,
    crop: int | None = None,
    theta: ThetaForm = ThetaForm.AFFINE,
    warps: int = 1,
) -> tuple[Classifier, Contract]:
    """Make a model whose theta depends on the image and is far from the identity, as after training."""
    sizes = {"view_hw": view and (view, view), "crop_hw": crop and (crop, crop)}
    how = {"iterations": iterations, "at": at, "theta": theta, "warps": warps}
    contract = Contract(loc, backbone, (SIDE, SIDE), LABELS, **how, **sizes)
    torch.manual_seed(0)
    model = Classifier(contract)
    if model.transformer is not None:
        last = model.transformer.localizer.head[-1]
        with torch.no_grad():
            last.weight.normal_(0, 0.1)
            away = torch.tensor([-0.2, 0.3, 0.1, -0.3, -0.1, 0.2])
            last.bias.add_(away.repeat(6)[: len(last.bias)])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # an untrained BatchNorm lets nothing through that depends on the image
        model(torch.from_numpy(sample_images("digits", (SIDE, SIDE), seed=1, count=16)))
    return model.eval(), contract


def rounding(model: Classifier, images: Pixels) -> float:
    """How far PyTorch in float32 is from itself in float64: a faithful copy in float32 is about as far from either."""
    pixels = torch.from_numpy(images)
    with torch.no_grad():
        rough, exact = model(pixels), copy.deepcopy(model).double()(pixels)
    if model.transformer is not None:
        rough, exact = rough[0], exact[0]
    return float((rough - exact).abs().max())


@cache
def exported_once(loc: Loc, backbone: str) -> Exported:
    """Export `warping_model` once in a run of the tests; the caller changes neither the model nor the file."""
    model, contract = warping_model(loc, backbone)
    images = sample_images("digits", (SIDE, SIDE), seed=0, count=32)
    path = Path(_FOLDER.name, f"{loc.value}-{backbone}", "model.onnx")
    path.parent.mkdir()
    return Exported(model, contract, path, write_onnx(model, path, contract, images), images)


ExportOnce = Callable[[Loc], Exported]
"""Exports `cnn` behind a localizer, the first time that it is asked for."""

_FOLDER = TemporaryDirectory()


def exported_model(loc: Loc, backbone: str = "cnn") -> onnx.ModelProto:
    """Return what `exported_once` wrote, for the caller to change."""
    return onnx.load(exported_once(loc, backbone).path)


def undecided(loc: Loc, images: Pixels | None = None) -> onnx.ModelProto:
    """Export a model whose answer hangs on the image: untrained as it is, its bias alone would decide.

    images: on which it is undecided; digits, unless given
    """
    model = exported_model(loc)
    if images is None:
        images = sample_images("digits", (SIDE, SIDE), seed=0, count=60)
    mean = OnnxSession(model.SerializeToString()).run({PIXELS: images}, [LOGITS])[0].mean(axis=0)
    bias = next(weight for weight in model.graph.initializer if weight.name == "backbone.classifier.2.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - mean, bias.name))
    return model


def check_kept_in_float32(model: onnx.ModelProto) -> None:
    """Check that half precision leaves what makes theta, and its grid, as they are."""
    lowered = lowered_nodes(model, kept_layers(layer_names(model), ()))
    bounding = {node.name for node in model.graph.node if node.op_type in {"Tanh", "Exp", "Sin", "Cos"}}
    grid = {node.name for node in model.graph.node if part_of(node.name) is ModelPart.GRID}
    assert grid
    assert (bounding | grid).isdisjoint(lowered)
    assert lowered
