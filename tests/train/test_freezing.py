"""Freezing: what stays in the first epochs, and what is fitted."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import RunLstn
from safetensors.torch import save_file
from short_runs import assert_same_weights, options, run, weights_of
from torch import nn

from lstn.contract import Contract, Loc
from lstn.errors import UsageError
from lstn.nn.checkpoint import read_tensors
from lstn.nn.classifier import Classifier
from lstn.nn.sources.starts import classifiers_of
from lstn.train.freezing import check_freeze, frozen
from lstn.train.runs.run_state import LAST

SIDE = 64


def backbone(name: str = "resnet-18") -> nn.Module:
    torch.manual_seed(0)
    return Classifier(Contract(Loc.NONE, name, (SIDE, SIDE), ("a", "b"))).backbone


@pytest.mark.parametrize("name", ["resnet-18", "effnet-b0", "vgg-11", "cnn"])
def test_a_frozen_backbone_keeps_all_but_its_last_layer(name: str) -> None:
    """Weights and statistics, whatever a step does; and afterwards it trains as before."""
    net = backbone(name).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    (last,) = classifiers_of(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, weight_decay=0.5)
    with frozen(net):
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            net(torch.randn(4, 3, SIDE, SIDE)).square().sum().backward()
            optimizer.step()
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{last}.weight", f"{last}.bias"}
    assert all(module.training for module in net.modules())
    assert all(weight.requires_grad for weight in net.parameters())


def test_what_a_user_froze_stays_frozen() -> None:
    net = backbone("cnn")
    first = next(net.parameters()).requires_grad_(False)
    with frozen(net):
        pass
    assert not first.requires_grad
    assert sum(not weight.requires_grad for weight in net.parameters()) == 1


def test_a_backbone_without_a_known_last_layer_is_refused() -> None:
    net = backbone("squeezenet1_1")
    check_freeze(net, 0)
    with pytest.raises(UsageError, match="doesn't know the last layer of a SqueezeNet"):
        check_freeze(net, 1)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    file = tmp_path / "backbone.safetensors"
    save_file(backbone("cnn").state_dict(), file)
    return str(file)


def test_a_run_fits_the_localizer_first_and_then_everything(data: str, weights: str, tmp_path: Path) -> None:
    asked = options(data, loc=Loc.STN, weights=weights, freeze=2, epochs=3, optimizer="adamw", weight_decay=0.1)
    run(replace(asked, epochs=2), tmp_path / "parts")
    start, after = read_tensors(Path(weights))[0], weights_of(tmp_path / "parts")
    same = {name for name, tensor in start.items() if torch.equal(tensor, after[f"model.backbone.{name}"])}
    assert same == {name for name in start if name.startswith("features.")}
    run(asked, tmp_path / "parts", resume=True)
    run(asked, tmp_path / "whole")
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
    last = weights_of(tmp_path / "whole")
    assert not any(torch.equal(tensor, last[f"model.backbone.{name}"]) for name, tensor in start.items())


def test_freezing_what_was_drawn_is_refused(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_lstn: RunLstn
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run_lstn("train", "--model", "cnn", "--data", data, "--freeze", 1)
    assert refused.code == 2
    assert "--freeze would keep a backbone as it was drawn" in refused.err
    assert "give it --weights to start from" in refused.err
    assert not (tmp_path / "runs").exists()


def test_the_state_has_moments_of_fitted_weights_alone(data: str, weights: str, tmp_path: Path) -> None:
    run(options(data, loc=Loc.NONE, weights=weights, freeze=1, epochs=1), tmp_path / "a")
    kept = [name for name in read_tensors(tmp_path / "a" / LAST)[0] if name.startswith("optimizer.")]
    assert len(kept) == 3 * 2  # step and two moments, of the last layer's weight and bias
