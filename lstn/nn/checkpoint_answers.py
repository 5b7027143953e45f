"""A checkpoint as something that answers, for `lstn.evaluation.measuring`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lstn.alignment.sentence_encoder import EncodeWords
from lstn.alignment.word_regions import Vectors
from lstn.contract import Contract, check_sees
from lstn.evaluation.answer import Logits
from lstn.evaluation.measured_follow import Locate
from lstn.evaluation.measuring import Answering
from lstn.formats.training_record import Training
from lstn.images import Pixels
from lstn.nn.aligner import Aligner
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.generation.generator import Generator
from lstn.nn.models import Model
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True)
class Classifying:
    """A checkpoint's contract, where it comes from, and what it answers; of a model that aligns, to sentences too."""

    contract: Contract
    training: Training
    answering: Answering
    encode: EncodeWords | None = None


def open_checkpoint(path: Path, device: torch.device) -> Classifying:
    """Read a checkpoint, and compute with it on `device` in float32.

    Raises:
        ArtifactError: not a checkpoint.
        UsageError: of a generator, which answers nothing about images.
    """
    checkpoint = load_checkpoint(path)
    check_sees(checkpoint.contract.task, path)
    model = checkpoint.model.to(device)
    encode = encoding_of(model) if isinstance(model, Aligner) else None
    return Classifying(checkpoint.contract, checkpoint.training, answering_of(model), encode)


def encoding_of(model: Aligner) -> EncodeWords:
    """Return what a model makes of sentences."""

    @torch.inference_mode()
    def encode(words: npt.NDArray[np.int64]) -> Vectors:
        return np.asarray(model.words(torch.from_numpy(words).to(model.scale.device)).cpu().numpy())

    return encode


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

    assert not isinstance(model, Generator)  # which is asked for no answers
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
