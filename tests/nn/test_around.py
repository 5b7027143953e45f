"""A classifier around a network that a program brings along."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from own_network import LABELS, SIDE, OwnNetwork, SmallNetwork
from torch import nn
from torchvision import models

import lstn
from lstn.contract import Contract, Loc
from lstn.nn import Classifier, load_checkpoint, save_checkpoint
from lstn.nn.checkpoint import Training

HW = (SIDE, SIDE)


def pixels(image_hw: tuple[int, int] = HW) -> torch.Tensor:
    return torch.randint(0, 256, (2, *image_hw, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def around(backbone: nn.Module, **options: Any) -> Classifier:
    return Classifier.around(backbone, **{"labels": LABELS, "image_hw": HW, **options})


@pytest.mark.parametrize("loc", ["none", "stn", "lstn"])
def test_the_network_sees_normalised_warped_images(loc: str) -> None:
    net = OwnNetwork()
    model = around(net, loc=loc, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    answer = model(pixels())
    normal = (pixels().permute(0, 3, 1, 2) / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.6, 0.7]
    )[:, None, None]
    logits = answer if loc == "none" else answer[0]
    torch.testing.assert_close(logits, net(normal.contiguous()), rtol=0, atol=1e-5)  # theta starts as the identity
    assert model.backbone is net
    assert model.contract.backbone == "module:OwnNetwork"
    assert Contract.from_json(model.contract.to_json(), source="test") == model.contract


@pytest.mark.parametrize("options", [{}, {"loc": "shared"}, {"at": "stem", "image_hw": (96, 96)}])
def test_a_network_of_torchvision_is_what_it_is_by_name(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = around(models.resnet18(num_classes=10), **options).eval()
    named = Classifier(Contract.checked({**fields_of(model.contract), "backbone": "resnet-18"})).eval()
    named.load_state_dict(model.state_dict())
    seen = pixels(model.contract.image_hw)
    for mine, theirs in zip(model(seen), named(seen), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def fields_of(contract: Contract) -> dict[str, Any]:
    return {each.name: getattr(contract, each.name) for each in fields(contract)}


def test_nothing_of_the_network_changes() -> None:
    net = OwnNetwork().train()
    net.attention.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    around(net)
    assert net.training
    assert net.localizer.training
    assert not net.attention.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


class Answers(nn.Module):
    """Answers a module's question with anything."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> Any:
        return self.answer(images)


@pytest.mark.parametrize(
    ("backbone", "options", "says"),
    [
        (SmallNetwork(7), {}, r"SmallNetwork answers torch.float32 \(2, 7\) to 2 images; expected logits \(2, 10\)"),
        (Answers(lambda images: (images, images)), {}, "answers a tuple"),
        (Answers(lambda images: images.new_zeros(2, 10).long()), {}, "torch.int64"),
        (Answers(lambda images: images @ images[:, :, :5]), {}, r"Answers fails on images \(2, 3, 32, 32\) float32: ."),
        (SmallNetwork(side=48), {}, "SmallNetwork fails on images"),
        (SmallNetwork(), {"at": "stem"}, "doesn't know where the first layers of a SmallNetwork end"),
        (SmallNetwork(), {"loc": "shared"}, "first layers of a SmallNetwork"),
        (SmallNetwork(), {"loc": "lsnt"}, "no model can be so: loc 'lsnt'"),
        (SmallNetwork, {}, "the backbone is the class SmallNetwork, and not a network"),
        (len, {}, "the backbone is a builtin_function_or_method, and not a torch.nn.Module"),
        (None, {}, "the backbone is a NoneType"),
        (SmallNetwork(), {"labels": "0123456789"}, "labels: expected list"),
        (SmallNetwork(), {"labels": ()}, "labels: expected list"),
        (SmallNetwork(), {"image_hw": (32,)}, "image_hw"),
        (SmallNetwork(), {"std": (1.0, 0.0, 1.0)}, "std.1.: expected float > 0.0, found 0.0"),
        (SmallNetwork(), {"iterations": 9}, "iterations: expected int <= 8, found 9"),
        (SmallNetwork(side=12), {"image_hw": (12, 12)}, "too small for localizer lstn"),
    ],
)
def test_what_is_not_a_classifier_is_refused(backbone: nn.Module, options: dict[str, Any], says: str) -> None:
    with pytest.raises(lstn.UsageError, match=says):
        around(backbone, **options)


def test_a_checkpoint_needs_the_network_again(tmp_path: Path) -> None:
    path, model = tmp_path / "own.safetensors", around(SmallNetwork()).eval()
    save_checkpoint(model, path, Training("folder:photos", 3, 7, 0.75))
    with pytest.raises(lstn.ArtifactError, match="its backbone is 'SmallNetwork', a module of your own") as caught:
        load_checkpoint(path)
    assert "backbone=" in caught.value.hint
    loaded = load_checkpoint(str(path), backbone=SmallNetwork())
    assert (loaded.contract, loaded.training.epoch) == (model.contract, 7)
    assert not loaded.model.training
    for mine, theirs in zip(loaded.model(pixels()), model(pixels()), strict=True):
        assert torch.equal(mine, theirs)


def test_a_class_in_the_place_of_a_network_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(around(SmallNetwork()), path)
    with pytest.raises(lstn.UsageError, match="the class SmallNetwork") as caught:
        load_checkpoint(path, backbone=SmallNetwork)  # type: ignore[arg-type]
    assert caught.value.hint == "make one: SmallNetwork()"
    with pytest.raises(lstn.UsageError) as unknown:
        around(SmallNetwork(), loc="lsnt")
    assert unknown.value.hint.startswith("choose one of: none, stn, vstn, lstn")


def test_a_network_without_a_contract_is_not_exported_or_fitted(tmp_path: Path) -> None:
    for use in (
        lambda: lstn.export_onnx(SmallNetwork(), tmp_path / "m.onnx"),
        lambda: lstn.fit(SmallNetwork(), "digits", tmp_path / "r"),
    ):
        with pytest.raises(lstn.UsageError, match="a SmallNetwork has no contract") as caught:
            use()
        assert "lstn.nn.Classifier.around(network" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_another_network_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    path, other = tmp_path / "own.safetensors", SmallNetwork()
    other.last = nn.Linear(8 * 14 * 14, 10, bias=False)
    save_checkpoint(around(SmallNetwork()), path)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(lstn.ArtifactError, match=r"not those of lstn \+ module:SmallNetwork \(backbone\.last\.bias"):
        load_checkpoint(path, backbone=other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_a_model_that_lstn_made_is_saved_and_loaded_without_more(tmp_path: Path) -> None:
    model = Classifier(Contract(Loc.STN, "cnn", HW, LABELS)).eval()
    save_checkpoint(model, tmp_path / "c.safetensors")
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert torch.equal(loaded.model(pixels())[0], model(pixels())[0])
    assert loaded.training.data == ""
