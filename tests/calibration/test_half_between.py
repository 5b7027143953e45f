"""8 bits with float16 between the layers: types, sums of residual blocks, small scales, and what TensorRT reads."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import SIDE, exported_model

from lstn.calibration.emulate import emulated
from lstn.calibration.kept_layers import LAYERS, kept_layers, layer_names, lowered_nodes
from lstn.calibration.quantize import quantized_model
from lstn.calibration.ranges import Ranges
from lstn.calibration.residual_sums import join_sums
from lstn.contract import LOGITS, PIXELS, Loc
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.plugin.node import fuse_sampler
from lstn.export.tensorrt.builder import count_parsed_layers
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.plan_file import Flavour
from lstn.images import Pixels
from lstn.precision import Precision, RangeMethod

HALVES = [precision for precision in Precision if precision.half_between]
RESIDUAL = (Loc.STN, "resnet-18")


@pytest.fixture(scope="module")
def images() -> Pixels:
    return sample_images("digits", (SIDE, SIDE), seed=3, count=32)


def measured(model: onnx.ModelProto, pixels: Pixels) -> Ranges:
    """The ranges of every float32 tensor on these images."""
    watched = onnx.shape_inference.infer_shapes(model)
    floats = [each for each in watched.graph.value_info if each.type.tensor_type.elem_type == TensorProto.FLOAT]
    named = {each.name for each in floats}
    watched.graph.output.extend(floats)
    session = OnnxSession(watched.SerializeToString())
    answers = zip(session.outputs, session.run({PIXELS: pixels}), strict=True)
    tensors = {name: (float(values.min()), float(values.max())) for name, values in answers if name in named}
    return Ranges("", RangeMethod.MINMAX, len(pixels), 0, "", tensors)


def everywhere(model: onnx.ModelProto, low: float = -3.0, high: float = 5.0) -> Ranges:
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    return Ranges("", RangeMethod.MINMAX, 8, 0, "", dict.fromkeys(sorted(names), (low, high)))


@pytest.fixture(scope="module")
def lowered(images: Pixels) -> dict[Precision, onnx.ModelProto]:
    exact = exported_model(*RESIDUAL)
    kept, ranges = kept_layers(layer_names(exact), ["localizer"]), measured(exact, images)
    return {each: quantized_model(exact, each, kept, ranges) for each in Precision if each.quantized}


@pytest.mark.parametrize("precision", HALVES)
def test_layers_read_8_bits_and_all_else_that_is_lowered_is_float16(
    lowered: dict[Precision, onnx.ModelProto], precision: Precision
) -> None:
    exact, model = exported_model(*RESIDUAL), lowered[precision]
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
    names = set(lowered_nodes(exact, kept_layers(layer_names(exact), ["localizer"])))
    makers = {node.output[0]: node for node in model.graph.node}
    entries = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {entry.name: entry.type.tensor_type.elem_type for entry in entries}
    for node in model.graph.node:
        if node.name in names:
            assert {types[name] for name in node.output} <= {TensorProto.FLOAT16, TensorProto.INT64}, node.name
            read = [makers[name].op_type for name in node.input[:2] if name in makers]
            assert node.op_type not in LAYERS or read == ["DequantizeLinear"] * 2
        elif part_of(node.name) in (ModelPart.LOCALIZER, ModelPart.GRID):
            assert TensorProto.FLOAT16 not in {types.get(name) for name in node.output}


@pytest.mark.parametrize("precision", HALVES)
def test_a_residual_sum_reads_its_layer_as_it_is_and_the_skip_in_8_bits(
    lowered: dict[Precision, onnx.ModelProto], precision: Precision
) -> None:
    """NVIDIA's advice for skip connections; of two layers, that of the skip (downsample) is quantized."""
    model = lowered[precision]
    makers = {node.output[0]: node for node in model.graph.node}
    sums = [node for node in model.graph.node if node.op_type == "Add" and node.name.startswith("backbone.layer")]
    assert len(sums) == 8
    for node in sums:
        joined, skip = sorted((makers[name] for name in node.input), key=lambda maker: maker.op_type)
        assert (joined.op_type, skip.op_type) == ("Conv", "DequantizeLinear")
        assert ".conv2/" in joined.name
        before = makers[makers[skip.input[0]].input[0]]
        assert before.op_type != "Conv" or ".downsample." in before.name
    in_float32 = {node.name: node for node in lowered[Precision.INT8].graph.node}
    pairs = Counter(node.op_type for node in model.graph.node)["QuantizeLinear"]
    assert pairs == Counter(node.op_type for node in in_float32.values())["QuantizeLinear"] - len(sums)


@pytest.mark.parametrize(
    ("halved", "whole"), [(Precision.INT8_FP16, Precision.INT8), (Precision.FP8_FP16, Precision.FP8)]
)
def test_its_answers_are_as_near_to_float32(
    lowered: dict[Precision, onnx.ModelProto], images: Pixels, halved: Precision, whole: Precision
) -> None:
    def logits(model: onnx.ModelProto, precision: Precision | None = None) -> np.ndarray:
        runs = model if precision is None else emulated(model, precision)
        return OnnxSession(runs.SerializeToString()).run({PIXELS: images}, [LOGITS])[0]

    exact = logits(exported_model(*RESIDUAL))
    noise = {each: float(np.square(logits(lowered[each], each) - exact).mean()) for each in (halved, whole)}
    assert 0 < noise[halved] < 1.1 * noise[whole]
    assert noise[halved] < 0.1 * exact.var()


@pytest.mark.parametrize("precision", HALVES)
def test_scales_that_float16_hardly_has_are_its_smallest_normal_number(precision: Precision) -> None:
    """The quantizer takes them for none, and a channel with them would be zero."""
    model = exported_model(Loc.NONE)
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    weight = next(each for each in model.graph.initializer if each.name == gemm.input[1])
    values = numpy_helper.to_array(weight).copy()
    values[0] *= 1e-3 / np.abs(values[0]).max()
    values[1] = 0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    low = quantized_model(model, precision, kept_layers(layer_names(model), []), everywhere(model, -1e-4, 2e-4))
    constants = {each.name: numpy_helper.to_array(each) for each in low.graph.initializer}
    scales = [constants[node.input[1]] for node in low.graph.node if node.op_type == "DequantizeLinear"]
    assert all(scale.dtype == np.float16 and scale.min() >= np.finfo(np.float16).tiny for scale in scales)
    (pair,) = (n for n in low.graph.node if n.op_type == "DequantizeLinear" and n.input[0].startswith(weight.name))
    found = constants[pair.input[0]].astype(np.float32) * constants[pair.input[1]].astype(np.float32)[:, None]
    coarse = 2.0**-15 if precision is Precision.INT8_FP16 else 2.0**-18  # half a step of the smallest scale
    assert np.abs(found[:2] - values[:2]).max() <= coarse + 1e-3 / 16
    assert found[0].any()


@pytest.mark.parametrize("precision", HALVES)
def test_the_fused_sampler_comes_through(precision: Precision, images: Pixels) -> None:
    answers = []
    native, fused = exported_model(Loc.LSTN), exported_model(Loc.LSTN)
    fuse_sampler(fused)
    for model in (native, fused):
        low = quantized_model(model, precision, kept_layers(layer_names(model), ["localizer"]), everywhere(model))
        onnx.checker.check_model(low)
        answers.append(OnnxSession(emulated(low, precision).SerializeToString()).run({PIXELS: images}, [LOGITS])[0])
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-2)


@pytest.mark.parametrize(("precision", "read"), [(Precision.INT8_FP16, "INT8"), (Precision.FP8_FP16, "FP8")])
def test_tensorrt_computes_layers_in_8_bits_and_the_rest_in_float16(
    lowered: dict[Precision, onnx.ModelProto], tmp_path: Path, precision: Precision, read: str
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(lowered[precision], path)
    layers = count_parsed_layers(path, flavour=Flavour.TRT_RTX)
    assert layers["CONVOLUTION", read] + layers["MATRIX_MULTIPLY", read] == 21  # resnet-18's
    assert layers["ACTIVATION", "HALF"] == 17
    assert layers["GRID_SAMPLE", "FLOAT"] == 1


def paired(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [name, "scale"], [f"{name}/q"], f"{name}/q"),
        helper.make_node("DequantizeLinear", [f"{name}/q", "scale"], [f"{name}/dq"], f"{name}/dq"),
    ]


def sums_of(model_nodes: list[onnx.NodeProto]) -> list[list[str]]:
    """The inputs of every sum after `join_sums`."""
    graph = helper.make_graph(model_nodes, "sums", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])
    model = helper.make_model(graph)
    join_sums(model)
    read = {name for node in model.graph.node for name in node.input}
    assert all(read.intersection(node.output) or "out" in node.output for node in model.graph.node)
    return [list(node.input) for node in model.graph.node if node.op_type == "Add"]


def test_a_layer_that_others_read_too_is_not_joined() -> None:
    one, two = (helper.make_node("Conv", [name, "w"], [f"{name}/y"], name) for name in ("a", "b"))
    add = helper.make_node("Add", ["a/y/dq", "b/y/dq"], ["sum"], "sum")
    last = helper.make_node("Relu", ["sum"], ["out"], "out")
    assert sums_of([one, two, *paired("a/y"), *paired("b/y"), add, last]) == [["a/y/dq", "b/y"]]  # the later one
    also = helper.make_node("Max", ["sum", "b/y"], ["out"], "out")
    assert sums_of([one, two, *paired("a/y"), *paired("b/y"), add, also]) == [["a/y", "b/y/dq"]]
    also = helper.make_node("Max", ["sum", "a/y/dq", "b/y/dq"], ["out"], "out")
    assert sums_of([one, two, *paired("a/y"), *paired("b/y"), add, also]) == [["a/y/dq", "b/y/dq"]]
    pool = helper.make_node("MaxPool", ["x"], ["p"], "p")
    add = helper.make_node("Add", ["p/dq", "bias"], ["out"], "sum")
    assert sums_of([pool, *paired("p"), add]) == [["p/dq", "bias"]]
