"""Calls made by hand, and a model whose profile is known."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from lstn.contract import METADATA_KEY, Contract, Loc
from lstn.machine.gpu import Device
from lstn.runtime.bench.layer_places import Layer
from lstn.runtime.bench.layer_times import Breakdown, Call, Span, summarize_calls
from lstn.runtime.bench.timed_engines import BenchSetup

SIDE = 16
SETUP = BenchSetup((1,), 0, 0, Device.CPU, 1, False)


def call(start_ms: float, ms: float, **layers: float) -> Call:
    """Make a call of layers `part__layer=ms`, end to end."""
    spans, now = [], 0.0
    for name, taken in layers.items():
        spans.append(
            Span(Layer(f"{name.replace('__', '.')}/Conv", "Conv", f"{name.replace('__', '.')}/Conv"), now, taken)
        )
        now += taken
    return Call(start_ms, ms, tuple(spans))


def summarize(*calls: Call) -> Breakdown:
    return summarize_calls(Path("a.onnx"), 1, "an engine", calls, ())


def conv_net(path: Path, *, names: bool = True) -> Contract:
    """Write two convolutions, each with a ReLU, and a MatMul; every node is named as lstn names them."""
    random = np.random.default_rng(0)
    contract = Contract(Loc.NONE, "cnn", (SIDE, SIDE), ("a", "b"))
    runs = [
        ("Cast", "input/Cast", (), {"to": TensorProto.FLOAT}),
        ("Transpose", "input/Transpose", (), {"perm": [0, 3, 1, 2]}),
        ("Conv", "backbone.conv1/Conv", ("w1",), {"pads": [1] * 4}),
        ("Relu", "backbone.relu/Relu", (), {}),
        ("Conv", "backbone.conv2/Conv", ("w2",), {"pads": [1] * 4}),
        ("Relu", "backbone.relu/Relu_2", (), {}),
        ("ReduceMean", "backbone.pool/ReduceMean", ("axes",), {"keepdims": 0}),
        ("MatMul", "backbone.fc/MatMul", ("w3",), {}),
    ]
    tensors = ["pixels", *(name for _, name, _, _ in runs[:-1]), "logits"]
    nodes = [
        helper.make_node(operator, [tensors[index], *weights], [tensors[index + 1]], name, **attributes)
        for index, (operator, name, weights, attributes) in enumerate(runs)
    ]
    if not names:
        for node in nodes:
            node.ClearField("name")
            node.input[0], node.output[0] = (
                name.replace("/", "_").replace(".", "_") for name in (node.input[0], node.output[0])
            )
    arrays = {"w1": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "w3": (16, 2)}
    weights = [
        numpy_helper.from_array(random.normal(size=size).astype(np.float32), name) for name, size in arrays.items()
    ]
    weights.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "g", [pixels], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    path.write_bytes(model.SerializeToString())
    return contract
