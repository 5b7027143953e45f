"""Backbones in two: the first layers, which end where the first features are, or later, and the rest.

A backbone is traced once (`torch.fx`), and cut where one tensor is all that the rest of it needs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from lstn.errors import UsageError

Half: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""One side of a cut, of a backbone: computed with the weights that it has when it is called."""

COARSEST = 16
"""The map that a detector cuts from has at least so small a share of the image's side, as Faster R-CNN's has."""

_PROBE = 128, 192
"""Height and width, in pixels, of the image that shows where a stem ends. Maps have sides in the same ratio, which
tells them from tokens, and from maps whose channels come last."""

_FEWEST = 9
"""A stem's maps have at least so large a share of the image's sides."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A backbone in two: `rest(net, first(net, images))` is `net(images)`.

    shape: channels, height and width of what `first` makes of an image
    """

    first: Half
    rest: Half
    shape: tuple[int, int, int]


def stem_cut(backbone: nn.Module, image_hw: tuple[int, int]) -> Cut:
    """Cut behind the first pooling, or behind the first layer that halves its maps and what normalises them.

    Raises:
        UsageError: lstn can't tell where that is.
    """
    graph = _traced(backbone)
    return _cut(backbone, graph, _end_of_stem(backbone, graph), image_hw)


def late_cut(backbone: nn.Module, image_hw: tuple[int, int]) -> Cut:
    """Cut behind the last map of a sixteenth of the image's sides or more, before any that has one size for all images.

    Raises:
        UsageError: as `stem_cut`.
    """
    graph = _traced(backbone)
    fewest = [math.ceil(side / COARSEST) for side in image_hw]
    places = _places(graph)
    end, nodes = _end_of_stem(backbone, graph), list(graph.nodes)
    for place, value in _computed(backbone, graph, image_hw):
        if _is_pooled_to_a_size(backbone, nodes[place]):
            break
        if place in places and value.dim() == 4 and value.shape[2] >= fewest[0] and value.shape[3] >= fewest[1]:
            end = max(end, place) if channels_first(value.shape[1:], image_hw) else end
    return _cut(backbone, graph, end, image_hw)


def channels_first(shape: Sequence[int], image_hw: tuple[int, int]) -> bool:
    """Whether an image's maps are of shape (C, h, w), whose last two have its ratio; Swin's are (h, w, C)."""
    (channels, height, width), (tall, wide) = shape, image_hw
    return abs(height * wide - width * tall) <= abs(channels * wide - height * tall)


class _Layers(fx.Tracer):
    """Looks into chains of layers, and takes all other modules as they are: what they do may depend on the mode."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) is not nn.Sequential


def _traced(backbone: nn.Module) -> fx.Graph:
    """Return the backbone's computation, layer by layer.

    Raises:
        UsageError: its code branches on what it computes, or computes otherwise in training.
    """
    was_training = backbone.training
    codes, graph = set[str](), fx.Graph()
    try:
        for mode in (True, False):
            backbone.training = mode
            graph = _Layers().trace(backbone)
            codes.add(graph.python_code("self").src)
    except Exception as error:  # whatever a network's code raises where it finds no numbers
        raise _unknown(backbone) from error
    finally:
        backbone.training = was_training
    if len(codes) > 1:
        raise _unknown(backbone)
    return graph


def _places(graph: fx.Graph) -> dict[int, fx.Node]:
    """Return the places at which one tensor is all that is needed from there on, and the node that makes it."""
    nodes = list(graph.nodes)
    where = {node: place for place, node in enumerate(nodes)}
    found, needed_until = {}, 0
    for place, node in enumerate(nodes):
        if node.op.startswith("call_") and needed_until <= place:
            found[place] = node
        if node.op != "get_attr" and node.users:
            needed_until = max(needed_until, *(where[user] for user in node.users))
    return found


def _end_of_stem(backbone: nn.Module, graph: fx.Graph) -> int:
    """Return the place of the last node of the stem.

    Raises:
        UsageError: no first layers make maps, such as those of a vision transformer.
    """
    nodes, places = list(graph.nodes), _places(graph)
    end, height = -1, _PROBE[0]
    try:
        for place, value in _computed(backbone, graph, _PROBE):
            if end >= 0 and _has_weights(backbone, nodes[place]):
                break
            if place not in places or not _is_map(value):
                continue
            before, height = height, value.shape[2]
            if end >= 0 and height < before:  # a pooling ends it
                return place if height * _FEWEST > _PROBE[0] else end
            if end >= 0 or height <= _PROBE[0] / 1.9:
                end = place
    except Exception as error:  # such as of a network for images of one size
        raise _unknown(backbone) from error
    if end < 0:
        raise _unknown(backbone)
    return end


def _is_map(value: Tensor) -> bool:
    """Whether these are maps (N, C, h, w) of the image that shows where a stem ends."""
    height, width = _PROBE
    return value.dim() == 4 and value.shape[2] > 1 and abs(value.shape[3] - value.shape[2] * width / height) <= 2


def _has_weights(backbone: nn.Module, node: fx.Node) -> bool:
    """Whether a node convolves or multiplies by weights: what only normalises has one for each channel."""
    if node.op == "get_attr":
        return True
    if node.op != "call_module":
        return False
    return any(weight.dim() > 1 for weight in backbone.get_submodule(str(node.target)).parameters())


def _is_pooled_to_a_size(backbone: nn.Module, node: fx.Node) -> bool:
    """Whether a node's maps have the same size whatever the image's is."""
    pools = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
    return node.op == "call_module" and isinstance(backbone.get_submodule(str(node.target)), pools)


@torch.no_grad()
def _computed(backbone: nn.Module, graph: fx.Graph, image_hw: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Yield each tensor that a backbone computes of a blank image, with its place in the graph."""
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    blank = torch.zeros(1, 3, *image_hw, device=next(backbone.parameters()).device)
    computing = fx.Interpreter(backbone, graph=graph)
    try:
        for place, node in enumerate(graph.nodes):
            given = node.op == "placeholder"
            value = computing.env[node] = blank if given else computing.run_node(node)
            if isinstance(value, Tensor) and not given:
                yield place, value
    finally:
        for module, mode in modes:
            module.training = mode


def _cut(backbone: nn.Module, graph: fx.Graph, end: int, image_hw: tuple[int, int]) -> Cut:
    nodes = list(graph.nodes)
    first, rest = fx.Graph(), fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in nodes[: end + 1]:
        copied[node] = first.node_copy(node, copied.__getitem__)
    first.output(copied[nodes[end]])
    copied = {nodes[end]: rest.placeholder("maps")}
    for place, node in enumerate(nodes):
        if place > end or node.op == "get_attr":
            copied[node] = rest.node_copy(node, copied.__getitem__)
    shape = next(value.shape for place, value in _computed(backbone, first, image_hw) if place == end)
    return Cut(_function(backbone, first), _function(backbone, rest), (shape[1], shape[2], shape[3]))


def _function(backbone: nn.Module, graph: fx.Graph) -> Half:
    """Return a graph as a function, whose modules are those of the network that it is called with."""
    forward: Any = type(fx.GraphModule(backbone, graph)).forward
    half: Half = forward
    return half


def _unknown(backbone: nn.Module) -> UsageError:
    return UsageError(
        f"lstn doesn't know where the first layers of a {type(backbone).__name__} end",
        hint="warp its input (at=input), with a localizer of its own: stn, vstn or lstn",
    )
