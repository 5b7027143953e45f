"""What OpenVINO can't have, and where it can't be written: each refused in one line that says what to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from command import RunLstn
from onnx import TensorProto, helper, numpy_helper
from small_models import Exported

from lstn.errors import ArtifactError, LstnError
from lstn.export.openvino.to_openvino import write_openvino
from lstn.export.plugin.node import fuse_sampler


def test_what_lstn_did_not_write_is_refused(exported_lstn: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    onnx.save(proto, tmp_path / "apart.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(ArtifactError, match="keeps weights in other files"):
        write_openvino(tmp_path / "apart.onnx", tmp_path / "model.xml", exported_lstn.images)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match="no contract, so it wasn't written by lstn"):
        write_openvino(tmp_path / "foreign.onnx", tmp_path / "model.xml", exported_lstn.images)


def test_what_openvino_cannot_read_is_one_line(exported_lstn: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Rely"
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(ArtifactError, match="OpenVINO can't read it") as caught:
        write_openvino(tmp_path / "odd.onnx", tmp_path / "model.xml", exported_lstn.images)
    assert "\n" not in caught.value.message


def test_the_fused_sampler_is_refused_with_its_cure(run_lstn: RunLstn, exported_lstn: Exported, tmp_path: Path) -> None:
    fused, out = tmp_path / "fused.onnx", tmp_path / "out"
    proto = onnx.load(exported_lstn.path)
    fuse_sampler(proto)
    onnx.save(proto, fused)
    ran = run_lstn("export", fused, "--engine", "openvino", "--out", out)
    assert (ran.code, ran.out, out.exists()) == (1, "", False)
    assert ran.err.endswith(
        f"error: {fused}: samples by lstn::AffineGridSample, and OpenVINO knows no operator but ONNX's own\n"
        "  export the model again with: lstn export --engine openvino --sampler native\n"
    )


def test_fp8_is_refused_with_what_runs_it(run_lstn: RunLstn, tmp_path: Path, exported_lstn: Exported) -> None:
    model = onnx.load(exported_lstn.path)
    (relu, *_) = (node for node in model.graph.node if node.op_type == "Relu")
    ends = [numpy_helper.from_array(np.array(1, np.float32), "scale8")]
    ends.append(helper.make_tensor("zero8", TensorProto.FLOAT8E4M3FN, [], [0.0]))
    model.graph.initializer.extend(ends)
    source, relu.input[0] = relu.input[0], "again8"
    place = list(model.graph.node).index(relu)
    model.graph.node.insert(place, helper.make_node("DequantizeLinear", ["low8", "scale8", "zero8"], ["again8"]))
    model.graph.node.insert(place, helper.make_node("QuantizeLinear", [source, "scale8", "zero8"], ["low8"]))
    model.opset_import[0].version = 19
    path, out = tmp_path / "model.fp8.onnx", tmp_path / "out"
    onnx.save(model, path)
    ran = run_lstn("export", path, "--engine", "openvino", "--out", out)
    assert (ran.code, ran.out, out.exists()) == (1, "", False)
    assert ran.err.endswith(
        f"error: {path}: OpenVINO computes nothing in 8-bit floats on a CPU; TensorRT does\n"
        f"  use int8 here, or: lstn export {path} --engine trt\n"
    )


def test_a_place_that_is_taken_leaves_nothing(exported_lstn: Exported, tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    xml.mkdir()
    with pytest.raises(LstnError, match=r"cannot write .*model\.xml"):
        write_openvino(exported_lstn.path, xml, exported_lstn.images)
    assert [path.name for path in tmp_path.iterdir()] == ["model.xml"]
