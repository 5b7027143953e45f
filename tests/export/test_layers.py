from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from small_models import Exported

from lstn.errors import ArtifactError
from lstn.export.tensorrt.builder import count_parsed_layers
from lstn.formats.plan_file import Flavour


class Images(CalibrationDataReader):
    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.batches = iter([{"pixels": random.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two convolutions and a product: pixels (N, 8, 8, 3) uint8 -> logits (N, 3)."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(8, 3, 3, 3)),
        "second": random.normal(size=(8, 8, 3, 3)),
        "last": random.normal(size=(8, 3)),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["a"], name="conv_a"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], name="conv_c"),
        helper.make_node("ReduceMean", ["c", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "last"], ["logits"], name="head"),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "plain", [pixels], [logits], initializers)
    path = tmp_path / "plain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def quantized(plain: Path, **options: object) -> Path:
    path = plain.with_name("int8.onnx")
    quantize_static(
        plain,
        path,
        Images(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        **options,
    )
    return path


def counted(path: Path, *kinds: str) -> dict[tuple[str, str], int]:
    layers = count_parsed_layers(path, flavour=Flavour.TRT_RTX)
    return {key: count for key, count in layers.items() if key[0] in kinds}


FACTORS = ("CONVOLUTION", "MATRIX_MULTIPLY")


def test_an_fp32_model(plain: Path) -> None:
    assert counted(plain, *FACTORS) == {("CONVOLUTION", "FLOAT"): 2, ("MATRIX_MULTIPLY", "FLOAT"): 1}


def test_int8_everywhere(plain: Path) -> None:
    path = quantized(plain)
    assert counted(path, *FACTORS) == {("CONVOLUTION", "INT8"): 2, ("MATRIX_MULTIPLY", "INT8"): 1}
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    assert counted(path, "QUANTIZE") == {("QUANTIZE", "INT8"): nodes.count("QuantizeLinear")}
    assert counted(path, "DEQUANTIZE") == {("DEQUANTIZE", "FLOAT"): nodes.count("DequantizeLinear")}


def test_int8_that_left_some_out(plain: Path) -> None:
    path = quantized(plain, nodes_to_exclude=["conv_c", "head"])
    assert counted(path, *FACTORS) == {
        ("CONVOLUTION", "INT8"): 1,
        ("CONVOLUTION", "FLOAT"): 1,
        ("MATRIX_MULTIPLY", "FLOAT"): 1,
    }


def test_what_is_quantized_under_float_weights_is_computed_in_float(plain: Path) -> None:
    """And counted so, although what goes in comes from a DEQUANTIZE."""
    path = quantized(plain)
    model = onnx.load(path)
    floats = {tensor.name: tensor for tensor in onnx.load(plain).graph.initializer}
    for name in ("first", "last"):
        (weight,) = [node for node in model.graph.node if node.output[0].startswith(f"{name}_DequantizeLinear")]
        model.graph.initializer.append(floats[name])
        for node in model.graph.node:
            node.input[:] = [name if source == weight.output[0] else source for source in node.input]
        model.graph.node.remove(weight)
    onnx.save(model, path)
    assert counted(path, *FACTORS) == {
        ("CONVOLUTION", "INT8"): 1,
        ("CONVOLUTION", "FLOAT"): 1,
        ("MATRIX_MULTIPLY", "FLOAT"): 1,
    }


def test_every_layer_is_counted_once(exported_lstn: Exported) -> None:
    import tensorrt_rtx as trt

    builder = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    assert parser.parse_from_file(str(exported_lstn.path))
    layers = count_parsed_layers(exported_lstn.path, flavour=Flavour.TRT_RTX)
    assert sum(layers.values()) == network.num_layers
    assert layers["GRID_SAMPLE", "FLOAT"] == 1


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_text("hello")
    with pytest.raises(ArtifactError, match="expected one input"):
        count_parsed_layers(junk, flavour=Flavour.TRT_RTX)
