import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from command import RunLstn
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from small_models import LABELS, SIDE, Exported
from tiny_fixtures import built_plan, make_tiny
from tritonclient.grpc import model_config_pb2 as schema

from lstn.contract import Contract, Loc
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.export.triton.to_triton import Served, check_profiles, config_text, write_triton
from lstn.files import sha256_of
from lstn.formats.onnx_file import read_model
from lstn.formats.plan_file import Flavour, Sidecar, Tensor, read_sidecar, sidecar_path

__all__ = ["built_plan", "make_tiny"]

TYPES = {
    onnx.TensorProto.UINT8: schema.TYPE_UINT8,
    onnx.TensorProto.FLOAT: schema.TYPE_FP32,
    onnx.TensorProto.FLOAT16: schema.TYPE_FP16,
}
PLAN_TYPES = {"UINT8": schema.TYPE_UINT8, "FLOAT": schema.TYPE_FP32}


def parse(text: str) -> schema.ModelConfig:
    """Read config.pbtxt by Triton's own schema: an unknown field, enumeration or type is an error."""
    return text_format.Parse(text, schema.ModelConfig())


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Path]:
    """Write a plan that nobody can run, with the sidecar of one that full TensorRT built."""

    def make(name: str = "model.plan", **changed: object) -> Path:
        plan = tmp_path / name
        plan.write_bytes(b"ftrt" + os.urandom(100))
        sidecar = Sidecar(
            contract=Contract(Loc.LSTN, "cnn", (SIDE, SIDE), LABELS),
            plan_sha256=sha256_of(plan),
            onnx_sha256="0" * 64,
            flavour=Flavour.TRT,
            version="10.3.0",
            targets=("sm87",),
            profiles=((1, 8, 32),),
            precision="fp16",
            inputs=(Tensor("pixels", "UINT8", (-1, SIDE, SIDE, 3)),),
            outputs=(Tensor("logits", "FLOAT", (-1, 10)), Tensor("theta", "FLOAT", (-1, 2, 3))),
        )
        sidecar_path(plan).write_text(replace(sidecar, **changed).to_json())  # type: ignore[arg-type]
        return plan

    return make


def test_an_onnx_file_is_told_as_it_is(exported: Exported, tmp_path: Path) -> None:
    version = write_triton(exported.path, tmp_path / "repository")
    assert version == tmp_path / "repository" / "model" / "1"
    assert files_of(tmp_path / "repository") == ["model/1/model.onnx", "model/config.pbtxt", "model/labels.txt"]
    served = version / "model.onnx"
    assert served.read_bytes() == exported.path.read_bytes()
    graph = onnx.load(served).graph
    config = parse((version.parent / "config.pbtxt").read_text())
    assert (config.name, config.platform, config.max_batch_size) == ("model", "onnxruntime_onnx", 32)
    for told, found in ((config.input, graph.input), (config.output, graph.output)):
        assert [(each.name, each.data_type) for each in told] == [
            (each.name, TYPES[each.type.tensor_type.elem_type]) for each in found
        ]
        assert [list(each.dims) for each in told] == [
            [dim.dim_value for dim in each.type.tensor_type.shape.dim][1:] for each in found
        ]
    assert {each.name: each.label_filename for each in config.output if each.label_filename} == {"logits": "labels.txt"}
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, schema.ModelInstanceGroup.KIND_CPU)]


def test_warm_up_sends_what_the_model_takes(exported_lstn: Exported, tmp_path: Path) -> None:
    config = parse((write_triton(exported_lstn.path, tmp_path / "r").parent / "config.pbtxt").read_text())
    assert [sample.batch_size for sample in config.model_warmup] == [1, 32]
    assert len({sample.name for sample in config.model_warmup}) == 2
    for sample in config.model_warmup:
        (name,) = sample.inputs
        assert (name, list(sample.inputs[name].dims)) == ("pixels", [SIDE, SIDE, 3])
        assert sample.inputs[name].data_type == schema.TYPE_UINT8
        assert sample.inputs[name].WhichOneof("input_data_type") == "zero_data"


def test_a_plan_is_told_by_its_sidecar(make_plan: Callable[..., Path], tmp_path: Path) -> None:
    plan = make_plan("best.plan", profiles=((1, 1, 1), (2, 8, 16)))
    version = write_triton(plan, tmp_path / "repository")
    assert files_of(version.parent) == ["1/model.plan", "1/model.plan.json", "config.pbtxt", "labels.txt"]
    sidecar = read_sidecar(version / "model.plan")  # its hash holds there too
    config = parse((version.parent / "config.pbtxt").read_text())
    assert (config.name, config.platform, config.max_batch_size) == ("best", "tensorrt_plan", 16)
    told = [(each.name, each.data_type, tuple(each.dims)) for each in (*config.input, *config.output)]
    found = [(each.name, PLAN_TYPES[each.dtype], each.shape[1:]) for each in (*sidecar.inputs, *sidecar.outputs)]
    assert told == found
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.profile)) == (2, schema.ModelInstanceGroup.KIND_GPU, ["0", "1"])
    assert config.optimization.cuda.graphs
    assert list(config.dynamic_batching.preferred_batch_size) == [1, 8]
    assert [sample.batch_size for sample in config.model_warmup] == [1, 8, 16]
    assert not group.secondary_devices


def test_a_plan_for_the_dla_names_its_core(make_plan: Callable[..., Path], tmp_path: Path) -> None:
    version = write_triton(make_plan(profiles=((1, 1, 1),), dla_core=1), tmp_path / "r")
    config = parse((version.parent / "config.pbtxt").read_text())
    (group,) = config.instance_group
    assert (group.count, config.optimization.cuda.graphs) == (1, False)
    kind = schema.ModelInstanceGroup.SecondaryDevice.KIND_NVDLA
    assert [(device.kind, device.device_id) for device in group.secondary_devices] == [(kind, 1)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"flavour": Flavour.TRT_RTX}, "Triton runs plans of TensorRT"),
        ({"profiles": ((8, 8, 8),)}, "no profile takes a batch of 1,"),
        ({"profiles": ((1, 1, 1), (4, 8, 16))}, "no profile takes a batch of 2,"),
        ({"inputs": (Tensor("pixels", "UINT8", (1, SIDE, SIDE, 3)),)}, "Triton batches along a first dimension"),
        ({"inputs": (Tensor("pixels", "FP4", (-1, SIDE, SIDE, 3)),)}, "is FP4 of"),
        ({"outputs": (Tensor("scores", "FLOAT", (-1, 10)),)}, "has no output logits"),
    ],
)
def test_a_plan_that_triton_cannot_serve(
    make_plan: Callable[..., Path], tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        write_triton(make_plan(**changed), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_a_real_plan_of_tensorrt_for_rtx_is_refused(built_plan: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="TensorRT for RTX built it"):
        write_triton(built_plan, tmp_path / "repository")


@given(
    st.lists(
        st.lists(st.integers(1, 12), min_size=3, max_size=3).map(sorted).map(tuple), min_size=1, max_size=4, unique=True
    )
)
def test_profiles_are_taken_if_each_batch_has_one(profiles: list[tuple[int, int, int]]) -> None:
    largest = max(high for _, _, high in profiles)
    gaps = [n for n in range(1, largest + 1) if not any(low <= n <= high for low, _, high in profiles)]
    if gaps:
        with pytest.raises(UsageError, match=f"no profile takes a batch of {gaps[0]},"):
            check_profiles(profiles)
    else:
        check_profiles(profiles)


HOSTILE = ("plain", 'say "hi"', "back\\slash", "two\nlines", "löwe", "虎", "\u2028", "nul\0", "a:b", "tab\t", "'")


def test_each_label_keeps_its_line(make_tiny: Callable[..., object], tmp_path: Path) -> None:
    tiny = make_tiny(labels=HOSTILE)
    version = write_triton(tiny.path, tmp_path / "r")
    lines = (version.parent / "labels.txt").read_bytes().split(b"\n")
    assert [line.decode() for line in lines] == [
        "plain", 'say "hi"', "back\\slash", "two\\nlines", "löwe", "虎", "\\u2028", "nul\\x00", "a:b", "tab\\t", "'", ""
    ]  # fmt: skip


@given(st.text(min_size=1).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text)))
def test_names_come_out_as_they_went_in(name: str) -> None:
    contract = Contract(Loc.NONE, "cnn", (SIDE, SIDE), LABELS)
    served = Served(
        "onnxruntime_onnx", contract, (Tensor(name, "uint8", (-1, 4)),), (Tensor("logits", "float32", (-1, 2)),)
    )
    config = parse(config_text(served, name))
    assert (config.name, config.input[0].name) == (name, name)
    assert {*config.model_warmup[0].inputs} == {name}


@pytest.mark.parametrize("name", ['a" platform: "python', "a}\nbackend: 1", "spaces and ünicode", "model.int8"])
def test_a_file_may_be_called_anything(name: str, exported_lstn: Exported, tmp_path: Path) -> None:
    model = tmp_path / f"{name}.onnx"
    model.write_bytes(exported_lstn.path.read_bytes())
    version = write_triton(model, tmp_path / "r")
    assert version == tmp_path / "r" / name / "1"
    config = parse((version.parent / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.platform) == (name, "", "onnxruntime_onnx")


def test_a_name_that_is_no_text(exported_lstn: Exported, tmp_path: Path) -> None:
    model = tmp_path / os.fsdecode(b"m\xff.onnx")
    model.write_bytes(exported_lstn.path.read_bytes())
    with pytest.raises(UsageError, match="is not text"):
        write_triton(model, tmp_path / "r")
    assert list(tmp_path.iterdir()) == [model]


def test_other_weights_become_the_next_version(make_plan: Callable[..., Path], tmp_path: Path) -> None:
    repository = tmp_path / "r"
    first = write_triton(make_plan(), repository)
    config = (first.parent / "config.pbtxt").read_bytes()
    before = (first / "model.plan").read_bytes()
    (repository / "model" / "9").mkdir()
    (repository / "model" / "010").mkdir()  # which Triton doesn't read as a version
    second = write_triton(make_plan(), repository)
    assert second == repository / "model" / "10"
    assert read_sidecar(second / "model.plan").plan_sha256 != sha256_of(first / "model.plan")
    assert (first / "model.plan").read_bytes() == before
    assert (first.parent / "config.pbtxt").read_bytes() == config


@pytest.mark.parametrize(
    "changed",
    [
        {"profiles": ((1, 8, 16),)},
        {"contract": Contract(Loc.LSTN, "cnn", (SIDE, SIDE), tuple(reversed(LABELS)))},
    ],
)
def test_another_model_of_the_same_name_is_refused(
    make_plan: Callable[..., Path], tmp_path: Path, changed: dict[str, object]
) -> None:
    repository = tmp_path / "r"
    write_triton(make_plan(), repository)
    before = files_of(repository)
    with pytest.raises(UsageError, match="Triton reads one for all versions"):
        write_triton(make_plan(**changed), repository)
    assert files_of(repository) == before
    assert files_of(tmp_path) == ["model.plan", "model.plan.json", *(f"r/{name}" for name in before)]


def test_what_somebody_put_there_is_left_alone(exported_lstn: Exported, tmp_path: Path) -> None:
    (tmp_path / "r" / "model").mkdir(parents=True)
    (tmp_path / "r" / "model" / "notes").write_text("mine")
    with pytest.raises(UsageError, match=r"its config\.pbtxt is another"):
        write_triton(exported_lstn.path, tmp_path / "r")
    assert files_of(tmp_path) == ["r/model/notes"]


def test_several_models_share_a_repository(
    exported_lstn: Exported, make_plan: Callable[..., Path], tmp_path: Path
) -> None:
    write_triton(exported_lstn.path, tmp_path / "r")
    write_triton(make_plan("other.plan"), tmp_path / "r")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["model", "other"]


@pytest.mark.parametrize("stage", ["new repository", "new model", "new version"])
def test_a_full_disk_leaves_nothing(
    stage: str, exported_lstn: Exported, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    repository = tmp_path / "r"
    if stage == "new model":
        repository.mkdir()
    elif stage == "new version":
        write_triton(exported_lstn.path, repository)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with full_disk(20_000), pytest.raises(LstnError, match=r"cannot write .*: File too large"):
        write_triton(exported_lstn.path, repository)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_file_in_the_way(exported_lstn: Exported, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("mine")
    with pytest.raises(LstnError, match="cannot write"):
        write_triton(exported_lstn.path, tmp_path / "r")
    assert (tmp_path / "r").read_text() == "mine"
    assert files_of(tmp_path) == ["r"]


def test_the_command_adds_an_onnx_file(
    run_lstn: RunLstn, exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.int8.onnx").write_bytes(exported_lstn.path.read_bytes())
    ran = run_lstn("export", "model.int8.onnx", "--triton", "repository")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "repository/model.int8/1  serve it with: tritonserver --model-repository=repository\n"
    assert read_model(Path("repository/model.int8/1/model.onnx"))[0] == exported_lstn.contract


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "trt-rtx", "--target", "sm89"], "Triton runs no model of --engine trt-rtx"),
        (["--engine", "openvino"], "Triton runs no model of --engine openvino"),
        (["--engine", "trt", "--batch-profile", "8,8,8"], "no profile takes a batch of 1,"),
    ],
)
def test_what_triton_cannot_serve_is_refused_before_it_is_built(
    run_lstn: RunLstn, exported_lstn: Exported, tmp_path: Path, arguments: list[str], message: str
) -> None:
    ran = run_lstn("export", exported_lstn.path, *arguments, "--triton", tmp_path / "r")
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert not (tmp_path / "r").exists()


def test_a_plan_that_cannot_be_built_here_makes_no_repository(
    run_lstn: RunLstn, exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", tuple)
    ran = run_lstn("export", exported_lstn.path, "--engine", "trt", "--triton", tmp_path / "r")
    assert (ran.code, ran.out) == (1, "")
    assert "TensorRT needs an NVIDIA GPU" in ran.err
    assert not (tmp_path / "r").exists()


def test_the_sidecar_is_what_the_fixture_says(make_plan: Callable[..., Path]) -> None:
    assert json.loads(sidecar_path(make_plan()).read_text())["flavour"] == "trt"
