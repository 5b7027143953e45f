"""int8 and fp8, against quantization written out in NumPy."""

import tempfile

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper
from small_models import SIDE, exported_model

from lstn.calibration.emulate import emulated
from lstn.calibration.kept_layers import LAYERS, kept_layers, layer_names
from lstn.calibration.quantize import quantized_model
from lstn.calibration.ranges import Ranges
from lstn.contract import LOGITS, PIXELS, Loc
from lstn.export.plugin.node import fuse_sampler
from lstn.formats.node_names import ModelPart, layer_of, part_of
from lstn.precision import Precision, RangeMethod

LARGEST = {Precision.INT8: 127.0, Precision.FP8: 448.0}
LARGEST_WEIGHT = {Precision.INT8: 64.0, Precision.FP8: 448.0}


def ranges_for(model: onnx.ModelProto, low: float = -3.0, high: float = 5.0) -> Ranges:
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    return Ranges("", RangeMethod.MINMAX, 8, 0, "", dict.fromkeys(sorted(names), (low, high)))


def lowered(
    precision: Precision, keep: str = "localizer", loc: Loc = Loc.LSTN
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = exported_model(loc)
    return model, quantized_model(model, precision, kept_layers(layer_names(model), [keep]), ranges_for(model))


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}


def test_no_temporary_file_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    model, wanted = lowered(Precision.INT8)
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    kept = kept_layers(layer_names(model), ["localizer"])
    assert quantized_model(model, Precision.INT8, kept, ranges_for(model)) == wanted


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
@pytest.mark.parametrize("keep", ["localizer", "head"])
def test_every_lowered_layer_reads_quantized_data_and_weights(precision: Precision, keep: str) -> None:
    _, model = lowered(precision, keep)
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in LAYERS:
            full = layer_of(node.name).startswith("localizer.head") or (
                keep == "localizer" and part_of(node.name) is ModelPart.LOCALIZER
            )
            read = [makers[name].op_type if name in makers else "" for name in node.input[:2]]
            assert (read == ["DequantizeLinear"] * 2) != full, node.name
            assert node.input[2] not in makers  # the bias
    assert not [n for n in model.graph.node if part_of(n.name) in (ModelPart.GRID,) and "Quantize" in n.op_type]


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_every_scale_is_symmetric_and_weights_have_one_for_each_output_channel(precision: Precision) -> None:
    exact, model = lowered(precision)
    wanted_type = TensorProto.INT8 if precision is Precision.INT8 else TensorProto.FLOAT8E4M3FN
    weights, constants = constants_of(exact), constants_of(model)
    types = {weight.name: weight.data_type for weight in model.graph.initializer}
    checked = 0
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        assert types[node.input[2]] == wanted_type
        assert not zero.astype(np.float32).any()
        if node.input[0] in constants:
            original = weights[node.input[0].removesuffix("_quantized")]
            largest = np.abs(original.reshape(len(original), -1)).max(axis=1)
            np.testing.assert_allclose(scale, largest / LARGEST_WEIGHT[precision], rtol=1e-5)
            checked += 1
        else:
            np.testing.assert_allclose(scale, 5.0 / LARGEST[precision], rtol=1e-5)  # the larger side of -3..5
    assert checked == 3


def test_int8_weights_are_rounded_to_nearest() -> None:
    exact, model = lowered(Precision.INT8)
    weights, constants = constants_of(exact), constants_of(model)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            original = weights[node.input[0].removesuffix("_quantized")]
            scale = constants[node.input[1]].reshape(-1, *[1] * (original.ndim - 1))
            found = constants[node.input[0]].astype(np.float64)
            assert np.abs(found * scale - original).max() <= 0.5001 * scale.max()
            assert np.abs(found).max() == 64


def test_fp8_weights_are_rounded_as_the_type_rounds() -> None:
    exact, model = lowered(Precision.FP8)
    weights, constants = constants_of(exact), constants_of(model)
    names = [n.input[:2] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    for name, scale in names:
        original = weights[name.removesuffix("_quantized")]
        by_channel = constants[scale].reshape(-1, *[1] * (original.ndim - 1))
        wanted = (original / by_channel).astype(ml_dtypes.float8_e4m3fn)
        np.testing.assert_array_equal(constants[name].astype(np.float32), wanted.astype(np.float32))


def test_an_fp8_file_says_the_opset_that_has_it_and_stays_below_the_one_that_misnames_the_sampler() -> None:
    _, model = lowered(Precision.FP8)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_the_fused_sampler_comes_through(precision: Precision) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    answers = []
    native, fused = exported_model(Loc.LSTN), exported_model(Loc.LSTN)
    fuse_sampler(fused)
    for model in (native, fused):
        low = quantized_model(model, precision, kept_layers(layer_names(model), ["localizer"]), ranges_for(model))
        onnx.checker.check_model(low)
        answers.append(run(emulated(low, precision), pixels, [LOGITS])[0])
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-4)


def test_the_emulation_of_fp8_rounds_activations_as_numpy_does() -> None:
    """One layer alone is lowered; its output is then worked out by hand from the float32 model's tensors."""
    model = exported_model(Loc.NONE)
    kept = kept_layers(layer_names(model), ["backbone.features.0", "backbone.features.3"])
    ranges = ranges_for(model, -2.0, 2.0)
    low = emulated(quantized_model(model, Precision.FP8, kept, ranges), Precision.FP8)
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    model.graph.output.append(onnx.helper.make_tensor_value_info(gemm.input[0], TensorProto.FLOAT, None))
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    features = run(model, pixels, [gemm.input[0]])[0]
    weights = constants_of(model)
    weight, bias = weights[gemm.input[1]], weights[gemm.input[2]]
    scale, scales = np.float32(2 / 448), np.abs(weight).max(axis=1, keepdims=True).astype(np.float32) / np.float32(448)
    saturated = np.clip(features / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale
    rounded = (weight / scales).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scales
    wanted = saturated @ rounded.T + bias
    exact = features @ weight.T + bias
    assert np.abs(wanted - exact).max() > 1e-3
    np.testing.assert_allclose(run(low, pixels, [LOGITS])[0], wanted, atol=1e-4)


def test_int8_runs_in_onnx_runtime_and_stays_near() -> None:
    model = exported_model(Loc.LSTN)
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    (wanted,) = run(model, pixels, [LOGITS])
    reach = max(2.0, 2 * float(np.abs(wanted).max()))
    low = quantized_model(
        model, Precision.INT8, kept_layers(layer_names(model), ["localizer"]), ranges_for(model, -reach, reach)
    )
    (found,) = run(low, pixels, [LOGITS])
    assert 0 < np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()


def run(model: onnx.ModelProto, pixels: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, {PIXELS: pixels})
