"""A checkpoint as something that can be explained: its answers, Grad-CAM and integrated gradients (by captum)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstn.evaluation.answer import Logits
from lstn.explanation.explaining import CropMap, Explainable
from lstn.explanation.methods import Method
from lstn.explanation.occlusion import Heat
from lstn.images import Pixels
from lstn.imports import require
from lstn.nn.attribution.map_layers import last_map_layer
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier
from lstn.warps.warp import Theta

_AT_ONCE = 32
_STEPS = 32
"""Of the integral: points between the mean colour and the crop."""


def open_explainable(
    path: Path, device: torch.device, methods: Sequence[Method], backbone: str | None = None
) -> Explainable:
    """Read a checkpoint, and explain it on `device` in float32 by `methods`.

    backbone: where its backbone is made, as in `load_checkpoint`

    Raises:
        ArtifactError: not a checkpoint.
        MissingExtra: a method needs captum, and it isn't installed.
    """
    return explainable(load_checkpoint(path, backbone).classifier_for("lstn explain").to(device), methods)


def explainable(model: Classifier, methods: Sequence[Method]) -> Explainable:
    """Return a model, in evaluation mode, as something that can be explained by `methods`.

    Raises:
        MissingExtra: a method needs captum, and it isn't installed.
    """
    makers = {Method.GRAD_CAM: _grad_cam, Method.GRADIENTS: _integrated_gradients}
    maps = {method: maker(model) for method, maker in makers.items() if method in methods}

    @torch.inference_mode()
    def answer(pixels: Pixels) -> tuple[Logits, Theta | None]:
        found = model(torch.from_numpy(pixels).to(model.scale.device))
        logits, theta = (found, None) if isinstance(found, torch.Tensor) else found
        return logits.cpu().numpy(), None if theta is None else theta.cpu().numpy()

    return Explainable(model.contract, answer, _AT_ONCE, maps)


def _grad_cam(model: Classifier) -> CropMap:
    """Grad-CAM (Selvaraju et al. 2017) of the backbone's last feature maps."""
    captum = require("captum.attr", extra="explain")
    _, layer = last_map_layer(model)

    def heat(pixels: Pixels, label: int) -> list[Heat]:
        maps = captum.LayerGradCam(model.classify, layer).attribute(_frames(pixels, model), target=label)
        return _heats_of(torch.relu(maps))

    return heat


def _integrated_gradients(model: Classifier) -> CropMap:
    """Integrated gradients (Sundararajan et al. 2017) of the crop, from one of the mean colour; absolute values."""
    captum = require("captum.attr", extra="explain")
    method: Any = captum.IntegratedGradients(model.classify)

    def heat(pixels: Pixels, label: int) -> list[Heat]:
        found = method.attribute(_frames(pixels, model), target=label, n_steps=_STEPS, internal_batch_size=_AT_ONCE)
        return _heats_of(found.abs())

    return heat


def _frames(pixels: Pixels, model: Classifier) -> torch.Tensor:
    """Return the crops of one picture (H, W, 3) as the backbone gets them, (K, C, h, w) float32."""
    with torch.no_grad():
        return model.transform(torch.tensor(pixels[None]).to(model.scale.device))[0]


def _heats_of(maps: torch.Tensor) -> list[Heat]:
    """(K, C, h, w), of K crops -> the sum of the channels of each, (h, w)."""
    return list(np.asarray(maps.detach().sum(1).cpu().numpy(), np.float64))
