import copy
import math
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hand_made import make_model, random_split
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lstn.calibration.cost.noise import LayerNoise, decibels, measure_noise
from lstn.contract import Loc
from lstn.errors import ArtifactError

PIXELS = random_split(12).pixels
NODES = [
    "input/Mul",
    "localizer.features.0/Conv",
    "localizer.features.1/Relu",
    "localizer.head.1/Gemm",
    "theta",
    "grid/MatMul",
    "sampler/GridSample",
    "backbone.conv1/Conv",
    "backbone.relu/Relu",
    "backbone.avgpool/ReduceMean",
    "backbone.fc/Gemm",
    "logits",
]
"""What computes a number of its own, and the outputs, in order of computation."""


def noise_of(lowered: onnx.ModelProto, *sizes: int, reference: onnx.ModelProto | None = None) -> dict[str, LayerNoise]:
    batches = np.split(PIXELS, np.cumsum(sizes)) if sizes else [PIXELS]
    found = measure_noise(reference or make_model(), lowered, batches, name="model.low.onnx")
    assert [layer.node for layer in found] == NODES
    return {layer.node: layer for layer in found}


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every tensor of the graph, by ONNX Runtime."""
    shown = copy.deepcopy(model)
    known = {entry.name for entry in shown.graph.output}
    for node in shown.graph.node:
        shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in shown.graph.output]
    return dict(zip(names, session.run(names, {"pixels": PIXELS}), strict=True))


def rounded(name: str, digits: int) -> Callable[[dict[str, np.ndarray]], None]:
    def edit(weights: dict[str, np.ndarray]) -> None:
        weights[name] = np.round(weights[name], digits)

    return edit


def in_db(reference: np.ndarray, found: np.ndarray) -> float:
    reference, found = reference.astype(np.float64), found.astype(np.float64)
    return 10 * math.log10((reference**2).sum() / ((found - reference) ** 2).sum())


def insert(model: onnx.ModelProto, tensor: str, *nodes: onnx.NodeProto) -> None:
    """Let all that reads `tensor` read the last of `nodes` instead, and name that so in the graph."""
    for node in model.graph.node:
        node.input[:] = [nodes[-1].output[0] if name == tensor else name for name in node.input]
    (at,) = (index for index, node in enumerate(model.graph.node) if tensor in node.output)
    together = [*model.graph.node[: at + 1], *nodes, *model.graph.node[at + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(together)


def quantize_after(model: onnx.ModelProto, tensor: str, scale: float) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(scale), f"{tensor}_scale"))
    model.graph.initializer.append(numpy_helper.from_array(np.int8(0), f"{tensor}_zero"))
    scales = [f"{tensor}_scale", f"{tensor}_zero"]
    insert(
        model,
        tensor,
        helper.make_node("QuantizeLinear", [tensor, *scales], [f"{tensor}_q"], f"{tensor}_QuantizeLinear"),
        helper.make_node("DequantizeLinear", [f"{tensor}_q", *scales], [f"{tensor}_dq"], f"{tensor}_DequantizeLinear"),
    )


def test_a_model_against_itself_is_exact() -> None:
    assert {(layer.output_db, layer.own_db) for layer in noise_of(make_model()).values()} == {(math.inf, math.inf)}


def test_injected_noise_of_known_power_is_that_many_db() -> None:
    shift = np.array([0.01, -0.02, 0.03, 0.005, -0.04, 0.02], np.float32)

    def edit(weights: dict[str, np.ndarray]) -> None:
        weights["backbone.conv1.bias"] += shift

    found = noise_of(make_model(edit=edit))
    signal = tensors(make_model())["backbone.conv1/Conv"].astype(np.float64)
    noise = (shift.astype(np.float64) ** 2).sum() * signal[:, 0].size
    wanted = 10 * math.log10((signal**2).sum() / noise)
    assert found["backbone.conv1/Conv"].own_db == pytest.approx(wanted, abs=0.001)
    assert found["backbone.conv1/Conv"].output_db == pytest.approx(wanted, abs=0.001)
    assert found["sampler/GridSample"] == LayerNoise("sampler/GridSample", "GridSample", math.inf, math.inf)
    assert found["logits"].output_db is not None
    assert found["logits"].output_db < math.inf
    assert found["logits"].own_db == math.inf


def test_noise_at_every_output_is_what_numpy_says() -> None:
    lowered = make_model(edit=rounded("localizer.features.0.weight", 1))
    quantize_after(lowered, "sampler/GridSample", 0.01)
    quantize_after(lowered, "backbone.relu/Relu", 0.02)
    found, exact, rough = noise_of(lowered), tensors(make_model()), tensors(lowered)
    of_node = {node.name: node.output[0] for node in lowered.graph.node}
    for name in NODES[1:]:
        tensor = of_node.get(name, name)
        assert found[name].output_db == pytest.approx(in_db(exact[tensor], rough[tensor]), abs=0.001), name


def test_a_layers_own_noise_is_that_of_the_layer_fed_by_float32() -> None:
    def edit(weights: dict[str, np.ndarray]) -> None:
        rounded("localizer.features.0.weight", 1)(weights)
        rounded("backbone.conv1.weight", 1)(weights)
        lowered_weight.append(weights["backbone.conv1.weight"])

    lowered_weight: list[np.ndarray] = []
    lowered = make_model(edit=edit)
    quantize_after(lowered, "sampler/GridSample", 0.01)
    found, exact = noise_of(lowered), tensors(make_model())
    given_ = np.clip(np.round(exact["sampler/GridSample"] / np.float32(0.01)), -128, 127) * np.float32(0.01)
    bias = next(w for w in lowered.graph.initializer if w.name == "backbone.conv1.bias")
    conv = torch.nn.functional.conv2d(
        torch.from_numpy(given_),
        torch.from_numpy(lowered_weight[0]),
        torch.from_numpy(numpy_helper.to_array(bias).copy()),
        padding=1,
    )
    assert found["backbone.conv1/Conv"].own_db == pytest.approx(
        in_db(exact["backbone.conv1/Conv"], conv.numpy()), abs=0.01
    )
    assert found["backbone.conv1/Conv"].output_db != found["backbone.conv1/Conv"].own_db
    assert found["localizer.features.0/Conv"].own_db == found["localizer.features.0/Conv"].output_db
    for name in ("localizer.head.1/Gemm", "grid/MatMul", "sampler/GridSample", "backbone.relu/Relu", "logits"):
        assert found[name].own_db == math.inf
        assert found[name].output_db is not None
        assert found[name].output_db < 60


def test_what_rounds_an_output_of_the_model_counts_there() -> None:
    lowered = make_model()
    (fc,) = (node for node in lowered.graph.node if node.name == "backbone.fc/Gemm")
    fc.output[0] = "exact"
    lowered.graph.node.extend(
        [
            helper.make_node("Cast", ["exact"], ["half"], "to_half", to=TensorProto.FLOAT16),
            helper.make_node("Cast", ["half"], ["logits"], "to_float", to=TensorProto.FLOAT),
        ]
    )
    found, exact = noise_of(lowered), tensors(make_model())["logits"]
    assert found["backbone.fc/Gemm"].own_db == math.inf
    wanted = pytest.approx(in_db(exact, exact.astype(np.float16)), abs=0.01)
    assert (found["logits"].own_db, found["logits"].output_db) == (wanted, wanted)


def test_half_precision_tensors_are_compared_as_numbers() -> None:
    lowered = make_model()
    (relu,) = (node for node in lowered.graph.node if node.name == "backbone.relu/Relu")
    relu.input[0], relu.output[0] = "half", "half relu"
    (at,) = (index for index, node in enumerate(lowered.graph.node) if node.name == "backbone.relu/Relu")
    nodes = list(lowered.graph.node)
    nodes[at : at + 1] = [
        helper.make_node("Cast", ["backbone.conv1/Conv"], ["half"], "to_half", to=TensorProto.FLOAT16),
        relu,
        helper.make_node("Cast", ["half relu"], ["backbone.relu/Relu"], "to_float", to=TensorProto.FLOAT),
    ]
    fresh = [copy.deepcopy(node) for node in nodes]
    del lowered.graph.node[:]
    lowered.graph.node.extend(fresh)
    found, exact = noise_of(lowered), tensors(make_model())["backbone.relu/Relu"]
    assert found["backbone.relu/Relu"].own_db == pytest.approx(in_db(exact, exact.astype(np.float16)), abs=0.01)
    # What it is then given in float16 is the next node's to bear: float32's own tensor, cast to that type.
    wide = exact.astype(np.float16).astype(np.float64).mean((2, 3))
    own = found["backbone.avgpool/ReduceMean"].own_db
    assert own == pytest.approx(in_db(exact.astype(np.float64).mean((2, 3)), wide), abs=0.1)


def test_batches_make_no_difference() -> None:
    lowered = make_model(edit=rounded("backbone.conv1.weight", 1))
    whole, parts = noise_of(lowered), noise_of(lowered, 5, 1)
    for name in NODES:
        assert parts[name].output_db == pytest.approx(whole[name].output_db, abs=1e-4)


def test_a_node_that_is_gone_is_said_to_be() -> None:
    lowered = make_model(edit=rounded("backbone.conv1.weight", 1))
    for node in lowered.graph.node:
        if node.name == "backbone.conv1/Conv":
            node.name = "fused_conv"
    found = noise_of(lowered)
    assert found["backbone.conv1/Conv"] == LayerNoise("backbone.conv1/Conv", "Conv", None, None)
    assert found["backbone.relu/Relu"].own_db is not None  # the noise of both, then
    assert found["backbone.relu/Relu"].own_db < 60


def test_another_operator_of_the_same_name_is_not_taken_for_it() -> None:
    lowered = make_model(edit=rounded("backbone.conv1.weight", 1))
    names = {"backbone.conv1/Conv": "inserted", "backbone.relu/Relu": "backbone.conv1/Conv"}
    for node in lowered.graph.node:
        node.name = names.get(node.name, node.name)
    found = noise_of(lowered)
    assert (found["backbone.conv1/Conv"].own_db, found["backbone.relu/Relu"].own_db) == (None, None)
    assert found["backbone.avgpool/ReduceMean"].own_db is not None


def test_whole_numbers_under_a_scale_are_not_compared_with_float32() -> None:
    lowered = make_model()
    quantize_after(lowered, "backbone.conv1/Conv", 0.05)
    (relu,) = (node for node in lowered.graph.node if node.name == "backbone.relu/Relu")
    (dequantize,) = (node for node in lowered.graph.node if node.name == "backbone.conv1/Conv_DequantizeLinear")
    relu.input[0], relu.output[0] = dequantize.input[0], "whole"  # the pair around it, instead of before it
    dequantize.input[0], dequantize.output[0] = "whole", "backbone.relu/Relu"
    nodes = [copy.deepcopy(node) for node in lowered.graph.node if node.name not in (relu.name, dequantize.name)]
    at = next(index for index, node in enumerate(nodes) if node.op_type == "QuantizeLinear") + 1
    nodes[at:at] = [copy.deepcopy(relu), copy.deepcopy(dequantize)]
    del lowered.graph.node[:]
    lowered.graph.node.extend(nodes)
    found = noise_of(lowered)
    assert found["backbone.relu/Relu"].own_db is None
    assert 20 < (found["backbone.avgpool/ReduceMean"].output_db or 0) < 80


def test_what_overflows_is_minus_infinite() -> None:
    def edit(weights: dict[str, np.ndarray]) -> None:
        weights["backbone.conv1.bias"][:] = np.inf

    found = noise_of(make_model(edit=edit))
    assert found["backbone.conv1/Conv"].own_db == -math.inf
    assert found["sampler/GridSample"].own_db == math.inf


def test_a_model_without_a_transformer() -> None:
    lowered = make_model(Loc.NONE, edit=rounded("backbone.conv1.weight", 1))
    found = measure_noise(make_model(Loc.NONE), lowered, [PIXELS], name="x")
    assert [layer.node for layer in found] == [NODES[0], *NODES[7:]]


def test_another_opset_is_refused() -> None:
    lowered = make_model()
    lowered.opset_import[0].version = 19
    assert noise_of(lowered)["logits"].own_db == math.inf
    lowered.opset_import[0].version = 20
    with pytest.raises(ArtifactError, match=r"model\.low\.onnx: written in opset 20, and float32 in 18"):
        noise_of(lowered)


@given(st.floats(1e-6, 1e6), st.floats(-200, 200))
def test_decibels(signal: float, db: float) -> None:
    assert decibels(signal, signal / 10 ** (db / 10)) == pytest.approx(db, abs=1e-6)


def test_decibels_at_the_ends() -> None:
    assert (decibels(1, 0), decibels(0, 0)) == (math.inf, math.inf)
    assert {decibels(0, 1), decibels(1, math.nan), decibels(math.inf, 1), decibels(1, math.inf)} == {-math.inf}
