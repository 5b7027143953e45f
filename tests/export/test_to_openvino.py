"""OpenVINO files of an ONNX file: every localizer and precision computes what ONNX Runtime does, or nothing is made."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import Exported, ExportOnce

from lstn.contract import Loc
from lstn.errors import VerificationError
from lstn.export.openvino.to_openvino import write_openvino
from lstn.files import sha256_of
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.openvino_file import bin_path, read_pair
from lstn.images import Pixels
from lstn.warps.warp import drift_px


@pytest.fixture(scope="session")
def bf16(export_once: ExportOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """L-STN with its backbone in bfloat16."""
    proto = onnx.load(export_once(Loc.LSTN).path)
    backbone = [node for node in proto.graph.node if part_of(node.name) is ModelPart.BACKBONE]
    made = {name for node in backbone for name in node.output}
    weights = {weight.name: weight for weight in proto.graph.initializer}
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    nodes = [node for node in proto.graph.node if node not in backbone]
    for name in {name for node in backbone for name in node.input}:
        if name in weights and weights[name].data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weights[name]).astype(dtype)
            weights[name].CopyFrom(numpy_helper.from_array(values, name))
        elif name not in weights and name not in made:
            nodes.append(helper.make_node("Cast", [name], [f"{name}_low"], f"{name}_low", to=TensorProto.BFLOAT16))
    for node in backbone:
        node.input[:] = [name if name in made or name in weights else f"{name}_low" for name in node.input]
        node.output[:] = ["low" if name == "logits" else name for name in node.output]
    nodes += [*backbone, helper.make_node("Cast", ["low"], ["logits"], "out", to=TensorProto.FLOAT)]
    del proto.graph.node[:], proto.graph.value_info[:]
    proto.graph.node.extend(nodes)
    path = tmp_path_factory.mktemp("bf16") / "model.bf16.onnx"
    onnx.save(proto, path)
    return path


def answers(xml: Path, images: Pixels) -> dict[str, np.ndarray]:
    """What OpenVINO computes when float32 is to stay float32, one image at a time."""
    compiled = ov.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [compiled({"pixels": images[index : index + 1]}) for index in range(len(images))]
    names = [output.any_name for output in compiled.outputs]
    return {name: np.concatenate([each[name] for each in found]) for name in names}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_localizer_becomes_a_pair_that_computes_the_same(exported: Exported, tmp_path: Path) -> None:
    xml = tmp_path / "new" / "model.xml"
    record, agreement = write_openvino(exported.path, xml, exported.images)
    assert sorted(path.name for path in xml.parent.iterdir()) == ["model.bin", "model.xml"]
    assert read_pair(xml)[0] == record
    assert (record.contract, record.precision) == (exported.contract, "fp32")
    assert (record.onnx_sha256, record.bin_sha256) == (sha256_of(exported.path), sha256_of(bin_path(xml)))
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(names, {"pixels": exported.images}), strict=True))
    found = answers(xml, exported.images)
    assert found.keys() == expected.keys()
    largest = np.abs(expected["logits"]).max()
    assert np.abs(found["logits"] - expected["logits"]).max() < 1e-3 * largest
    assert agreement.images == len(exported.images)
    if "theta" in expected:
        assert drift_px(found["theta"], expected["theta"], exported.contract.image_hw).max() < 0.01
        assert agreement.drift_px is not None
        assert agreement.drift_px < 0.01


def test_float32_weights_stay_float32(exported_lstn: Exported, tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    write_openvino(exported_lstn.path, xml, exported_lstn.images)
    weights = [numpy_helper.to_array(weight) for weight in onnx.load(exported_lstn.path).graph.initializer]
    floats = sum(weight.nbytes for weight in weights if weight.dtype == np.float32)
    assert bin_path(xml).stat().st_size >= floats


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_lowered_backbone_leaves_theta_alone(
    exported_lstn: Exported, tmp_path: Path, precision: str, request: pytest.FixtureRequest
) -> None:
    onnx_file: Path = request.getfixturevalue(precision)
    xml = tmp_path / f"model.{precision}.xml"
    record, agreement = write_openvino(onnx_file, xml, exported_lstn.images)
    assert record.precision == precision
    assert agreement.top1 > 0.9
    session = onnxruntime.InferenceSession(exported_lstn.path, providers=["CPUExecutionProvider"])
    logits, theta = session.run(["logits", "theta"], {"pixels": exported_lstn.images})
    found = answers(xml, exported_lstn.images)
    assert drift_px(found["theta"], theta, exported_lstn.contract.image_hw).max() < 0.01
    off = np.abs(found["logits"] - logits).max() / np.abs(logits).max()
    assert 1e-5 < off < 0.2  # lowered it is


def test_int8_reaches_the_convolutions(int8: Path, exported_lstn: Exported, tmp_path: Path) -> None:
    xml = tmp_path / "model.int8.xml"
    write_openvino(int8, xml, exported_lstn.images)
    compiled = ov.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    types = [
        op.get_rt_info()["runtimePrecision"].astype(str)
        for op in compiled.get_runtime_model().get_ordered_ops()
        if op.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    lowered = sum(
        node.op_type == "Conv" and part_of(node.name) is ModelPart.BACKBONE for node in onnx.load(int8).graph.node
    )
    assert len([each for each in types if each in ("i8", "u8")]) == lowered > 0


def _spoil(path: Path, spoilt: Path, pattern: str, factor: float) -> None:
    """Write a copy in which the one weight that is called so is multiplied."""
    proto = onnx.load(path)
    (weight,) = (weight for weight in proto.graph.initializer if re.search(pattern, weight.name))
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), weight.name))
    onnx.save(proto, spoilt)


LAYERS = {"localizer": r"localizer\.head\.3", "backbone": r"backbone\.features\.0"}


@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
@pytest.mark.parametrize("part", list(LAYERS))
def test_another_computation_makes_nothing(
    exported_lstn: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    part: str,
    request: pytest.FixtureRequest,
) -> None:
    """OpenVINO is given a file with one layer off by a tenth, in place of the one that it is compared with."""
    onnx_file = exported_lstn.path if precision == "fp32" else request.getfixturevalue(precision)
    other = tmp_path / "other.onnx"
    lowered = "_scale" if (precision, part) == ("int8", "backbone") else ""
    _spoil(onnx_file, other, rf"{LAYERS[part]}\.weight{lowered}$", 1.1)
    read = ov.Core.read_model

    def swapped(core: ov.Core, path: Path) -> ov.Model:
        return read(core, other if path == onnx_file else path)

    monkeypatch.setattr(ov.Core, "read_model", swapped)
    with pytest.raises(VerificationError, match="differs from its ONNX file"):
        write_openvino(onnx_file, tmp_path / "out" / "model.xml", exported_lstn.images)
    assert contents(tmp_path / "out") == {}


def test_no_number_makes_nothing(exported_lstn: Exported, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.onnx"
    _spoil(exported_lstn.path, spoilt, rf"{LAYERS['backbone']}\.weight$", float("nan"))
    with pytest.raises(VerificationError, match="logits that are not finite"):
        write_openvino(spoilt, tmp_path / "model.xml", exported_lstn.images)
    assert sorted(contents(tmp_path)) == ["spoilt.onnx"]
