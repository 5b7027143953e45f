"""Checkpoints: weights and the contract in one safetensors file. Nothing is ever unpickled."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from lstn.contract import METADATA_KEY, Contract, Task, check_task
from lstn.errors import ArtifactError, UsageError
from lstn.files import check_utf8, write_bytes
from lstn.formats.training_record import TRAINING_KEY, Training
from lstn.health.run_files import CHECKPOINT as CHECKPOINT
from lstn.nn.backbones import check_module
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model, build_model
from lstn.nn.shapes import shapes_only
from lstn.nn.sources.own_models import own_factory
from lstn.nn.sources.timm_models import reparametrized


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained model in evaluation mode on the CPU, and where it comes from."""

    model: Model
    contract: Contract
    training: Training

    def classifier_for(self, command: str) -> Classifier:
        """Return the model, for a command that takes only one that classifies.

        Raises:
            UsageError: it detects.
        """
        check_task(self.contract.task, Task.CLASSIFY, command)
        assert isinstance(self.model, Classifier)
        return self.model

    @property
    def layers(self) -> tuple[str, ...]:
        """Modules with weights, as `lstn.formats.node_names` calls the layers that an ONNX file of this model has."""
        return tuple(
            name.removesuffix(".weight").removeprefix("transformer.")
            for name, weight in reparametrized(self.model).named_parameters()
            if name.endswith(".weight") and weight.ndim > 1
        )


def write_checkpoint(path: Path, model: Model, contract: Contract, training: Training) -> None:
    """Write weights (named as in `model.state_dict()`), contract and history to `path`, whole or not at all."""
    metadata = {METADATA_KEY: contract.to_json(), TRAINING_KEY: training.to_json()}
    write_bytes(path, save(_contiguous(model.state_dict()), metadata))


def save_checkpoint(model: Model, path: str | Path, training: Training | None = None) -> None:
    """Write a model to `path`, with its contract, whole or not at all.

    training: how the weights came about; None for a model that was trained without lstn

    Raises:
        LstnError: the file can't be written.
    """
    write_checkpoint(Path(path), model, model.contract, training or Training("", 0, 0, 0.0, "not trained by lstn"))


def load_checkpoint(path: str | Path, backbone: nn.Module | str | None = None) -> Checkpoint:
    """Read a checkpoint.

    backbone: for a model around a network of your own (`Classifier.around`), that network; it gets the weights of the
        file, all of them or none. Or where it is made, as `MODULE:FACTORY`: then that is imported

    Raises:
        ArtifactError: no such file, not a checkpoint of lstn, damaged, or not the weights that its contract describes;
            or its backbone isn't lstn's, and none is given.
        UsageError: there is nothing at MODULE:FACTORY, or it fails; or the backbone given is no network.
    """
    path = Path(path)
    weights, metadata = read_tensors(path)
    contract = Contract.from_json(_entry(metadata, METADATA_KEY, path), source=str(path))
    training = Training.from_json(_entry(metadata, TRAINING_KEY, path), source=str(path))
    if isinstance(backbone, str):
        backbone = own_factory(backbone)(len(contract.labels))
    elif backbone is not None:
        check_module(backbone, "the backbone")
    try:
        if backbone is None:
            with shapes_only():  # a contract that asks for more than the file holds is to cost no memory
                _check_fit(build_model(contract), weights, contract, path)
        model = build_model(contract, backbone)
    except UsageError as error:  # a backbone or an image size that this lstn doesn't know
        raise ArtifactError(f"{path}: {error.message}", hint=error.hint) from error
    _check_fit(model, weights, contract, path)
    model.load_state_dict(weights)
    return Checkpoint(model.eval(), contract, training)


def _check_fit(model: nn.Module, weights: dict[str, torch.Tensor], contract: Contract, path: Path) -> None:
    """Refuse weights of other names or shapes before any is copied: `load_state_dict` copies those that fit."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if own == found:
        return
    name = next(name for name in (*own, *found) if own.get(name) != found.get(name))
    what = f"{name} is {found.get(name, 'missing')} in it, and {own.get(name, 'absent')} in the model"
    raise ArtifactError(
        f"{path}: its weights are not those of {contract.loc.value} + {contract.backbone} ({what:.200})"
    )


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file, and its metadata.

    Raises:
        ArtifactError: no such file, or not a whole safetensors file.
        UsageError: its path is not text in UTF-8.
    """
    check_utf8(path, "checkpoints")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, file.metadata() or {}
    except (OSError, MemoryError, RuntimeError) as error:  # the latter two where it can't be mapped, or be closed
        raise ArtifactError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except SafetensorError as error:
        raise ArtifactError(f"{path}: not a safetensors file, or cut off ({error})") from error


def _entry(metadata: dict[str, str], key: str, path: Path) -> str:
    try:
        return metadata[key]
    except KeyError:
        raise ArtifactError(f"{path}: not a checkpoint of lstn", hint="make one with: lstn train") from None


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
