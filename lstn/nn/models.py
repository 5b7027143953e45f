"""Models: what a contract describes, by its task."""

from typing import TypeAlias

import torch
from torch import nn

from lstn.contract import WHOLE_IMAGE, Contract, Task
from lstn.errors import UsageError
from lstn.nn.aligner import Aligner
from lstn.nn.backbones import check_module
from lstn.nn.classifier import Classifier, check_backbone
from lstn.nn.detector import Detector
from lstn.nn.generation.generator import Generator
from lstn.nn.reader import Reader
from lstn.nn.sources.own_models import OwnFactory

Model: TypeAlias = Classifier | Detector | Reader | Aligner | Generator

_AROUND = "put it behind a transformer: lstn.nn.Classifier.around(network, labels=…, image_hw=…)"


def build_model(contract: Contract, backbone: nn.Module | None = None) -> Model:
    """Make the network that a contract describes, newly initialised.

    backbone: of a classifier around a network of the user's own

    Raises:
        UsageError: there can't be such a network.
    """
    if contract.task is Task.READ:
        return Reader(contract)
    if contract.task is Task.ALIGN:
        return Aligner(contract)
    if contract.task is Task.GENERATE:
        return Generator(contract)
    return Detector(contract) if contract.task is Task.DETECT else Classifier(contract, backbone)


def example_of(contract: Contract, images: int) -> tuple[torch.Tensor, ...]:
    """Return what a model of this contract is called with, of so many images, all zero.

    (N, H, W, 3) uint8; of a generator (N, Z) float32 and (N,) int64.
    """
    if contract.task is Task.GENERATE:
        return torch.zeros(images, contract.noise), torch.zeros(images, dtype=torch.int64)
    return (torch.zeros(images, *contract.image_hw, 3, dtype=torch.uint8),)


def build_around(contract: Contract, factory: OwnFactory) -> Classifier:
    """Make the network that a contract describes around a backbone of the user's own, which stays as it is made.

    Raises:
        UsageError: there can't be such a network, or the backbone answers other than with logits.
    """
    if contract.task not in WHOLE_IMAGE or contract.warps > 1:
        raise UsageError(
            "lstn doesn't know the last layer of a network of your own, which several crops of an image need",
            hint="leave out --warps, and a --task other than tag, or choose a backbone by its name",
        )
    backbone = factory(len(contract.labels))
    check_backbone(backbone, contract)
    return Classifier(contract, backbone)


def check_model(given: object) -> None:
    """Check that a program gave a model of lstn's.

    Raises:
        UsageError: it gave something else.
    """
    if not isinstance(given, Model):
        check_module(given, "the model")
        raise UsageError(f"a {type(given).__name__} has no contract, by which lstn would know its input", hint=_AROUND)
