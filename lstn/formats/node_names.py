"""Names of the nodes of model.onnx, so that every later tool can say where in the model a figure belongs.

A node is `LAYER/Operator`, such as `backbone.layer1.0.conv1/Conv`, and its layer begins with the part that it is in. A
second node of one name gets `_2`. What a node computes is called as the node itself, so that what a converter inserts
there (casts, QuantizeLinear) and what an engine fuses (`a/Conv + a/Relu`) still tells the place.
"""

from enum import Enum


class ModelPart(str, Enum):
    """What a node belongs to, in the order of computation."""

    INPUT = "input"
    LOCALIZER = "localizer"
    GRID = "grid"
    SAMPLER = "sampler"
    BACKBONE = "backbone"


HEAD = "localizer.head"
"""The layers of the localizer's two Linear, below which lies theta."""


def layer_of(node: str) -> str:
    """`backbone.layer1.0.conv1/Conv_2` -> `backbone.layer1.0.conv1`."""
    return node.partition("/")[0]


def part_of(node: str) -> ModelPart | None:
    """Return the part that a node, a tensor or a layer is in; None for a name that wasn't given by lstn."""
    name = layer_of(node).partition(".")[0]
    return next((part for part in ModelPart if part.value == name), None)
