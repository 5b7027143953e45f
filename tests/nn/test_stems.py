"""A backbone cut in two, against itself in one."""

import pytest
import torch
from torch import nn

from lstn.errors import UsageError
from lstn.nn.backbones import BACKBONES
from lstn.nn.shapes import shapes_only
from lstn.nn.stems import run, split, stem_shape

ONE_OF_A_KIND = (
    "cnn",
    "effnet-b0",
    "paper-effnet-b0",
    "resnet-18",
    "densenet-121",
    "googlenet",
    "alexnet",
    "zfnet",
    "vgg-a-lrn",
)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_stem_and_rest_are_the_backbone(name: str) -> None:
    torch.manual_seed(0)
    net = BACKBONES[name].factory(5).eval()
    side = max(BACKBONES[name].smallest, 48)
    images = torch.randn(2, 3, side, side + 5)
    stem, rest = split(net)
    with torch.no_grad():
        maps = run(stem, images)
        assert maps.shape[1:] == stem_shape(net, (side, side + 5))
        torch.testing.assert_close(run(rest, maps), net(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_the_two_hold_every_weight_once(name: str) -> None:
    with shapes_only():
        net = BACKBONES[name].factory(5)
    layers = [layer for part in split(net) for layer in part if isinstance(layer, nn.Module)]
    found = [weight for layer in layers for weight in layer.parameters()]
    assert sorted(map(id, found)) == sorted(map(id, net.parameters()))


@pytest.mark.parametrize("name", ["resnet-18", "densenet-121", "effnet-b0"])
def test_asking_for_the_shape_leaves_the_backbone_as_it_is(name: str) -> None:
    """BatchNorm would otherwise have seen a black image before training began."""
    net = BACKBONES[name].factory(5).train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    stem_shape(net, (64, 64))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_has_a_stem_that_makes_smaller_maps(name: str) -> None:
    with shapes_only():
        net = BACKBONES[name].factory(5).train()
        channels, height, width = stem_shape(net, (96, 128))
        assert run(split(net)[1], torch.zeros(2, channels, height, width)).shape == (2, 5)
    assert net.training
    assert 96 / 9 < height < 96 / 1.9
    assert channels >= 16


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="where the first layers of a Linear end"):
        split(nn.Linear(3, 3))
