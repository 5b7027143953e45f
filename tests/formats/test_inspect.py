import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from command import RunLstn
from safetensors.numpy import save
from tiny import MakeTiny, Tiny

from lstn.contract import METADATA_KEY
from lstn.errors import ArtifactError, UsageError
from lstn.files import sha256_of
from lstn.formats.inspection import inspect_file
from lstn.formats.openvino_file import Record, bin_path
from lstn.formats.plan_file import sidecar_path
from lstn.formats.training_record import TRAINING_KEY, Training

TRAINING = Training("folder:/photos", 3, 1, 0.75, images="ab12")


@pytest.fixture
def checkpoint(tiny: Tiny, tmp_path: Path) -> Path:
    tensors = {
        "conv.weight": np.zeros((4, 3, 3, 3), np.float32),
        "norm.running_mean": np.zeros(4, np.float32),
        "norm.num_batches_tracked": np.zeros((), np.int64),
        "head.bias": np.zeros(5, np.float32),
    }
    metadata = {METADATA_KEY: tiny.contract.to_json(), TRAINING_KEY: TRAINING.to_json()}
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(save(tensors, metadata))
    return path


def test_a_checkpoint(checkpoint: Path, tiny: Tiny) -> None:
    found = inspect_file(checkpoint)
    assert (found.kind, found.contract, found.problem) == ("checkpoint", tiny.contract, None)
    assert found.facts["tensors"] == "4"
    assert found.facts["parameters"] == str(4 * 27 + 5)
    assert found.facts["dtypes"] == "F32, I64"
    assert found.training == TRAINING
    assert json.loads(found.facts["training"])["seed"] == 3


def test_a_checkpoint_cut_off_is_told_how_much_is_missing(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-7])
    assert "cut off, 7 bytes are missing" in str(inspect_file(checkpoint).problem)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**40) + b"{",
        struct.pack("<Q", 8) + b"{not js}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b'{"a": 1}',
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":"x","data_offsets":[0,4]}}      ',
        struct.pack("<Q", 70) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}'.ljust(70),
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
)
def test_a_damaged_header_is_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="not a safetensors file, or its header is damaged"):
        inspect_file(path)


def test_a_foreign_checkpoint_shows_and_is_called_foreign(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"a": np.zeros(3, np.float32)}))
    found = inspect_file(path)
    assert found.facts["parameters"] == "3"
    assert "no contract" in str(found.problem)


def test_the_state_of_a_run_says_where_its_model_is(tmp_path: Path, run_lstn: RunLstn) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(save({"model.a": np.zeros(3, np.float32)}, {"lstn.state": "{}"}))  # as run_state does
    found = inspect_file(path)
    assert (found.kind, found.contract, found.problem) == ("state of a training run", None, None)
    assert found.facts["model"] == "checkpoint.safetensors next to it"
    assert run_lstn("inspect", path).code == 0
    path.write_bytes(path.read_bytes()[:-2])
    assert "cut off, 2 bytes are missing" in str(inspect_file(path).problem)


def test_an_onnx_model(tiny: Tiny) -> None:
    found = inspect_file(tiny.path)
    assert (found.kind, found.contract, found.problem) == ("ONNX model", tiny.contract, None)
    assert found.operators["MatMul"] == 2


def test_a_model_that_answers_what_its_contract_does_not_say_is_called_so(
    make_tiny: MakeTiny, run_lstn: RunLstn
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        told = json.loads(model.metadata_props[0].value)
        del model.metadata_props[:]
        told |= {"version": 4, "theta": "tps", "iterations": 1, "at": "input", "view_hw": None, "crop_hw": None}
        model.metadata_props.add(key=METADATA_KEY, value=json.dumps(told))

    path = make_tiny(edit=edit).path
    assert "its contract says logits float32 (N, " in str(inspect_file(path).problem)
    assert run_lstn("inspect", path).code == 1


def test_a_foreign_onnx_model_shows_and_is_called_foreign(make_tiny: MakeTiny) -> None:
    def edit(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]

    found = inspect_file(make_tiny(edit=edit).path)
    assert found.operators["MatMul"] == 2
    assert "no contract" in str(found.problem)


def test_a_plan(plan: Path) -> None:
    found = inspect_file(plan)
    assert found.kind == "TensorRT for RTX plan"
    assert found.problem is None
    assert found.contract is not None
    assert found.facts["runs on"] == "sm86, sm89"
    assert found.facts["batch"] == "1 to 8, fastest at 4"
    assert "DLA core" not in found.facts


def test_a_plan_that_was_built_in_a_special_way(plan: Path) -> None:
    """Of full TensorRT in truth, whose plans alone have these; only the header says otherwise here."""
    special = {
        "gpu": "NVIDIA L4",
        "targets": ["sm89"],
        "profiles": [[1, 1, 1], [2, 8, 32]],
        "hardware_compatible": True,
        "version_compatible": True,
        "dla_core": 1,
    }
    path = sidecar_path(plan)
    path.write_text(json.dumps(json.loads(path.read_text()) | special))
    facts = inspect_file(plan).facts
    assert facts["runs on"] == "Ampere and newer GPUs; built on sm89 (NVIDIA L4)"
    assert facts["built by"].endswith(" and runs with newer ones")
    assert (facts["batch"], facts["DLA core"]) == ("1; 2 to 32, fastest at 8", "1")


def test_a_plan_without_its_sidecar_shows_its_header(plan: Path) -> None:
    sidecar_path(plan).unlink()
    found = inspect_file(plan)
    assert found.facts["built by"].startswith("TensorRT for RTX ")
    assert "missing" in str(found.problem)


@pytest.fixture
def xml(tiny: Tiny) -> Path:
    """The tiny model as OpenVINO writes it, with what lstn notes of it."""
    path = tiny.path.with_suffix(".xml")
    model = ov.Core().read_model(tiny.path)
    ov.save_model(model, path, compress_to_fp16=False)
    record = Record(tiny.contract, sha256_of(bin_path(path)), sha256_of(tiny.path), "2026.4.1-1", "fp32")
    model.set_rt_info(record.to_json(), METADATA_KEY)
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def test_an_openvino_model(xml: Path, tiny: Tiny, run_lstn: RunLstn) -> None:
    found = inspect_file(xml)
    assert (found.kind, found.contract, found.problem) == ("OpenVINO model", tiny.contract, None)
    assert found.operators["MatMul"] == 2
    assert found.facts["built by"] == "OpenVINO 2026.4.1-1"
    assert found.facts["SHA-256 of weights"] == sha256_of(bin_path(xml))
    assert [(each.name, each.dtype, each.shape) for each in (*found.inputs, *found.outputs)] == [
        ("pixels", "uint8", (-1, 8, 8, 3)),
        ("logits", "float32", (-1, 4)),
        ("theta", "float32", (-1, 2, 3)),
    ]
    ran = run_lstn("inspect", xml)
    assert (ran.code, ran.err) == (0, "")
    assert "theta float32 (N, 2, 3)" in ran.out


def test_an_openvino_model_without_its_weights_shows_and_fails(xml: Path, run_lstn: RunLstn) -> None:
    bin_path(xml).write_bytes(b"")
    assert "describes other weights" in str(inspect_file(xml).problem)
    bin_path(xml).unlink()
    ran = run_lstn("inspect", xml)
    assert (ran.code, "OpenVINO model" in ran.out) == (1, True)
    assert ran.err.startswith(f"error: {bin_path(xml)}: missing")


def test_a_foreign_openvino_model_shows_and_is_called_foreign(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "other.xml"
    ov.save_model(ov.Core().read_model(tiny.path), path)
    found = inspect_file(path)
    assert found.operators["MatMul"] == 2
    assert "no contract" in str(found.problem)


def test_weights_of_openvino_point_to_their_graph(xml: Path) -> None:
    with pytest.raises(ArtifactError) as raised:
        inspect_file(bin_path(xml))
    assert raised.value.hint == "it may hold the weights of model.xml; inspect that"


def test_the_kind_is_in_the_bytes_not_in_the_name(plan: Path, tiny: Tiny, checkpoint: Path) -> None:
    for path, kind in ((plan, "TensorRT for RTX plan"), (tiny.path, "ONNX model"), (checkpoint, "checkpoint")):
        renamed = path.with_name("something")
        renamed.write_bytes(path.read_bytes())
        assert inspect_file(renamed).kind == kind


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(90), bytes(99), b"ftrt"])
def test_another_kind_of_file_is_one_clear_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as raised:
        inspect_file(path)
    assert raised.value.message in (
        f"{path}: no checkpoint, ONNX model, OpenVINO model or TensorRT plan",
        f"{path}: not a TensorRT plan",
    )


def test_a_sidecar_points_to_its_plan(plan: Path) -> None:
    with pytest.raises(ArtifactError) as raised:
        inspect_file(sidecar_path(plan))
    assert raised.value.hint == "it describes model.plan; inspect that"


def test_no_file_and_folders_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"):
        inspect_file(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        inspect_file(tmp_path / "nothing")


def test_the_command_shows_all_three(run_lstn: RunLstn, plan: Path, tiny: Tiny, checkpoint: Path) -> None:
    for path, words in (
        (checkpoint, ("checkpoint", "parameters  113")),
        (tiny.path, ("ONNX model", "pixels uint8 (N, 8, 8, 3)", "theta float32 (N, 2, 3)", "MatMul      2")),
        (plan, ("TensorRT for RTX plan", "sm86, sm89", "SHA-256", "logits float32 (N, 4)")),
    ):
        ran = run_lstn("inspect", path)
        assert (ran.code, ran.err) == (0, "")
        assert all(word in ran.out for word in (*words, "localizer  lstn", "4: ant, bee, cat, dog"))
        assert json.loads(run_lstn("inspect", path, "--format", "json").out)["contract"]["loc"] == "lstn"


def test_the_command_shows_what_it_can_and_fails(run_lstn: RunLstn, plan: Path) -> None:
    sidecar_path(plan).unlink()
    ran = run_lstn("inspect", plan)
    assert ran.code == 1
    assert "built by" in ran.out
    assert ran.err.startswith(f"error: {plan}.json: missing")


def test_labels_cant_drive_a_terminal(run_lstn: RunLstn, make_tiny: MakeTiny) -> None:
    out = run_lstn("inspect", make_tiny(labels=("\x1b[31mred", "two\nlines", "\u202ex")).path).out
    assert "\\x1b[31mred" in out
    assert out.replace("\n", "").isprintable()


def test_nothing_heavy_is_imported(tiny: Tiny) -> None:
    code = (
        "import sys; from pathlib import Path; from lstn.formats.inspection import inspect_file; "
        f"inspect_file(Path({str(tiny.path)!r})); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'safetensors', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
