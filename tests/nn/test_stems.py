"""A backbone cut in two, against itself in one."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.errors import UsageError
from lstn.nn.backbones import BACKBONES, backbone_named
from lstn.nn.shapes import shapes_only
from lstn.nn.sources.stems import Cut, channels_first, late_cut, stem_cut

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
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "timm:mobilenetv4_conv_small",
    "timm:fastvit_t8",
    "timm:repvgg_a0",
    "timm:convnext_atto",
    "timm:densenet121",
)

SIXTEENTH = {  # what the last maps of a sixteenth are, of an image of 96 x 128: Faster R-CNN's block 4, and its like
    "resnet-18": (256, 6, 8),
    "vgg-11": (512, 6, 8),
    "densenet-121": (1024, 6, 8),
    "effnet-b0": (112, 6, 8),
    "googlenet": (832, 6, 8),
    "mobilenet_v3_small": (48, 6, 8),
    "timm:convnext_atto": (160, 6, 8),
    "swin_t": (96, 24, 32),  # whose later maps have their channels last
}


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_both_halves_are_the_backbone(name: str) -> None:
    torch.manual_seed(0)
    backbone = backbone_named(name)
    side = max(backbone.smallest, 48)
    net = backbone.make(5, (side, side + 5)).eval()
    images = torch.randn(2, 3, side, side + 5)
    with torch.no_grad():
        whole = net(images)
        for cut in (stem_cut(net, (side, side + 5)), late_cut(net, (side, side + 5))):
            maps = cut.first(net, images)
            assert maps.shape[1:] == cut.shape
            torch.testing.assert_close(cut.rest(net, maps), whole, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["cnn", "resnet-18", "timm:mobilenetv4_conv_small"])
def test_every_weight_learns_through_the_halves_as_through_the_whole(name: str) -> None:
    torch.manual_seed(0)
    net = backbone_named(name).make(5, (64, 64)).train()
    dropped = [each for each in net.modules() if isinstance(each, nn.Dropout)]
    for each in dropped:
        each.p = 0.0
    cut, images = stem_cut(net, (64, 64)), torch.randn(2, 3, 64, 64)
    found = []
    for compute in (net, lambda images: cut.rest(net, cut.first(net, images))):
        net.zero_grad()
        compute(images).square().sum().backward()
        found.append([weight.grad.clone() for weight in net.parameters() if weight.grad is not None])
    assert len(found[0]) == len(found[1]) == len(list(net.parameters()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet-18", "densenet-121", "effnet-b0"])
def test_asking_for_the_shape_leaves_the_backbone_as_it_is(name: str) -> None:
    """BatchNorm would otherwise have seen a black image before training began."""
    net = BACKBONES[name].factory(5).train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    stem_cut(net, (64, 64))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_has_a_stem_that_makes_smaller_maps(name: str) -> None:
    with shapes_only():
        net = BACKBONES[name].factory(5).train()
        cut = stem_cut(net, (96, 128))
        channels, height, width = cut.shape
        assert cut.rest(net, torch.zeros(2, channels, height, width)).shape == (2, 5)
    assert net.training
    assert 96 / 9 < height < 96 / 1.9
    assert channels >= 16


@pytest.mark.parametrize("name", SIXTEENTH)
def test_the_last_maps_of_a_sixteenth_are_those(name: str) -> None:
    with shapes_only():
        assert late_cut(backbone_named(name).make(5, (96, 128)), (96, 128)).shape == SIXTEENTH[name]


def test_a_cut_is_computed_with_the_weights_of_the_network_it_is_called_with() -> None:
    first, second = (BACKBONES["cnn"].factory(5) for _ in range(2))
    cut: Cut = stem_cut(first, (32, 32))
    images = torch.randn(1, 3, 32, 32)
    expected = F.max_pool2d(second.get_submodule("features.0")(images).relu(), 2)
    torch.testing.assert_close(cut.first(second, images), expected)


class Branching(nn.Module):
    """A network whose code looks at what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.layer(images)
        return maps.mean((2, 3)) if maps.mean() > 0 else maps.amax((2, 3))


class Dropping(nn.Module):
    """A network whose own code computes otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(self.layer(images), 0.5, training=self.training).mean((2, 3))


@pytest.mark.parametrize(
    "make",
    [
        partial(nn.Linear, 3, 3),
        Branching,
        Dropping,
        lambda: backbone_named("vit_b_32").make(5, (64, 64)),
        lambda: backbone_named("timm:vit_tiny_patch16_224").make(5, (64, 64)),
        lambda: backbone_named("timm:swin_tiny_patch4_window7_224").make(5, (224, 224)),
    ],
)
def test_a_network_without_such_layers_is_refused(make: partial[nn.Module]) -> None:
    with shapes_only():
        net = make().train()
    with pytest.raises(UsageError, match=f"where the first layers of a {type(net).__name__} end"):
        stem_cut(net, (64, 64))
    assert net.training


@pytest.mark.parametrize(
    ("shape", "image_hw", "first"),
    [
        ((64, 14, 14), (224, 224), True),
        ((14, 14, 64), (224, 224), False),
        ((7, 14, 28), (112, 224), True),
        ((14, 28, 384), (112, 224), False),
        ((96, 96, 96), (384, 384), True),
    ],
)
def test_channels_come_first_or_last(shape: tuple[int, int, int], image_hw: tuple[int, int], first: bool) -> None:
    assert channels_first(shape, image_hw) is first
