import hashlib
import io
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from functools import partial
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.nn.backbones import BACKBONES
from lstn.nn.pretrained import load_backbone_weights
from lstn.nn.shapes import shapes_only

HW = (224, 224)
CLASSIFIER = ("classifier.2.weight", "classifier.2.bias")  # of `cnn`


def cnn(classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return BACKBONES["cnn"].factory(classes)


def write(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def copy_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    theirs, ours = cnn(4), cnn(4, seed=1)
    path = write(theirs.state_dict(), tmp_path / f"weights{suffix}")
    assert load_backbone_weights(ours, "cnn", str(path), HW) == ()
    assert same(ours.state_dict(), theirs.state_dict())


def test_another_number_of_classes_keeps_the_new_classifier(tmp_path: Path) -> None:
    theirs, ours = cnn(1000), cnn(4, seed=1)
    before = copy_of(ours)
    path = write(theirs.state_dict(), tmp_path / "weights.safetensors")
    assert load_backbone_weights(ours, "cnn", str(path), HW) == CLASSIFIER
    wanted = theirs.state_dict() | {key: before[key] for key in CLASSIFIER}
    assert same(ours.state_dict(), wanted)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_classifier_is_what_depends_on_the_number_of_classes(name: str, tmp_path: Path) -> None:
    """The last linear layer and nothing else, in every backbone."""
    with shapes_only():
        shapes = [
            {key: tensor.shape for key, tensor in BACKBONES[name].factory(classes).state_dict().items()}
            for classes in (3, 4)
        ]
        linear = [key for key, it in BACKBONES[name].factory(3).named_modules() if isinstance(it, nn.Linear)]
    differing = [key for key in shapes[0] if shapes[0][key] != shapes[1][key]]
    assert differing == [f"{linear[-1]}.weight", f"{linear[-1]}.bias"]


def without(key: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name != key}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without("features.0.weight"), r"1 missing: features\.0\.weight"),
        (without("classifier.2.bias"), r"1 missing: classifier\.2\.bias"),
        (lambda tensors: tensors | {"extra": torch.zeros(1)}, "1 unexpected: extra"),
        (
            lambda tensors: tensors | {"features.0.bias": torch.zeros(7)},
            r"1 of another shape: features\.0\.bias \(7,\) for \(16,\)",
        ),
        (
            lambda tensors: tensors | {"classifier.2.weight": torch.zeros(4, 63)},
            r"classifier\.2\.weight \(4, 63\) for \(4, 512\)",
        ),
        (lambda tensors: tensors | {"classifier.2.bias": torch.tensor(0.0)}, r"classifier\.2\.bias \(\) for \(4,\)"),
        (lambda _: {}, r"6 missing: features\.0\.weight, features\.0\.bias, features\.3\.weight, \.\.\."),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], fault: str
) -> None:
    ours = cnn(4, seed=1)
    before = copy_of(ours)
    path = write(change(dict(cnn(4).state_dict())), tmp_path / "weights.pth")
    with pytest.raises(ArtifactError, match=f"not the weights of cnn .*{fault}"):
        load_backbone_weights(ours, "cnn", str(path), HW)
    assert same(ours.state_dict(), before)


class Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("was_run"),)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4096,
        b"PK\x03\x04 hardly a zip",
        b"\xff" * 64,
        b"<html>404</html>",
        saved({"features.0.weight": torch.zeros(16, 3, 5, 5)})[:-100],
        saved([1, 2, 3]),
        saved({"state_dict": {"features.0.weight": torch.zeros(1)}, "epoch": 3}),
        saved({"features.0.weight": Malice()}),
        pickle.dumps(Malice(), protocol=2),
    ],
    ids=["empty", "zeros", "zip", "ones", "html", "truncated", "list", "nested", "malice", "malice in a bare pickle"],
)
def test_junk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"junk{suffix}"):
        load_backbone_weights(cnn(4), "cnn", str(path), HW)
    assert not Path("was_run").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [("imagnet", "not a file of weights"), ("model.onnx", "not a file of weights"), ("gone.pth", "no such file")],
)
def test_what_is_no_file_of_weights_is_a_usage_error(weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"{weights}: {message}") as caught:
        load_backbone_weights(cnn(4), "cnn", weights, HW)
    assert "imagenet" in caught.value.hint


def test_densenet_files_say_norm_1(tmp_path: Path) -> None:
    with shapes_only():
        shapes = BACKBONES["densenet-121"].factory(3).state_dict()
    tensors = {key: torch.rand(value.shape) for key, value in shapes.items() if "num_batches" not in key}
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12])", r"\1.\2", key): it for key, it in tensors.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    ours = BACKBONES["densenet-121"].factory(3)
    assert load_backbone_weights(ours, "densenet-121", str(write(dotted, tmp_path / "densenet.pth")), HW) == ()
    state = ours.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in tensors.items())


def test_googlenets_auxiliary_classifiers_are_left_out(tmp_path: Path) -> None:
    ours = BACKBONES["googlenet"].factory(3)
    tensors = {key: torch.rand(tensor.shape) for key, tensor in ours.state_dict().items() if tensor.ndim}
    auxiliary = {"aux1.fc2.weight": torch.zeros(1000, 1024), "aux2.conv.bn.bias": torch.zeros(128)}
    path = write(tensors | auxiliary, tmp_path / "googlenet.safetensors")
    assert load_backbone_weights(ours, "googlenet", str(path), HW) == ()
    state = ours.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in tensors.items())


# What follows downloads: torch.hub's urlopen is the network's edge, everything on this side of it is real.

PUBLISHED = saved(dict(cnn(1000).state_dict()))
FILE = f"cnn-{hashlib.sha256(PUBLISHED).hexdigest()[:8]}.pth"


URL = f"https://weights.invalid/models/{FILE}"
TINY_WEIGHTS = WeightsEnum(
    "TINY_WEIGHTS", {"DEFAULT": Weights(url=URL, transforms=partial(ImageClassification, crop_size=64), meta={})}
)


class Response(io.BytesIO):
    def info(self) -> Message:
        return Message()


class BrokenResponse(Response):
    """Gives half of the file, then loses the connection."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise ConnectionResetError("connection reset by peer")
        return super().read(len(PUBLISHED) // 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder of weights, empty, with `cnn` published."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(BACKBONES, "cnn", replace(BACKBONES["cnn"], weights=TINY_WEIGHTS.DEFAULT))
    return tmp_path / "hub" / "checkpoints"


def serve(monkeypatch: pytest.MonkeyPatch, response: Callable[[], io.BytesIO]) -> None:
    monkeypatch.setattr("torch.hub.urlopen", lambda _request: response())


def offline() -> io.BytesIO:
    raise URLError("Temporary failure in name resolution")


def test_imagenet_weights_are_downloaded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, lambda: Response(PUBLISHED))
    ours = cnn(4, seed=1)
    assert load_backbone_weights(ours, "cnn", "imagenet", HW) == CLASSIFIER
    assert torch.equal(ours.state_dict()["features.0.weight"], cnn(1000).state_dict()["features.0.weight"])
    assert [path.name for path in folder.iterdir()] == [FILE]

    serve(monkeypatch, offline)
    again = cnn(1000, seed=1)
    assert load_backbone_weights(again, "cnn", "imagenet", HW) == ()
    assert same(again.state_dict(), cnn(1000).state_dict())


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (offline, "name resolution"),
        (lambda: BrokenResponse(PUBLISHED), "connection reset"),
        (lambda: Response(PUBLISHED[:-1]), "hash"),
        (lambda: Response(b"<html>sign in to the hotel's network</html>"), "hash"),
    ],
    ids=["offline", "interrupted", "cut short", "captive portal"],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, response: Callable[[], io.BytesIO], reason: str
) -> None:
    serve(monkeypatch, response)
    with pytest.raises(LstnError, match=f"cannot download {URL}: .*{reason}") as caught:
        load_backbone_weights(cnn(4), "cnn", "imagenet", HW)
    assert str(folder) in caught.value.hint
    assert caught.value.hint.endswith(FILE)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    folder.parent.write_text("a file where the folder would be")
    with pytest.raises(LstnError, match="cannot download"):
        load_backbone_weights(cnn(4), "cnn", "imagenet", HW)


def test_a_damaged_file_in_the_folder_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, offline)
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(PUBLISHED[:1000])
    with pytest.raises(ArtifactError, match=f"{FILE}: damaged") as caught:
        load_backbone_weights(cnn(4), "cnn", "imagenet", HW)
    assert "delete it" in caught.value.hint


def test_a_backbone_without_published_weights_says_which_have_some() -> None:
    with pytest.raises(UsageError, match="no ImageNet weights are published for cnn") as caught:
        load_backbone_weights(cnn(4), "cnn", "imagenet", HW)
    assert "resnet-18" in caught.value.hint
    assert "zfnet" not in caught.value.hint


def test_every_published_file_is_named_after_its_hash() -> None:
    files = [backbone.weights.url for backbone in BACKBONES.values() if backbone.weights]
    assert len(files) >= 23
    assert all(re.search(r"-[0-9a-f]{8}\.pth$", file) for file in files)
