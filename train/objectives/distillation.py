"""Distillation: a trained model, the teacher, shows how probable it holds each class (Hinton, Vinyals, Dean 2015)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lstn.data.splits import DataSet
from lstn.errors import UsageError
from lstn.formats.training_record import Training
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier
from lstn.report.wording import counted
from lstn.terminal import note, warn
from lstn.train.objectives.classifier_objective import forward
from lstn.train.runs.options import Options, TrainingPrecision, said


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A trained classifier in evaluation mode, whose weights stay as they are."""

    model: Classifier
    precision: TrainingPrecision

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return its logits at temperature 1, (N, K) float32, of pixels (N, H, W, 3) uint8 of any size."""
        return forward(self.model, resized(pixels, self.model.contract.image_hw), self.precision).float()


def resized(pixels: Tensor, hw: tuple[int, int]) -> Tensor:
    """Return images (N, H, W, 3) uint8 at another size: bilinear, averaged where that is smaller."""
    if tuple(pixels.shape[1:3]) == hw:
        return pixels
    images = F.interpolate(pixels.permute(0, 3, 1, 2).float(), hw, mode="bilinear", antialias=True)
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def open_teacher(options: Options, data: DataSet, device: torch.device) -> Teacher:
    """Read the teacher that `options` name, and say what it is.

    Raises:
        UsageError: no such file; it has other classes than the data set, or it detects.
        ArtifactError: damaged, or its backbone is the user's own.
    """
    if not Path(options.teacher).is_file():
        raise UsageError(f"{options.teacher}: the teacher isn't there", hint="name its run or file with --teacher")
    kept = load_checkpoint(options.teacher)
    model, contract = kept.classifier_for("--teacher"), kept.contract
    if contract.labels != data.labels:
        own = f"{counted(len(contract.labels), 'class')}, {contract.labels[0]!r:.40} first"
        theirs = f"{counted(len(data.labels), 'class')}, {data.labels[0]!r:.40} first"
        raise UsageError(
            f"the teacher has {own}; --data {options.data} has {theirs}",
            hint="train a teacher on this data set, or leave out --teacher",
        )
    side = said(contract.image_hw)
    what = f"{contract.loc.value} + {contract.backbone} at {side}"
    note(f"teacher: {what}, validation accuracy {kept.training.val_accuracy:.1%}")
    if contract.image_hw != options.image_size:
        own = said(options.image_size)
        cure = f"--image-size {side} --crop {own}" if contract.image_hw > options.image_size else f"--image-size {side}"
        warn(f"the teacher was trained on images of {side}, and sees this run's {own} resized: {cure} shows it all")
    if data.by_seed and not _same_splits(kept.training, options):
        warn("the teacher's images were divided in another way: it may have learned from this run's test images")
    return Teacher(model.to(device).requires_grad_(False), options.precision)


def _same_splits(training: Training, options: Options) -> bool:
    return (training.data, training.seed) == (options.data, options.seed)


def digest_of(teacher: str) -> str:
    """Return the SHA-256 of a teacher's file, so that a run that is resumed goes on with the same one."""
    return hashlib.sha256(Path(teacher).read_bytes()).hexdigest()
