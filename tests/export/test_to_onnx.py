import copy
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from small_models import Exported, rounding, warping_model

import lstn
from lstn.contract import METADATA_KEY, Contract, Loc
from lstn.errors import LstnError, VerificationError
from lstn.export.onnx import to_onnx
from lstn.export.onnx.to_onnx import onnx_from_torch, write_onnx
from lstn.formats.node_names import ModelPart, part_of
from lstn.images import Pixels


def test_onnx_runtime_agrees_with_pytorch_for_every_localizer(exported: Exported) -> None:
    agreement = exported.agreement
    assert agreement.images == 32
    assert agreement.top1 == 1.0
    assert agreement.logit_difference < 10 * rounding(exported.model, exported.images)
    if exported.contract.loc is Loc.NONE:
        assert agreement.drift_px is None
    else:
        assert agreement.drift_px is not None
        assert agreement.drift_px < 1e-3


def test_the_temperature_divides_the_logits_in_the_graph(exported_lstn: Exported, tmp_path: Path) -> None:
    cold, warm = exported_lstn.model, copy.deepcopy(exported_lstn.model)
    warm.contract = replace(cold.contract, temperature=2.5)
    agreement = write_onnx(warm, tmp_path / "warm.onnx", warm.contract, exported_lstn.images)
    assert agreement.logit_difference < 10 * rounding(cold, exported_lstn.images)
    found = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
            None, {"pixels": exported_lstn.images}
        )
        for path in (exported_lstn.path, tmp_path / "warm.onnx")
    ]
    np.testing.assert_allclose(found[1][0], found[0][0] / 2.5, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[1][1], found[0][1])
    (last,) = (node for node in onnx.load(tmp_path / "warm.onnx").graph.node if "logits" in node.output)
    assert part_of(last.name) is ModelPart.BACKBONE


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_batch_is_dynamic(exported: Exported, size: int) -> None:
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"pixels": exported.images[:size]})
    assert outputs[0].shape == (size, 10)
    assert [value.shape for value in outputs[1:]] == ([] if exported.contract.loc is Loc.NONE else [(size, 2, 3)])


def test_theta_warps(exported_lstn: Exported) -> None:
    session = onnxruntime.InferenceSession(str(exported_lstn.path), providers=["CPUExecutionProvider"])
    (theta,) = session.run(["theta"], {"pixels": exported_lstn.images})
    assert np.abs(theta - np.eye(2, 3, dtype=np.float32)).max(axis=(1, 2)).min() > 0.1
    assert theta.std(axis=0).max() > 0.01  # and differently for each image


def test_inputs_outputs_and_contract_travel_in_the_file(exported: Exported) -> None:
    proto = onnx.load(exported.path)
    onnx.checker.check_model(proto, full_check=True)
    (pixels,) = proto.graph.input
    assert pixels.name == "pixels"
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dims = pixels.type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims[1:]] == [48, 48, 3]
    outputs = ["logits"] if exported.contract.loc is Loc.NONE else ["logits", "theta"]
    assert [value.name for value in proto.graph.output] == outputs
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert Contract.from_json(metadata[METADATA_KEY], source="test") == exported.contract


def test_versions_are_old_enough_for_every_tensorrt(exported: Exported) -> None:
    proto = onnx.load(exported.path)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert proto.ir_version == 8
    assert not proto.functions


def test_the_sampler_says_what_it_is(exported_lstn: Exported) -> None:
    (node,) = [node for node in onnx.load(exported_lstn.path).graph.node if node.op_type == "GridSample"]
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert found == {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 0}


def test_the_graph_computes_no_strides(exported: Exported) -> None:
    operators = {node.op_type for node in onnx.load(exported.path).graph.node}
    assert not operators & {"Range", "Shape", "ScatterND", "AffineGrid", "BatchNormalization"}


def test_no_trace_of_the_machine_is_in_the_file(exported: Exported) -> None:
    data = exported.path.read_bytes()
    for trace in (Path.cwd(), Path(torch.__file__).parent, Path(lstn.__file__).parent, Path.home()):
        if len(str(trace)) > 3:  # a home of "/" is in any file
            assert str(trace).encode() not in data
    assert b"stack_trace" not in data
    assert not any(node.metadata_props or node.doc_string for node in onnx.load(exported.path).graph.node)


def test_the_same_weights_make_the_same_bytes(exported_lstn: Exported) -> None:
    model, contract = warping_model(Loc.LSTN)
    again = onnx_from_torch(model, contract).SerializeToString(deterministic=True)
    assert hashlib.sha256(again).digest() == hashlib.sha256(exported_lstn.path.read_bytes()).digest()


def test_the_exporter_says_nothing(images: Pixels, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, contract = warping_model(Loc.STN)
    write_onnx(model, tmp_path / "model.onnx", contract, images[:4])
    assert capfd.readouterr() == ("", "")


def test_a_model_in_training_mode_is_refused(exported_lstn: Exported) -> None:
    model, contract = warping_model(Loc.LSTN)
    with pytest.raises(ValueError, match="training mode"):
        onnx_from_torch(model.train(), contract)


class _Sampler(torch.nn.Module):
    def __init__(self, options: dict[str, str | bool]) -> None:
        super().__init__()
        self.options = options

    def forward(self, images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(images, grid, **self.options)  # type: ignore[arg-type]


class _Broken(torch.nn.Module):
    def __init__(self, **sampler: str | bool) -> None:
        super().__init__()
        self.sampler = sampler
        self.transformer = _Sampler(sampler)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = pixels.to(torch.float32).permute(0, 3, 1, 2)
        theta = images.mean((1, 2, 3))[:, None].repeat(1, 6).view(-1, 2, 3)
        if not self.sampler:  # what no exporter can trace
            return (images.mean((2, 3)) if images.sum().item() > 0 else images.amax((2, 3))), theta
        grid = images[:, :2].permute(0, 2, 3, 1)
        return self.transformer(images, grid).mean((2, 3)), theta


_CONTRACT = Contract(Loc.LSTN, "cnn", (8, 8), ("a", "b", "c"))


@pytest.mark.parametrize(
    "sampler",
    [
        {"mode": "nearest", "padding_mode": "zeros", "align_corners": False},
        {"mode": "bilinear", "padding_mode": "border", "align_corners": False},
        {"mode": "bilinear", "padding_mode": "zeros", "align_corners": True},
    ],
)
def test_another_sampler_is_refused(sampler: dict[str, str | bool]) -> None:
    with pytest.raises(LstnError, match="the exported sampler says"):
        onnx_from_torch(_Broken(**sampler).eval(), _CONTRACT)


def test_a_model_that_cannot_be_traced_is_an_error_of_one_line() -> None:
    with pytest.raises(LstnError, match=r"can't export lstn \+ cnn to ONNX: .") as caught:
        onnx_from_torch(_Broken().eval(), _CONTRACT)
    assert "\n" not in caught.value.message


def test_a_file_that_fails_the_check_never_gets_its_name(
    exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(exported_lstn.path)
    (bias,) = [
        tensor for tensor in proto.graph.initializer if tensor.name.startswith("backbone.") and tensor.dims == [10]
    ]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
    monkeypatch.setattr(to_onnx, "onnx_from_torch", lambda *_, **__: proto)
    path = tmp_path / "model.onnx"
    with pytest.raises(VerificationError, match="differs from PyTorch"):
        write_onnx(exported_lstn.model, path, exported_lstn.contract, exported_lstn.images)
    assert list(tmp_path.iterdir()) == []
    path.write_text("older")
    with pytest.raises(VerificationError):
        write_onnx(exported_lstn.model, path, exported_lstn.contract, exported_lstn.images)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(
    exported_lstn: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full_disk: Callable[[int], AbstractContextManager[None]],
) -> None:
    proto = onnx.load(exported_lstn.path)
    monkeypatch.setattr(to_onnx, "onnx_from_torch", lambda *_, **__: proto)
    with full_disk(50_000), pytest.raises(LstnError, match=r"cannot write .*model\.onnx"):
        write_onnx(exported_lstn.model, tmp_path / "model.onnx", exported_lstn.contract, exported_lstn.images)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_onnx_file_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf ends at 2 GB, and doesn't say so: a weight of that size is only declared here."""
    model, contract = warping_model(Loc.NONE)
    proto = onnx.ModelProto()
    proto.graph.initializer.add(name="backbone.classifier", data_type=onnx.TensorProto.FLOAT, dims=[1024, 520, 1024])
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: SimpleNamespace(model_proto=proto))
    with pytest.raises(LstnError, match=r"would be 2\.18 GB, more than the format's 2 GB") as caught:
        write_onnx(model, tmp_path / "model.onnx", contract, np.zeros((1, 48, 48, 3), np.uint8))
    assert "smaller model, or smaller images" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
