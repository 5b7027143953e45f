"""Grid and sampler of an exported model -> one node, with a function of standard operators in the model behind it.

Whoever knows the node, as TensorRT does with our plugin registered, computes it in one kernel. ONNX Runtime, TensorRT
for RTX and everybody else find no such operator, read the function, and compute what they would have computed anyway.
"""

import onnx
from onnx import helper

from lstn.contract import THETA
from lstn.errors import LstnError
from lstn.export.plugin import DOMAIN, OPERATOR
from lstn.formats.node_names import ModelPart, part_of

_VERSION = 1
"""Of the operator set `lstn`, which holds this one operator."""

_IMAGES, _WARPED = "images", "warped"
_FOR_TENSORRT = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}
"""Which plugin the node is, and that its kernel is to be compiled into the plan."""


def fuse_sampler(proto: onnx.ModelProto) -> None:
    """Move the nodes between theta and the warped images into a function, and call it in their place.

    Expects nodes to have their names (see `lstn.formats.node_names`) and one GridSample among them. The function's body
    is what stood in the graph, but for two casts: its images may be float16, and the sum is float32 all the same.

    Raises:
        LstnError: those nodes read something else than theta and the images, or something else reads them.
    """
    graph = proto.graph
    body = [node for node in graph.node if part_of(node.name) in (ModelPart.GRID, ModelPart.SAMPLER)]
    rest = [node for node in graph.node if part_of(node.name) not in (ModelPart.GRID, ModelPart.SAMPLER)]
    (sampler,) = [node for node in body if node.op_type == "GridSample"]
    images, warped = sampler.input[0], sampler.output[0]
    made = {name for node in body for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    read = {name for node in body for name in node.input} - made
    strays = (read - constants.keys() - {images, THETA}) | (made & {name for node in rest for name in node.input})
    if strays != {warped}:
        raise LstnError(f"the sampler can't be fused: {sorted(strays - {warped})} cross its border")
    name = f"{ModelPart.SAMPLER.value}/{OPERATOR}"
    node = helper.make_node(OPERATOR, [images, THETA], [name], name=name, domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in _FOR_TENSORRT.items())
    proto.functions.append(_function(proto, body, [constants[name] for name in sorted(read & constants.keys())]))
    proto.opset_import.append(helper.make_opsetid(DOMAIN, _VERSION))
    for user in rest:
        user.input[:] = [node.output[0] if name == warped else name for name in user.input]
    _replace_nodes(graph, node, rest)
    _forget(graph, made - {warped})
    for entry in graph.value_info:
        entry.name = node.output[0] if entry.name == warped else entry.name


def _function(
    proto: onnx.ModelProto, body: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> onnx.FunctionProto:
    """Return `body` as a function of images and theta, in the model's own opset."""
    nodes = []
    for tensor in constants:
        nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
    for node in body:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "GridSample":
            copy.input[0], copy.output[0] = "images32", "warped32"
            nodes.append(helper.make_node("CastLike", [_IMAGES, THETA], [copy.input[0]]))
            nodes.append(copy)
            nodes.append(helper.make_node("CastLike", [copy.output[0], _IMAGES], [_WARPED]))
        else:
            nodes.append(copy)
    opsets = [entry for entry in proto.opset_import if entry.domain == ""]
    return helper.make_function(
        DOMAIN, OPERATOR, [_IMAGES, THETA], [_WARPED], nodes, opsets, attributes=list(_FOR_TENSORRT)
    )


def _replace_nodes(graph: onnx.GraphProto, node: onnx.NodeProto, rest: list[onnx.NodeProto]) -> None:
    """Put `rest` in place of the graph's nodes, with `node` in front of the first that reads it."""
    first = next(index for index, user in enumerate(rest) if node.output[0] in user.input)
    copies = []
    for entry in (*rest[:first], node, *rest[first:]):
        copies.append(onnx.NodeProto())
        copies[-1].CopyFrom(entry)
    del graph.node[:]
    graph.node.extend(copies)


def _forget(graph: onnx.GraphProto, gone: set[str]) -> None:
    """Remove tensors that only the function has, and weights that no node of the graph reads any more."""
    used = {name for node in graph.node for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    unread = {tensor.name for tensor in graph.initializer} - used
    infos = [entry for entry in graph.value_info if entry.name not in gone | unread]
    for field, kept in ((graph.initializer, weights), (graph.value_info, infos)):
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
        del field[:]
        field.extend(copies)
