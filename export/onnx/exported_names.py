"""The exporter's node names (`node_Conv_506`) -> names that say where in the model they are.

`lstn.formats.node_names` says how they are made up.
"""

import ast
from collections import Counter

import onnx

from lstn.formats.node_names import ModelPart, part_of

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter notes the modules that a node came from, outermost first, and what it called the node."""

_TRANSFORMER = "transformer"
_OWN_WEIGHTS = {"Conv", "Gemm", "MatMul"}
"""Of a BatchNorm's weights, equal ones are merged, and tell nothing."""


def name_nodes(graph: onnx.GraphProto, *, detects: bool = False) -> None:
    """Rename every node and every tensor between nodes; inputs, outputs and weights keep their names.

    detects: it is a detector's, which makes thetas of what its backbone answers

    Expects the exporter's notes still to be there, and nodes in order of computation.
    """
    fixed = {entry.name for entry in (*graph.input, *graph.output, *graph.initializer)}
    weights = {entry.name for entry in graph.initializer}
    seen: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    layer_of_tensor: dict[str, str] = {}
    of_theta, of_sampler = set[str](), set[str]()
    for node in graph.node:
        named = _layer(node, weights)
        before = next((layer_of_tensor[i] for i in node.input if i in layer_of_tensor), "")
        answered = not detects and bool(of_sampler) and part_of(before) is ModelPart.BACKBONE
        own = (
            "" if named is None or answered else _sampling_layer(node, of_theta, of_sampler, before if detects else "")
        )
        layer = named or own or before
        if layer in ("", _TRANSFORMER):
            layer = _sampling_layer(node, of_theta, of_sampler, before if detects else "") or ModelPart.INPUT.value
        if part_of(layer) in (ModelPart.LOCALIZER, ModelPart.GRID):
            of_theta.update(node.output)
        elif part_of(layer) is ModelPart.SAMPLER:
            of_sampler.update(node.output)
        layer_of_tensor.update(dict.fromkeys(node.output, layer))
        plain = f"{layer}/{node.op_type}"
        seen[plain] += 1
        node.name = plain if seen[plain] == 1 else f"{plain}_{seen[plain]}"
        for index, output in enumerate(node.output):
            if output and output not in fixed:
                renamed[output] = node.name if index == 0 else f"{node.name}.{index}"
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for entry in graph.value_info:
        entry.name = renamed.get(entry.name, entry.name)


def _layer(node: onnx.NodeProto, weights: set[str]) -> str | None:
    """Return the module that holds the node's weight, else the innermost that the exporter noted; "" in the model's own
    code, and None where nothing is noted.

    The note on a convolution that a BatchNorm was folded into names the BatchNorm.
    """
    named = (name for name in node.input if name in weights and name.endswith(".weight"))
    weight = next(named, "") if node.op_type in _OWN_WEIGHTS else ""
    layer = weight.rpartition(".")[0] or _innermost_module(node)
    return None if layer is None else layer.removeprefix(f"{_TRANSFORMER}.")


def _innermost_module(node: onnx.NodeProto) -> str | None:
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)  # from the whole model, "", down; a size that the exporter asks for
            return str(scopes[-2]) if len(scopes) > 1 and scopes[0] == "" else None  # by itself is in no module
    return None


def _sampling_layer(node: onnx.NodeProto, of_theta: set[str], of_sampler: set[str], before: str) -> str:
    """Outside of any module's own code lie the normalisation, the grid, and the sampler with the mean of its points.

    Of a detector, what makes crops of its boxes counts as the grid, before the sampler and after the backbone: its
    boxes are made of what the backbone answers.

    before: the layer that the node's first known input is of, in a detector
    """
    if node.op_type == "GridSample" or of_sampler.intersection(node.input):
        return ModelPart.SAMPLER.value
    behind = bool(of_sampler) and part_of(before) is ModelPart.BACKBONE
    return ModelPart.GRID.value if behind or of_theta.intersection(node.input) else ""
