"""The fused form of model.onnx: another shape of the same model, and no more."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command import RunLstn
from host_kernels import ROOT, torch_answer
from onnx import TensorProto, helper
from small_models import SIDE, Exported, ExportOnce, warping_model

from lstn.contract import METADATA_KEY, THETA, Loc
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.export.onnx.to_onnx import onnx_from_torch, write_onnx
from lstn.export.onnx.verify_onnx import verify_onnx
from lstn.export.plugin.node import fuse_sampler
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_file import read_model, read_onnx
from lstn.machine.gpu import Device
from lstn.nn.checkpoint import Training, write_checkpoint
from lstn.runtime.engines.opening import open_engine

LOCS = (Loc.STN, Loc.VSTN, Loc.LSTN)


@pytest.fixture(scope="module")
def fuse_once(tmp_path_factory: pytest.TempPathFactory, export_once: ExportOnce) -> ExportOnce:
    made: dict[Loc, Exported] = {}

    def fuse(loc: Loc) -> Exported:
        if loc not in made:
            native = export_once(loc)
            path = tmp_path_factory.mktemp(f"fused-{loc.value}") / "model.onnx"
            proto = onnx.load(native.path)
            fuse_sampler(proto)
            path.write_bytes(proto.SerializeToString(deterministic=True))
            agreement = verify_onnx(path, native.model, native.contract, native.images)
            made[loc] = Exported(native.model, native.contract, path, agreement, native.images)
        return made[loc]

    return fuse


@pytest.fixture(params=LOCS, ids=lambda loc: loc.value)
def fused(request: pytest.FixtureRequest, fuse_once: ExportOnce) -> Exported:
    return fuse_once(request.param)


@pytest.fixture
def fused_stn(fuse_once: ExportOnce) -> Exported:
    return fuse_once(Loc.STN)


def run(path: Path, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": images})


def test_it_was_compared_with_pytorch_as_the_native_form_is(fused: Exported, export_once: ExportOnce) -> None:
    native = export_once(fused.contract.loc)
    assert fused.agreement == native.agreement
    assert fused.agreement.top1 == 1.0


@pytest.mark.parametrize("size", [1, 2, 7])
def test_onnx_runtime_computes_the_very_same(fused: Exported, export_once: ExportOnce, size: int) -> None:
    native = export_once(fused.contract.loc)
    for found, wanted in zip(run(fused.path, fused.images[:size]), run(native.path, native.images[:size]), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_wrong_sampler_in_the_function_is_found(
    fused_stn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(fused_stn.path)
    (sampler,) = [node for node in proto.functions[0].node if node.op_type == "GridSample"]
    (mode,) = [entry for entry in sampler.attribute if entry.name == "mode"]
    mode.s = b"nearest"
    monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: proto)
    with pytest.raises(LstnError, match="differs from PyTorch"):
        write_onnx(fused_stn.model, tmp_path / "model.onnx", fused_stn.contract, fused_stn.images, fused=True)
    assert list(tmp_path.iterdir()) == []


def test_the_graph_holds_one_node_where_grid_and_sampler_were(fused: Exported, export_once: ExportOnce) -> None:
    proto, native = onnx.load(fused.path), onnx.load(export_once(fused.contract.loc).path)
    onnx.checker.check_model(proto, full_check=True)
    inside = (ModelPart.GRID, ModelPart.SAMPLER)
    (node,) = [node for node in proto.graph.node if part_of(node.name) in inside]
    assert (node.domain, node.op_type, node.name) == ("lstn", "AffineGridSample", "sampler/AffineGridSample")
    assert list(node.output) == [node.name]
    assert node.input[1] == THETA
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    assert attributes == {"plugin_namespace": b"lstn", "plugin_version": b"1", "aot": 1}
    rest = [entry.name for entry in native.graph.node if part_of(entry.name) not in inside]
    assert [entry.name for entry in proto.graph.node if entry.name != node.name] == rest
    read = {name for entry in proto.graph.node for name in entry.input}
    assert {tensor.name for tensor in proto.graph.initializer} <= read


def test_versions_are_old_enough_for_every_reader(fused: Exported) -> None:
    proto = onnx.load(fused.path)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18), ("lstn", 1)]
    assert proto.ir_version == 8


def test_the_function_is_of_standard_operators_and_named_by_part(fused: Exported) -> None:
    (function,) = onnx.load(fused.path).functions
    assert (function.domain, function.name) == ("lstn", "AffineGridSample")
    assert [(entry.domain, entry.version) for entry in function.opset_import] == [("", 18)]
    assert {node.domain for node in function.node} == {""}
    (sampler,) = [node for node in function.node if node.op_type == "GridSample"]
    found = {entry.name: helper.get_attribute_value(entry) for entry in sampler.attribute}
    assert found == {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 0}
    assert sampler.name == "sampler/GridSample"
    named = {part_of(node.name) for node in function.node if node.op_type not in ("Constant", "CastLike")}
    assert named == {ModelPart.GRID, ModelPart.SAMPLER}


def test_the_same_weights_make_the_same_bytes(fused_stn: Exported) -> None:
    model, contract = warping_model(Loc.STN)
    again = onnx_from_torch(model, contract, fused=True).SerializeToString(deterministic=True)
    assert again == fused_stn.path.read_bytes()


def test_nor_do_they_depend_on_the_process(export_once: ExportOnce) -> None:
    """Python orders a set of strings differently each time that it starts."""
    fuse = "import sys, onnx; from lstn.export.plugin.node import fuse_sampler; proto = onnx.load(sys.argv[1]); "
    fuse += "fuse_sampler(proto); sys.stdout.buffer.write(proto.SerializeToString(deterministic=True))"
    command = [sys.executable, "-c", fuse, str(export_once(Loc.STN).path)]
    made = {
        subprocess.run(command, env=os.environ | paths, check=True, capture_output=True).stdout
        for paths in ({"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)} for seed in ("1", "2", "3"))
    }
    assert len(made) == 1


def function_alone(fused: Exported, dtype: int) -> onnxruntime.InferenceSession:
    """Make a model of nothing but the node and its function: X (N, 3, SIDE, SIDE), theta (N, 2, 3) -> Y."""
    proto = onnx.load(fused.path)
    (node,) = [node for node in proto.graph.node if node.domain == "lstn"]
    node.input[0], node.output[0] = "X", "Y"
    shape = ["N", 3, SIDE, SIDE]
    inputs = [
        helper.make_tensor_value_info("X", dtype, shape),
        helper.make_tensor_value_info(THETA, TensorProto.FLOAT, ["N", 2, 3]),
    ]
    graph = helper.make_graph([node], "alone", inputs, [helper.make_tensor_value_info("Y", dtype, shape)])
    model = helper.make_model(graph, opset_imports=proto.opset_import, functions=proto.functions, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("dtype", "rounding"), [(TensorProto.FLOAT, 0), (TensorProto.FLOAT16, 2.0**-12)])
def test_the_function_is_affine_grid_and_grid_sample(fused_stn: Exported, dtype: int, rounding: float) -> None:
    """In float16 too, whose coordinates and sums are float32: what comes out is rounded once."""
    random = np.random.default_rng(0)
    images = random.random((20, 3, SIDE, SIDE)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    theta = (np.eye(2, 3) + random.normal(0, 0.5, (20, 2, 3))).astype(np.float32)
    (found,) = function_alone(fused_stn, dtype).run(None, {"X": images, THETA: theta})
    assert found.dtype == images.dtype
    assert np.abs(found - torch_answer(images, theta)).max() < 2e-5 + rounding


def test_inspect_shows_the_node(fused_stn: Exported, run_lstn: RunLstn) -> None:
    counted = read_onnx(fused_stn.path).operators
    assert counted["lstn::AffineGridSample"] == 1
    assert "GridSample" not in counted
    ran = run_lstn("inspect", fused_stn.path)
    assert ran.code == 0
    assert "lstn::AffineGridSample" in ran.out
    assert read_model(fused_stn.path)[0] == fused_stn.contract


def test_weights_elsewhere_are_found_inside_the_function(fused_stn: Exported, tmp_path: Path) -> None:
    proto = onnx.load(fused_stn.path)
    constant = next(node for node in proto.functions[0].node if node.op_type == "Constant")
    tensor = constant.attribute[0].t
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ArtifactError, match="keeps weights in other files"):
        read_model(path)


def test_it_opens_like_any_other(fused: Exported) -> None:
    with open_engine(fused.path, device=Device.CPU, threads=1) as engine, torch.inference_mode():
        prediction = engine.infer(fused.images[:4])
        logits, theta = fused.model(torch.from_numpy(fused.images[:4]))
    np.testing.assert_allclose(prediction.logits, logits, rtol=1e-3, atol=1e-3)
    assert prediction.theta is not None
    np.testing.assert_allclose(prediction.theta, theta, atol=1e-4)


def reads_the_grid(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Neg", ["grid/Add_2"], ["logits2"], name="backbone/Neg"))


def grid_reads_pixels(graph: onnx.GraphProto) -> None:
    (add,) = [node for node in graph.node if node.name == "grid/Add_2"]
    add.input[0] = "input/Mul"


@pytest.mark.parametrize(("edit", "stray"), [(reads_the_grid, "grid/Add_2"), (grid_reads_pixels, "input/Mul")])
def test_a_grid_with_other_ties_is_not_fused(
    export_once: ExportOnce, edit: Callable[[onnx.GraphProto], None], stray: str
) -> None:
    proto = onnx.load(export_once(Loc.STN).path)
    edit(proto.graph)
    before = copy.deepcopy(proto)
    with pytest.raises(LstnError, match=f"can't be fused: .*{stray}"):
        fuse_sampler(proto)
    assert proto == before


def test_there_is_nothing_to_fuse_without_a_localizer() -> None:
    model, contract = warping_model(Loc.NONE)
    with pytest.raises(UsageError, match="loc none has no sampler to fuse"):
        onnx_from_torch(model, contract, fused=True)


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def _run_folder(self, fused_stn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        checkpoint = tmp_path / "runs" / "first" / "checkpoint.safetensors"
        checkpoint.parent.mkdir(parents=True)
        write_checkpoint(checkpoint, fused_stn.model, fused_stn.contract, Training("digits", 0, 1, 0.5))

    def test_it_writes_the_fused_form(self, run_lstn: RunLstn, fused_stn: Exported) -> None:
        ran = run_lstn("export", "--sampler", "fused")
        assert ran.code == 0
        assert "images against PyTorch" in ran.out
        written, expected = onnx.load("model.onnx"), onnx.load(fused_stn.path)
        assert written.graph == expected.graph
        said = {entry.key: entry.value for entry in written.metadata_props}
        assert said[METADATA_KEY] == fused_stn.contract.to_json()

    def test_tensorrt_for_rtx_builds_from_it(
        self, run_lstn: RunLstn, fused_stn: Exported, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proto = onnx.load(fused_stn.path)  # what the exporter makes is what the test before compares
        monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: proto)
        ran = run_lstn("export", "--sampler", "fused", "--engine", "trt-rtx", "--target", "sm89")
        assert (ran.code, ran.err.splitlines()[0]) == (0, "newest run: runs/first")
        assert Path("model.plan").stat().st_size > 10_000

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("there.onnx", "--engine", "trt-rtx", "--target", "sm89"), "there.onnx has its sampler already"),
            (("--engine", "openvino"), "OpenVINO knows no operator but ONNX's own"),
        ],
    )
    def test_where_it_cannot_be_had_it_is_refused(
        self, run_lstn: RunLstn, arguments: tuple[str, ...], message: str
    ) -> None:
        ran = run_lstn("export", *arguments, "--sampler", "fused")
        assert ran.code == 2
        assert message in ran.err
        assert not Path("model.onnx").exists()
