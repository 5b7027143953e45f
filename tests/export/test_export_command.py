import os
import re
import signal
import sys
import time
from pathlib import Path

import onnx
import pytest
from command import Ran, RunLstn
from rich.console import Console
from small_models import Exported

from lstn.export.tensorrt.build_progress import Progress
from lstn.files import sha256_of
from lstn.formats.inspection import training_of
from lstn.formats.plan_file import read_sidecar
from lstn.install import install_line
from lstn.machine.gpu import Gpu
from lstn.nn.checkpoint import Training, write_checkpoint

_NUMBER = r"\d\.\de[-+]\d\d"
EXPORTED = (
    r"model\.onnx  0\.\d MB  64 images against PyTorch: "
    rf"largest logit difference {_NUMBER}, top-1 agreement 100 %, drift {_NUMBER} px"
)


def write_run(exported: Exported, name: str, *, data: str = "digits") -> Path:
    """Write runs/<name> with the weights of `exported`."""
    checkpoint = Path("runs") / name / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, exported.model, exported.contract, Training(data, 0, 1, 0.5))
    return checkpoint


@pytest.fixture(autouse=True)
def run_folder(
    exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """Stand in an empty folder with one run, on a machine without a GPU, and export in no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", tuple)
    if "real_exporter" not in request.fixturenames:
        proto = onnx.load(exported_lstn.path)
        monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: proto)
    return write_run(exported_lstn, "first").parent


@pytest.fixture
def real_exporter() -> None:
    """Ask for the exporter itself, where another test takes what it made before."""


def made() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.is_file())


def said(ran: Ran) -> list[str]:
    """What a command says beside what it is doing."""
    return [line for line in ran.err.splitlines() if not line.startswith(("exporting ", "building ", "writing "))]


@pytest.mark.usefixtures("real_exporter")
def test_the_newest_run_becomes_model_onnx(run_lstn: RunLstn, exported_lstn: Exported) -> None:
    ran = run_lstn("export", "--engine", "onnx")
    working = f"exporting lstn + {exported_lstn.contract.backbone}, and comparing with PyTorch"
    assert (ran.code, ran.err.splitlines()[:2]) == (0, ["newest run: runs/first", working])
    assert re.fullmatch(EXPORTED + r"\n", ran.out)
    assert made() == ["model.onnx"]
    assert training_of(Path("model.onnx")) == Training("digits", 0, 1, 0.5)
    proto = onnx.load("model.onnx")
    del proto.metadata_props[1:]
    assert proto.SerializeToString(deterministic=True) == exported_lstn.path.read_bytes()


def test_a_run_is_named_by_its_folder_or_checkpoint(run_lstn: RunLstn, run_folder: Path) -> None:
    ran = run_lstn("export", run_folder, "--out", "there")
    assert (ran.code, said(ran)) == (0, [])
    assert ran.out.startswith("there/model.onnx  ")
    assert run_lstn("export", run_folder / "checkpoint.safetensors").code == 0
    assert Path("there/model.onnx").read_bytes() == Path("model.onnx").read_bytes()


def test_the_newest_run_is_the_one_written_last(run_lstn: RunLstn, run_folder: Path, exported_lstn: Exported) -> None:
    older = write_run(exported_lstn, "z-older")
    os.utime(older, (1, 1))
    assert said(run_lstn("export")) == ["newest run: runs/first"]


def test_plans_for_named_gpus_need_none(run_lstn: RunLstn) -> None:
    ran = run_lstn("export", "--engine", "trt-rtx", "--target", "sm86,sm89", "--batch-profile", "1,2,4")
    assert ran.code == 0
    onnx_line, plan_line, sidecar_line = ran.out.splitlines()
    assert re.match(EXPORTED, onnx_line)
    assert re.fullmatch(
        r"model\.plan  \d\.\d MB  TensorRT for RTX 1\.\S+, fp32, sm86, sm89, batch 1 to 4, fastest at 2", plan_line
    )
    described = r"model\.plan\.json  \d\.\d kB  what model\.plan is; keep the two together"
    elsewhere = r"; not compared with model\.onnx, because this machine has no GPU of sm86, sm89"
    assert re.fullmatch(described + elsewhere, sidecar_line)
    assert made() == ["model.onnx", "model.plan", "model.plan.json"]
    assert read_sidecar(Path("model.plan")).onnx_sha256 == sha256_of(Path("model.onnx"))


def test_a_plan_with_two_profiles_and_its_log(run_lstn: RunLstn) -> None:
    profiles = ("--batch-profile", "1,1,1", "--batch-profile", "2,8,32")
    ran = run_lstn(
        *("export", "--engine", "trt-rtx", "--target", "sm89"),
        *profiles,
        "--level",
        1,
        "--workspace",
        64,
        *("--build-log", "logs/build.txt"),
    )
    assert (ran.code, said(ran)) == (0, ["newest run: runs/first"])
    _, plan_line, _, log_line = ran.out.splitlines()
    assert plan_line.endswith(", fp32, sm89, batch 1; 2 to 32, fastest at 8")
    assert re.fullmatch(r"logs/build\.txt  \d+\.\d kB  what TensorRT said of the build|logs.*MB.*", log_line)
    assert read_sidecar(Path("model.plan")).profiles == ((1, 1, 1), (2, 8, 32))
    assert "level=1" in Path("logs/build.txt").read_text().splitlines()[0]
    assert "workspace_mib=64" in Path("logs/build.txt").read_text().splitlines()[0]


def test_ctrl_c_keeps_the_older_plan_and_the_new_onnx_file(
    run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch, exported_lstn: Exported
) -> None:
    plan = ("export", "--engine", "trt-rtx", "--target", "sm89")
    assert run_lstn(*plan).code == 0
    before = {path.name: path.read_bytes() for path in Path().glob("model.plan*")}
    build = Progress.start

    def pressed(self: Progress, name: str, parent: str | None, steps: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        build(self, name, parent, steps)

    monkeypatch.setattr(Progress, "start", pressed)
    other = onnx.load(exported_lstn.path)
    other.producer_name = "another"
    monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: other)
    ran = run_lstn(*plan)
    assert ran.code == 130
    assert said(ran)[1:] == [
        "stopped; model.onnx is whole, and a model.plan from before is as it was",
        "warning: model.plan was built from another model than model.onnx; build it again, or remove it",
    ]
    assert re.match(EXPORTED, ran.out)
    assert {path.name: path.read_bytes() for path in Path().glob("model.plan*")} == before
    assert made() == ["model.onnx", "model.plan", "model.plan.json"]


def test_a_terminal_sees_how_far_it_is(run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(stderr=True, force_terminal=True, width=200)
    monkeypatch.setattr("lstn.cli.display.screen.messages", lambda: screen)
    ran = run_lstn("export", "--engine", "trt-rtx", "--target", "sm89")
    assert ran.code == 0
    assert "building for sm89" in ran.err
    assert "Building engine" in ran.err
    assert re.search(r"[1-9]\d%", ran.err)
    assert "building" not in ran.out


def test_tensorrt_without_a_gpu_still_leaves_a_checked_onnx_file(run_lstn: RunLstn) -> None:
    ran = run_lstn("export", "--engine", "trt")
    assert ran.code == 1
    assert re.match(EXPORTED, ran.out)
    assert made() == ["model.onnx"]
    assert said(ran)[1:] == [
        "error: model.onnx is written and checked; TensorRT needs an NVIDIA GPU, and this machine has none",
        "  run it here with: lstn infer images/ --engine model.onnx; "
        "build for another GPU with: lstn export --engine trt-rtx --target sm89",
    ]


def test_tensorrt_that_is_not_installed_still_leaves_a_checked_onnx_file(
    run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", lambda: (Gpu("NVIDIA L4", "sm89", 24_000),))
    for engine, module in (("trt", "tensorrt"), ("trt-rtx", "tensorrt_rtx")):
        monkeypatch.setitem(sys.modules, module, None)
        ran = run_lstn("export", "--engine", engine)
        assert ran.code == 1
        assert f"model.onnx is written and checked; {module} is not installed" in ran.err
        assert ran.err.endswith(f"--engine model.onnx; run: {install_line(engine)}\n")
        assert made() == ["model.onnx"]


def test_tensorrt_for_rtx_without_gpu_and_target_still_leaves_a_checked_onnx_file(run_lstn: RunLstn) -> None:
    ran = run_lstn("export", "--engine", "trt-rtx")
    assert ran.code == 1
    assert "model.onnx is written and checked; TensorRT for RTX has no GPU here to build for" in ran.err
    assert "add --target sm89, or another: it builds for sm75" in ran.err
    assert made() == ["model.onnx"]


def test_a_failed_build_still_leaves_a_checked_onnx_file(run_lstn: RunLstn) -> None:
    ran = run_lstn("export", "--engine", "trt-rtx", "--target", "sm75")
    assert ran.code == 1
    assert "model.onnx is written and checked; TensorRT for RTX" in ran.err
    assert "not supported" in ran.err
    assert made() == ["model.onnx"]


def test_a_plan_of_another_model_is_never_left_in_silence(
    run_lstn: RunLstn, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_lstn("export", "--engine", "trt-rtx", "--target", "sm89").code == 0
    plan = Path("model.plan").read_bytes()
    assert "warning" not in run_lstn("export", "--engine", "trt").err  # the same model: still its plan
    other = onnx.load(exported_lstn.path)
    other.producer_name = "another"
    monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: other)
    warning = "warning: model.plan was built from another model than model.onnx; build it again, or remove it"
    for engine, code in (("trt", 1), ("onnx", 0)):
        ran = run_lstn("export", "--engine", engine)
        assert (ran.code, said(ran)[1]) == (code, warning)
    assert Path("model.plan").read_bytes() == plan
    assert "warning" not in run_lstn("export", "--engine", "trt-rtx", "--target", "sm89").err


def test_a_plan_is_built_of_an_onnx_file_alone(
    run_lstn: RunLstn, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("torch", "onnx", "onnxruntime"):  # what an edge device needn't have
        monkeypatch.setitem(sys.modules, module, None)
    Path("model.int8.onnx").write_bytes(exported_lstn.path.read_bytes())
    ran = run_lstn("export", "model.int8.onnx", "--engine", "trt-rtx", "--target", "sm89")
    assert (ran.code, said(ran)) == (0, [])
    assert made() == ["model.int8.onnx", "model.int8.plan", "model.int8.plan.json"]
    ran = run_lstn("export", "model.int8.onnx", "--engine", "trt")
    assert ran.code == 1
    assert ran.err.startswith("error: TensorRT needs an NVIDIA GPU")
    ran = run_lstn("export", "model.int8.onnx")
    assert ran.code == 2
    assert "model.int8.onnx is an ONNX file already" in ran.err


def test_an_onnx_file_that_is_none(run_lstn: RunLstn) -> None:
    ran = run_lstn("export", "none.onnx", "--engine", "trt-rtx", "--target", "sm89")
    assert (ran.code, said(ran)[0]) == (2, "error: none.onnx: no such file")


def test_a_data_set_that_is_gone_is_told(run_lstn: RunLstn, exported_lstn: Exported) -> None:
    ran = run_lstn("export", write_run(exported_lstn, "folder", data="folder:gone"))
    assert ran.code == 0
    assert "warning: gone: no such folder; comparing on the embedded digits instead" in ran.err
    assert re.match(EXPORTED, ran.out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "sm89"], "--batch-profile, --target and the options of a build are for plans"),
        (["--batch-profile", "1,8,32"], "--batch-profile, --target and the options of a build are for plans"),
        (["--level", "0"], "--batch-profile, --target and the options of a build are for plans"),
        (["--workspace", "64"], "--batch-profile, --target and the options of a build are for plans"),
        (["--dla", "0"], "--batch-profile, --target and the options of a build are for plans"),
        (["--hardware-compatible"], "--batch-profile, --target and the options of a build are for plans"),
        (["--version-compatible"], "--batch-profile, --target and the options of a build are for plans"),
        (["--build-log", "log"], "--batch-profile, --target and the options of a build are for plans"),
        (["--engine", "trt-rtx", "--level", "6"], "--level: expected 5 or less"),
        (["--engine", "trt-rtx", "--workspace", "0"], "--workspace: expected 1 or more"),
        (["--engine", "trt-rtx", "--hardware-compatible"], "--hardware-compatible is for --engine trt;"),
        (["--engine", "trt-rtx", "--version-compatible"], "--version-compatible is for --engine trt;"),
        (["--engine", "trt-rtx", "--dla", "0"], "--dla is for --engine trt,"),
        (["--engine", "trt", "--dla", "0"], "--dla takes one batch size"),
        (["--engine", "trt", "--batch-profile", "1,8,8", "--batch-profile", "1,8,8"], "the same batch sizes twice"),
        (["--engine", "trt-rtx", "--target", "sm90"], "TensorRT for RTX can't build for sm90\n  it builds for sm75"),
        (["--engine", "trt-rtx", "--target", "ada"], "expected compute capabilities such as sm89"),
        (["--engine", "trt-rtx", "--target", "sm89", "--batch-profile", "8,1,2"], "1 <= MIN <= OPT <= MAX"),
        (["--engine", "trt", "--target", "sm89"], "--target is for --engine trt-rtx"),
        (["runs/none"], "runs/none: no such file\n  name a run's folder or a checkpoint"),
        (["runs"], "runs: no checkpoint.safetensors here"),
        (["--engine", "tpu"], "tpu"),
    ],
)
def test_wrong_use_makes_nothing(run_lstn: RunLstn, arguments: list[str], message: str) -> None:
    ran = run_lstn("export", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert made() == []


def test_no_run_says_how_to_make_one(run_lstn: RunLstn, run_folder: Path) -> None:
    (run_folder / "checkpoint.safetensors").unlink()
    ran = run_lstn("export")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "error: there is no run under ./runs\n  make one with: lstn train --loc lstn --model effnet-b0\n"
    )


def test_a_damaged_checkpoint_makes_nothing(run_lstn: RunLstn, run_folder: Path) -> None:
    checkpoint = run_folder / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    ran = run_lstn("export")
    assert ran.code == 1
    assert "not a safetensors file, or cut off" in ran.err
    assert made() == []


def test_an_export_that_differs_makes_nothing(
    run_lstn: RunLstn, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(exported_lstn.path)
    (weight,) = [tensor for tensor in proto.graph.initializer if tensor.name == "backbone.features.0.weight"]
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 2, weight.name))
    monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: proto)
    ran = run_lstn("export", "--engine", "trt-rtx", "--target", "sm89")
    assert ran.code == 1
    assert "the exported model differs from PyTorch" in ran.err
    assert made() == []


def test_a_place_that_cannot_be_written(run_lstn: RunLstn) -> None:
    Path("file").write_text("in the way")
    ran = run_lstn("export", "--out", "file")
    assert ran.code == 1
    assert "cannot write file/model.onnx" in ran.err
