"""A checkpoint as something that answers, for `lstn.evaluation.measuring`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstn.contract import Contract
from lstn.evaluation.answer import Logits
from lstn.evaluation.measuring import Answering
from lstn.evaluation.moving import Locate
from lstn.formats.training_record import Training
from lstn.images import Pixels
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True)
class Classifying:
    """A checkpoint's contract, where it comes from, and what it answers."""

    contract: Contract
    training: Training
    answering: Answering


def open_checkpoint(path: Path, device: torch.device) -> Classifying:
    """Read a checkpoint, and compute with it on `device` in float32.

    Raises:
        ArtifactError: not a checkpoint.
    """
    checkpoint = load_checkpoint(path)
    return Classifying(checkpoint.contract, checkpoint.training, answering_of(checkpoint.model.to(device)))


def answering_of(model: Model) -> Answering:
    """Return what a model answers, as it is when it is asked."""

    @torch.inference_mode()
    def both(pixels: Pixels) -> tuple[Logits, Theta | None]:
        answer = model(torch.from_numpy(pixels).to(model.scale.device))
        logits, theta = (answer, None) if isinstance(answer, torch.Tensor) else answer
        return np.asarray(logits.cpu().numpy()), None if theta is None else np.asarray(theta.cpu().numpy())

    def locate(pixels: Pixels) -> Theta:
        theta = both(pixels)[1]
        assert theta is not None  # a detector has one
        return theta

    if isinstance(model, Classifier):
        return Answering(both, lambda pixels: both(pixels)[0], None if model.transformer is None else locator(model))
    return Answering(both, lambda pixels: both(pixels)[0], locate)


def locator(model: Classifier) -> Locate:
    """Return pixels -> theta by a model with a transformer, as it is when it is asked; the backbone isn't computed."""
    transformer = model.transformer
    assert transformer is not None

    @torch.no_grad()
    def locate(pixels: Pixels) -> Theta:
        frames = model.frames(model.normalise(torch.from_numpy(pixels).to(model.scale.device)))
        return np.asarray(transformer.localize(frames, model.look).float().cpu().numpy())

    return locate
