"""A checkpoint as something that classifies, for `lstn.evaluation.measuring`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstn.contract import Contract
from lstn.evaluation.measuring import Classify
from lstn.formats.training_record import Training
from lstn.images import Pixels
from lstn.nn.checkpoint import load_checkpoint


@dataclass(frozen=True, slots=True)
class Classifying:
    """A checkpoint's contract, where it comes from, and pixels -> logits by it."""

    contract: Contract
    training: Training
    classify: Classify


def open_checkpoint(path: Path, device: torch.device) -> Classifying:
    """Read a checkpoint, and compute with it on `device` in float32.

    Raises:
        ArtifactError: not a checkpoint.
    """
    checkpoint = load_checkpoint(path)
    model = checkpoint.model.to(device)

    @torch.inference_mode()
    def classify(pixels: Pixels) -> np.ndarray:
        answer = model(torch.from_numpy(pixels).to(device))
        logits = answer if isinstance(answer, torch.Tensor) else answer[0]
        return np.asarray(logits.cpu().numpy())

    return Classifying(checkpoint.contract, checkpoint.training, classify)
