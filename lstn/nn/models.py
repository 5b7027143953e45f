"""Models: what a contract describes, by its task."""

from typing import TypeAlias

from torch import nn

from lstn.contract import Contract, Task
from lstn.nn.classifier import Classifier
from lstn.nn.detector import Detector

Model: TypeAlias = Classifier | Detector


def build_model(contract: Contract, backbone: nn.Module | None = None) -> Model:
    """Make the network that a contract describes, newly initialised.

    backbone: of a classifier around a network of the user's own

    Raises:
        UsageError: there can't be such a network.
    """
    return Detector(contract) if contract.task is Task.DETECT else Classifier(contract, backbone)
