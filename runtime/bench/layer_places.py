"""Places of layers in the model: from their names, from model.onnx, and from what runs before and after them.

Engines fuse nodes, rename them and add some of their own. ONNX Runtime calls what it fused by one of the nodes, often
not the one that takes the time (`backbone.relu/Relu_nchwc` is a convolution and its ReLU); TensorRT lists them all.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lstn.contract import LOGITS, PIXELS, THETA
from lstn.formats.node_names import ModelPart, layer_of, part_of
from lstn.formats.onnx_file import Node

SEVERAL = "several"
"""In place of a part: fused from nodes of more than one."""

OTHER = "other"
"""In place of a part: nothing tells where it is."""

_PARTS = "|".join(part.value for part in ModelPart)
_NODE = re.compile(rf"(?<![^\W_])(?<!/)(?<!\w\.)(?:{_PARTS})(?:\.\w+)*/\w+?(?=_(?:{_PARTS})[./]|\W|$)")
"""The name of a node somewhere in a text; not where it goes on with what stands before it."""

_TENSOR = re.compile(rf"({PIXELS}|{THETA}|{LOGITS})(?:_.*)?$")
_PART_OF_TENSOR = {PIXELS: ModelPart.INPUT, THETA: ModelPart.LOCALIZER, LOGITS: ModelPart.BACKBONE}
_WEIGHTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Layer:
    """What an engine runs as one, as the engine describes it.

    name:     by which the engine calls it
    operator: what it runs there; "" if it doesn't say
    origin:   text that names the nodes that it was made of
    """

    name: str
    operator: str
    origin: str


@dataclass(frozen=True, slots=True)
class LayerPlace:
    """Where a layer is.

    part:     the value of a Part, SEVERAL or OTHER
    layer:    of the model, such as `backbone.layer1.0.conv1`; for SEVERAL the nodes; else what can be said
    operator: what runs there, such as `Conv`; "" if that isn't known
    """

    part: str
    layer: str
    operator: str


def place_layers(layers: Sequence[Layer], nodes: Sequence[Node]) -> tuple[LayerPlace, ...]:
    """Say where each of an engine's layers is, which ran in this order.

    A layer that names no node of ours is in the part of those beside it, if both are in the same: parts follow each
    other. Before the first lies the input, and after the last the backbone.

    nodes: of model.onnx; without them, a layer that is called by the least of its nodes keeps that name
    """
    found = [_nodes_in(layer.origin) for layer in layers]
    parts = [_named_part(layer, names) for layer, names in zip(layers, found, strict=True)]
    graph = _Graph(nodes, found)
    return tuple(
        _named(layer, names, part, graph) if part is not None else _unnamed(layer, _between(parts, index))
        for index, (layer, names, part) in enumerate(zip(layers, found, parts, strict=True))
    )


def _nodes_in(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_NODE.findall(text)))


def _named_part(layer: Layer, names: Sequence[str]) -> str | None:
    """Return the part that a layer's own names tell, or None."""
    parts = {part.value for part in map(part_of, names) if part is not None}
    if tensor := _TENSOR.match(layer.origin):
        parts.add(_PART_OF_TENSOR[tensor[1]].value)
    return None if not parts else SEVERAL if len(parts) > 1 else parts.pop()


def _between(parts: Sequence[str | None], index: int) -> str:
    """Return the part that both neighbours with names are in."""
    before = next((part for part in reversed(parts[:index]) if part), ModelPart.INPUT.value)
    after = next((part for part in parts[index:] if part), ModelPart.BACKBONE.value)
    return before if before == after != SEVERAL else OTHER


def _unnamed(layer: Layer, part: str) -> LayerPlace:
    """What an engine adds between layers is shown together, by what it does."""
    if part == OTHER or not layer.operator:
        return LayerPlace(part, layer.name or layer.operator, layer.operator)
    return LayerPlace(part, f"{part}, between layers", layer.operator)


def _named(layer: Layer, names: Sequence[str], part: str, graph: "_Graph") -> LayerPlace:
    operator = layer.operator or _operators(layer.name, names)
    if part == SEVERAL:
        return LayerPlace(part, " + ".join(names), operator)
    own = graph.computing(names[0], layer.operator) if len(names) == 1 else None
    layers = list(dict.fromkeys(map(layer_of, [own] if own else names))) or [part]
    weighted = list(dict.fromkeys(layer_of(name) for name in names if _operator(name).startswith(_WEIGHTED)))
    if len(layers) > 1 and len(weighted) == 1 and "..." not in layer.origin:
        layers = weighted
    return LayerPlace(part, layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}", operator)


def _operators(name: str, names: Iterable[str]) -> str:
    """Of a layer that says itself only which nodes it was made of."""
    if name.startswith("Reformatting"):
        return "Reformat"
    return " + ".join(map(_operator, names))


def _operator(node: str) -> str:
    """`backbone.conv1/Conv_2` -> `Conv`."""
    return re.sub(r"_\d+$", "", node.partition("/")[2])


class _Graph:
    """model.onnx, to find the node that a fused layer computes."""

    def __init__(self, nodes: Sequence[Node], found: Iterable[Sequence[str]]) -> None:
        self._nodes: Mapping[str, Node] = {node.name: node for node in nodes}
        self._makers = {tensor: node for node in nodes for tensor in node.outputs}
        self._running = {self._node(name) for names in found for name in names}

    def computing(self, name: str, operator: str) -> str | None:
        """Return the name of the node that the engine's `operator` comes from, in a layer called `name`.

        That is the node itself, if its own operator is in the engine's (`Conv` in `QLinearConv`), else the nearest such
        one before it among the nodes that don't run by themselves.
        """
        own = self._node(name)
        if own is None:
            return None
        waiting, met = [own], {own}
        for node in waiting:
            if self._nodes[node].operator in operator:
                return node
            makers = [self._makers[tensor].name for tensor in self._nodes[node].inputs if tensor in self._makers]
            waiting += (fresh := [maker for maker in makers if maker not in met | self._running])
            met.update(fresh)
        return own

    def _node(self, name: str) -> str | None:
        """`backbone.relu/Relu_2_nchwc` -> `backbone.relu/Relu_2`."""
        while name and name not in self._nodes:
            name = name.rpartition("_")[0]
        return name or None
