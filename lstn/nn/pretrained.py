"""`--weights imagenet|FILE|RUN`: a backbone that starts from weights that something else was trained to."""

import re
import sys
from collections import OrderedDict
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from lstn.contract import Contract
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import sha256_of, what_is
from lstn.formats.inspection import inspect_file
from lstn.health.run_files import checkpoint_of
from lstn.nn.backbones import BACKBONES, FOREIGN, backbone_named
from lstn.nn.sources.starts import classifiers_of
from lstn.nn.sources.timm_models import TIMM, timm_weights

IMAGENET = "imagenet"
"""The word that stands for the weights of torchvision or timm where a file's name may stand too."""

_PARTS = ("discriminator.", "backbone.")
"""How the names of tensors begin that a backbone starts from, in a checkpoint of lstn; the first that is there."""

_PICKLED = (".pth", ".pt")
_SHOWN = 3


def load_backbone_weights(backbone: nn.Module, name: str, weights: str, image_hw: tuple[int, int]) -> tuple[str, ...]:
    """Fill a backbone with weights and return the names of the tensors that kept their own.

    backbone: what `backbone_named(name)` made; its tensors are changed in place, all of them or none
    name:     its name
    weights:  `imagenet` for torchvision's, which are downloaded if torch.hub's folder lacks them, or timm's, which its
              own loader finds; a .safetensors, .pth or .pt file that holds the backbone's state dict alone; or a run
              of lstn or its checkpoint, of which the backbone is taken, and of a generator the discriminator
    image_hw: height and width of what it is to see, in pixels

    Only the classifier's tensors may keep their own values, where the file has another number of classes.

    Raises:
        UsageError: no weights are published for this backbone, or there is no such file, or of another type.
        ArtifactError: the file is damaged, or holds the weights of another network.
        LstnError: the weights can't be downloaded; the hint names the file and the folder it belongs to.
    """
    if weights == IMAGENET and name.startswith(TIMM):
        return _fill(backbone, timm_weights(name, image_hw), what=f"timm's weights of {name} don't fit")
    path = _published_file(name) if weights == IMAGENET else _named_file(weights)
    tensors = {_current_key(name, key): tensor for key, tensor in _read(path).items()}
    # Published weights come with auxiliary classifiers, untrained in GoogLeNet's, and not in use here.
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(("aux1.", "aux2.", "AuxLogits."))}
    if isinstance(backbone, VisionTransformer) and "encoder.pos_embedding" in tensors:
        tensors = dict(interpolate_embeddings(backbone.image_size, backbone.patch_size, OrderedDict(tensors)))
    return _fill(backbone, tensors, what=f"{path}: not the weights of {name}")


def _published_file(name: str) -> Path:
    """Return torchvision's weights file for `name`, whole; download it if it's absent."""
    entry = backbone_named(name)
    if entry.weights is None:
        others = ", ".join(other for other, it in BACKBONES.items() if it.weights is not None)
        raise UsageError(
            f"no ImageNet weights are published for {name.removeprefix(FOREIGN)}",
            hint=f"train it from scratch, give a file of weights, or choose one of: {others}; or any of torchvision's",
        )
    url = str(entry.weights.url)
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    # torchvision names a file after the first digits of its SHA-256.
    match = torch.hub.HASH_REGEX.search(path.name)
    prefix = match.group(1) if match else ""
    if not path.is_file():
        _download(url, path, prefix)
    elif not (digest := sha256_of(path)).startswith(prefix):
        raise ArtifactError(
            f"{path}: damaged, its SHA-256 begins with {digest[: len(prefix)]} and not with {prefix}",
            hint="delete it, and it is downloaded again",
        )
    return path


def _download(url: str, path: Path, prefix: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes to a temporary name, checks the hash, renames, and removes the temporary file whatever happens.
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the hash is wrong
        raise LstnError(
            f"cannot download {url}: {error}",
            hint=f"fetch it on another machine and put it into {path.parent} as {path.name}",
        ) from error


def _named_file(weights: str) -> Path:
    path = checkpoint_of(Path(weights)) if Path(weights).is_dir() else Path(weights)
    if path.suffix not in (".safetensors", *_PICKLED):
        raise UsageError(
            f"{weights}: not a file of weights", hint=f"use {IMAGENET}, a run, or a .safetensors, .pth or .pt file"
        )
    if not path.is_file():
        raise UsageError(f"{weights}: {what_is(path)}", hint=f"use {IMAGENET} for the weights of torchvision or timm")
    return path


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        # torchvision publishes pickles and nothing else. weights_only refuses everything in them but tensors.
        found = torch.load(path, map_location="cpu", weights_only=True) if path.suffix in _PICKLED else load_file(path)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ArtifactError(f"{path}: not a safetensors file ({error})") from error
    except Exception as error:  # torch.load raises half a dozen types on damaged files, KeyError and EOFError too
        raise ArtifactError(f"{path}: not a file of tensors that torch can read safely") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise ArtifactError(
            f"{path}: holds something else than named tensors", hint="save the backbone's state_dict() by itself"
        )
    return _of_backbone({str(key): tensor for key, tensor in found.items()})


def contract_of_weights(weights: str) -> Contract | None:
    """Return the contract of a run or checkpoint of lstn that `--weights` names; None of other weights.

    Raises:
        UsageError, LstnError: a folder that is not a run. ArtifactError: a damaged file.
    """
    if weights in ("", IMAGENET) or not Path(weights).exists():
        return None
    path = _named_file(weights)
    if path.suffix in _PICKLED:
        return None
    found = inspect_file(path)
    return found.contract


def _of_backbone(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of the backbone alone, if these are those of a whole model of lstn."""
    for part in _PARTS:
        inside = {key.removeprefix(part): tensor for key, tensor in tensors.items() if key.startswith(part)}
        if inside:
            return inside
    return tensors


def _current_key(name: str, key: str) -> str:
    """Give a published tensor its name of today: DenseNet's files still say `norm.1` where the layer is `norm1`."""
    if name.startswith("densenet"):
        return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key)
    return key


def _fill(backbone: nn.Module, tensors: dict[str, torch.Tensor], *, what: str) -> tuple[str, ...]:
    own = backbone.state_dict()
    differing = [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
    kept = tuple(key for key in differing if _differs_in_classes(backbone, key, tensors[key]))
    # Files from before BatchNorm counted its batches lack the counters, which nothing reads while momentum is set.
    missing = [key for key in own if key not in tensors and not key.endswith(".num_batches_tracked")]
    faults = {
        "missing": missing,
        "unexpected": [key for key in tensors if key not in own],
        "of another shape": [
            f"{key} {tuple(tensors[key].shape)} for {tuple(own[key].shape)}" for key in differing if key not in kept
        ],
    }
    found = "; ".join(f"{len(keys)} {fault}: {_few(keys)}" for fault, keys in faults.items() if keys)
    if found:
        raise ArtifactError(f"{what} ({found})", hint="choose the model that these weights belong to")
    backbone.load_state_dict({key: tensor for key, tensor in tensors.items() if key not in kept}, strict=False)
    return kept


def _differs_in_classes(backbone: nn.Module, key: str, tensor: torch.Tensor) -> bool:
    """Whether `key` is the classifier's and `tensor` its like for another number of classes."""
    own = backbone.state_dict()[key]
    same_input: bool = own.ndim == tensor.ndim and own.shape[1:] == tensor.shape[1:]
    return same_input and key.rpartition(".")[0] in classifiers_of(backbone)


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
