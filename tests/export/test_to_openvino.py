import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
from command import RunLstn
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from small_models import Exported, ExportOnce

from lstn.contract import Loc
from lstn.errors import ArtifactError, LstnError, VerificationError
from lstn.export.openvino.to_openvino import is_stale, write_openvino
from lstn.files import sha256_of
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.openvino_file import bin_path, read_pair
from lstn.images import Pixels
from lstn.install import install_line
from lstn.nn.checkpoint import Training, write_checkpoint
from lstn.warp import drift_px


class _Batches(CalibrationDataReader):
    def __init__(self, images: Pixels) -> None:
        self._batches: Iterator[dict[str, Pixels]] = iter([{"pixels": images[:16]}])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)


@pytest.fixture(scope="session")
def int8(export_once: ExportOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """L-STN with its backbone as Q/DQ: symmetric, per channel, biases left alone."""
    exported = export_once(Loc.LSTN)
    path = tmp_path_factory.mktemp("int8") / "model.int8.onnx"
    proto = onnx.load(exported.path)
    quantize_static(
        exported.path,
        path,
        _Batches(exported.images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm"],
        nodes_to_exclude=[node.name for node in proto.graph.node if part_of(node.name) is not ModelPart.BACKBONE],
        per_channel=True,
        reduce_range=True,  # 7 bits of the weights: without VNNI a CPU saturates sums of 8 by 8 bits
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    made = onnx.load(path)
    del made.metadata_props[:]
    made.metadata_props.extend(proto.metadata_props)
    onnx.save(made, path)
    return path


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


@pytest.mark.parametrize("space", [0, 100_000])
def test_a_full_disk_leaves_the_older_pair(
    exported_lstn: Exported,
    int8: Path,
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
    space: int,
) -> None:
    xml = tmp_path / "model.xml"
    with full_disk(space), pytest.raises(LstnError, match="cannot write"):
        write_openvino(exported_lstn.path, xml, exported_lstn.images)
    assert contents(tmp_path) == {}
    write_openvino(exported_lstn.path, xml, exported_lstn.images)
    before = contents(tmp_path)
    with full_disk(space), pytest.raises(LstnError, match="cannot write"):
        write_openvino(int8, xml, exported_lstn.images)
    assert contents(tmp_path) == before


def test_whatever_the_labels_are_the_contract_comes_back(exported_lstn: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    labels = ["0" * 64, "<&>\"'", "\x00\x1b[31m", "a\r\nb\tc", "\u202e\U0001f600", "\ud800", "]]>", "<!--", "é", " x "]
    contract = json.loads(proto.metadata_props[0].value) | {"labels": labels}
    proto.metadata_props[0].value = json.dumps(contract)
    path, xml = tmp_path / "model.onnx", tmp_path / "model.xml"
    onnx.save(proto, path)
    write_openvino(path, xml, exported_lstn.images)
    assert read_pair(xml)[0].contract.labels == tuple(labels)


def test_a_pair_says_which_onnx_file_it_is_of(exported_lstn: Exported, int8: Path, tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    assert not is_stale(xml, int8)  # there is none
    write_openvino(int8, xml, exported_lstn.images)
    assert not is_stale(xml, int8)
    assert is_stale(xml, exported_lstn.path)
    xml.write_text("<net/>")
    assert is_stale(xml, int8)


def test_the_description_appears_before_the_weights(
    exported_lstn: Exported, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whoever reads between the two finds a hash that the older weights don't have."""
    xml = tmp_path / "model.xml"
    write_openvino(exported_lstn.path, xml, exported_lstn.images)
    older, renamed = bin_path(xml).read_bytes(), []
    replace = Path.replace

    def watched(source: Path, target: Path) -> Path:
        result = replace(source, target)
        if Path(target) in (xml, bin_path(xml)):
            renamed.append(Path(target).name)
            if renamed == ["model.xml"]:
                assert bin_path(xml).read_bytes() == older
                with pytest.raises(ArtifactError, match="SHA-256 differs"):
                    read_pair(xml)
        return result

    monkeypatch.setattr(Path, "replace", watched)
    write_openvino(int8, xml, exported_lstn.images)
    assert renamed == ["model.xml", "model.bin"]
    assert read_pair(xml)[0].precision == "int8"


def test_an_onnx_file_alone_needs_neither_torch_nor_onnx(int8: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'onnx', 'safetensors'))); "
        f"sys.argv = ['lstn', 'export', {str(int8)!r}, '--engine', 'openvino', '--out', {str(tmp_path)!r}]; "
        "from lstn.cli.app import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stderr
    xml_line, bin_line = ran.stdout.splitlines()
    assert "model.int8.xml  " in xml_line
    assert "int8, 64 embedded digits, because its own images are not known, against model.int8.onnx" in xml_line
    assert bin_line.endswith("the weights of model.int8.xml; keep the two together")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.int8.bin", "model.int8.xml"]


def test_a_run_becomes_all_three_files_and_an_older_pair_is_told(
    run_lstn: RunLstn, exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(exported_lstn.path)
    monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: proto)
    monkeypatch.chdir(tmp_path)
    checkpoint = Path("runs/one/checkpoint.safetensors")
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, exported_lstn.model, exported_lstn.contract, Training("digits", 0, 1, 0.5))
    ran = run_lstn("export", "--engine", "openvino")
    assert (ran.code, ran.err.splitlines()[0]) == (0, "newest run: runs/one")
    assert [line.partition("  ")[0] for line in ran.out.splitlines()] == ["model.onnx", "model.xml", "model.bin"]
    proto.producer_name = "another"
    ran = run_lstn("export", "--engine", "onnx")
    assert (ran.code, "warning: model.xml was built from another model than model.onnx" in ran.err) == (0, True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    ran = run_lstn("export", "--engine", "openvino")
    assert ran.code == 1
    assert "model.onnx is written and checked; openvino is not installed" in ran.err
    assert ran.err.endswith(f"--engine model.onnx; run: {install_line('openvino')}\n")


def test_the_command_says_what_stands_in_the_way(
    run_lstn: RunLstn, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run_lstn("export", int8, "--engine", "openvino", "--batch", "1,8,32", "--out", tmp_path)
    assert (ran.code, "--batch" in ran.err) == (2, True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    ran = run_lstn("export", int8, "--engine", "openvino", "--out", tmp_path)
    assert (ran.code, f"{install_line('openvino')}" in ran.err) == (1, True)
    assert contents(tmp_path) == {}
