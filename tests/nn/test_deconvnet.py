"""Deconvnet against a network computed by loops, against captum, and on backbones that it has no rule for."""

import itertools

import numpy as np
import pytest
import torch
from captum.attr import NeuronDeconvolution
from torch import nn

from lstn.contract import Contract, Loc
from lstn.errors import UsageError
from lstn.nn.attribution.deconvnet import maps_of, receptive_field, reconstruct
from lstn.nn.attribution.map_layers import last_map_layer, map_layer
from lstn.nn.backbones import BACKBONES
from lstn.nn.classifier import Classifier

SIDE = 8


def tiny(seed: int) -> nn.Sequential:
    """Two convolutions, each with ReLU, and a max-pooling of 2 between them."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.ReLU(inplace=True)]
    net = nn.Sequential(*layers)
    with torch.no_grad():
        net[3].bias.add_(0.5)  # or all of its maps may be dead
    return net


def convolved(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    many, few, kernel, _ = weight.shape
    side = maps.shape[1] - kernel + 1
    out = np.zeros((many, side, side))
    for o, y, x in np.ndindex(out.shape):
        out[o, y, x] = bias[o]
        for i, dy, dx in itertools.product(range(few), range(kernel), range(kernel)):
            out[o, y, x] += weight[o, i, dy, dx] * maps[i, y + dy, x + dx]
    return out


def back_through_filters(maps: np.ndarray, weight: np.ndarray) -> np.ndarray:
    _, few, kernel, _ = weight.shape
    side = maps.shape[1] + kernel - 1
    out = np.zeros((few, side, side))
    for o, y, x in np.ndindex(maps.shape):
        for i, dy, dx in itertools.product(range(few), range(kernel), range(kernel)):
            out[i, y + dy, x + dx] += weight[o, i, dy, dx] * maps[o, y, x]
    return out


def by_loops(net: nn.Sequential, image: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    """Sections 2 and 2.1 of the paper, one number at a time."""
    first, second = (net[index].weight.detach().double().numpy() for index in (0, 3))
    biases = [net[index].bias.detach().double().numpy() for index in (0, 3)]
    lower = np.maximum(convolved(image, first, biases[0]), 0)
    side = lower.shape[1] // 2
    pooled, switches = np.zeros((2, side, side)), {}
    for c, y, x in np.ndindex(pooled.shape):
        spots = [(2 * y + dy, 2 * x + dx) for dy in (0, 1) for dx in (0, 1)]
        switches[c, y, x] = max(spots, key=lambda spot, c=c: lower[c][spot])
        pooled[c, y, x] = lower[c][switches[c, y, x]]
    upper = np.maximum(convolved(pooled, second, biases[1]), 0)
    signal = np.zeros_like(upper)
    signal[place] = upper[place]
    signal = back_through_filters(np.maximum(signal, 0), second)
    unpooled = np.zeros_like(lower)
    for (c, y, x), spot in switches.items():
        unpooled[c][spot] += signal[c, y, x]
    return back_through_filters(np.maximum(unpooled, 0), first)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_paper_computed_by_loops(seed: int) -> None:
    net = tiny(seed)
    images = torch.rand(3, 3, SIDE, SIDE)
    places = [(0, 0, 0), (1, 1, 0), (2, 0, 1)]
    found = reconstruct(net, net[4], images, places, "tiny")
    for image, place, each in zip(images, places, found, strict=True):
        assert each.numpy() == pytest.approx(by_loops(net, image.double().numpy(), place), abs=1e-5)
    assert found.abs().max() > 0


def test_it_is_not_the_gradient() -> None:
    net, image = tiny(0), torch.rand(1, 3, SIDE, SIDE, requires_grad=True)
    value = net(image)[0, 1, 1, 0]
    (gradient,) = torch.autograd.grad(value, image)
    found = reconstruct(net, net[4], image, [(1, 1, 0)], "tiny")
    assert (found - value.detach() * gradient).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["vgg-11", "resnet-18", "densenet-121"])
def test_it_is_captums_where_every_relu_is_a_module(name: str) -> None:
    torch.manual_seed(0)
    net = BACKBONES[name].factory(3).eval()
    layer = net.features[10] if name == "vgg-11" else net.layer2 if name == "resnet-18" else net.features.denseblock1
    image = torch.rand(1, 3, 64, 64)
    maps = maps_of(net, layer, image).detach()
    place = tuple(int(each) for each in np.unravel_index(int(maps[0].argmax()), maps.shape[1:]))
    theirs = NeuronDeconvolution(net, layer).attribute(image, place)
    ours = reconstruct(net, layer, image, [place], name)
    scale = float(theirs.abs().max())
    assert (ours / maps[(0, *place)]).numpy() == pytest.approx(theirs.detach().numpy(), abs=1e-5 * scale)
    assert theirs.abs().max() > 0


def test_a_relu_that_is_a_function_is_rectified_too() -> None:
    """GoogLeNet calls `F.relu`; the same network of modules must give the same."""

    class OfFunctions(nn.Module):
        def __init__(self, net: nn.Sequential) -> None:
            super().__init__()
            self.net = net

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            maps = self.net[2](nn.functional.relu(self.net[0](maps), inplace=True))
            return torch.relu(self.net[3](maps))

    net, image = tiny(3), torch.rand(1, 3, SIDE, SIDE)
    other = OfFunctions(net)
    for layer in (net[2], net[3]):
        assert torch.equal(
            reconstruct(net, layer, image, [(1, 1, 1)], ""), reconstruct(other, layer, image, [(1, 1, 1)], "")
        )
    googlenet = BACKBONES["googlenet"].factory(3).eval()
    assert reconstruct(googlenet, googlenet.inception3a, torch.rand(1, 3, 64, 64), [(0, 2, 2)], "").isfinite().all()


@pytest.mark.parametrize("name", ["effnet-b0", "paper-effnet-b0"])
def test_a_backbone_without_relu_is_refused_by_name(name: str) -> None:
    model = Classifier(Contract(Loc.NONE, name, (64, 64), ("a", "b"))).eval()
    _, module = last_map_layer(model)
    with pytest.raises(UsageError, match=f"{name} computes (SiLU|Sigmoid)") as found:
        reconstruct(model.classify, module, torch.rand(1, 3, 64, 64), [(0, 0, 0)], name)
    assert "occlusion, grad-cam and gradients" in found.value.hint


def test_a_layer_below_the_first_other_activation_is_not_refused() -> None:
    model = Classifier(Contract(Loc.NONE, "effnet-b0", (64, 64), ("a", "b"))).eval()
    layer, _ = map_layer(model, "features.0.0")
    reconstruct(model.classify, layer, torch.rand(1, 3, 64, 64), [(0, 5, 5)], "effnet-b0")


@pytest.mark.parametrize(
    ("layer", "side", "step"), [(0, 3, 1), (2, 4, 2), (3, 8, 2), (5, 10, 4), (6, 18, 4), (8, 26, 4)]
)
def test_the_receptive_field_is_what_arithmetic_says(layer: int, side: int, step: int) -> None:
    """VGG: each 3 x 3 adds two steps, each pooling adds one and doubles the step."""
    net = BACKBONES["vgg-11"].factory(3).eval().features
    fields = [receptive_field(net, net[layer], torch.zeros(1, 3, 64, 64), (y, 6)) for y in (5, 6)]
    assert [rows.stop - rows.start for rows, _ in fields] == [side, side]
    assert fields[1][0].start - fields[0][0].start == step
    assert fields[1][0] == fields[1][1] == fields[0][1]


def test_the_receptive_field_ends_with_the_picture() -> None:
    net = tiny(0)
    assert receptive_field(net, net[0], torch.zeros(1, 3, SIDE, SIDE), (0, 2)) == (slice(0, 3), slice(2, 5))
