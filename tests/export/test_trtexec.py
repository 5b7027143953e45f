import os
import shlex
import subprocess
from pathlib import Path

import onnx
import pytest
from command import RunLstn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import SIDE, Exported

from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.export.plugin.node import fuse_sampler
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, Tuning
from lstn.export.tensorrt.to_plan import write_plan
from lstn.export.tensorrt.trtexec import script_path, write_script
from lstn.formats.plan_file import Flavour

PLAIN = ["--stronglyTyped", "--noTF32", "--profilingVerbosity=detailed", "--skipInference"]
FAKE = '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\ntouch "$SAVES"\nexit "$ANSWER"\n'
"""Stands for trtexec: says with what it was called, and writes the plan that it is to write."""


def shapes(low: int, optimum: int, high: int) -> list[str]:
    return [f"--{w}Shapes=pixels:{n}x{SIDE}x{SIDE}x3" for w, n in (("min", low), ("opt", optimum), ("max", high))]


def run_script(script: Path, *words: str, answer: int = 0) -> tuple[int, list[str]]:
    """Run the script from another folder by a real shell, with a fake of trtexec on the PATH."""
    tools = script.parent / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "trtexec").write_text(FAKE)
    (tools / "trtexec").chmod(0o755)
    plan = script.name.removesuffix(".trtexec.sh") + ".plan"
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "SAVES": f".{plan}.tmp", "ANSWER": str(answer)}
    ran = subprocess.run([script, *words], cwd="/", env=environment, capture_output=True, check=False)
    return ran.returncode, ran.stdout.decode(errors="surrogateescape").split("\0")[:-1]


@pytest.fixture
def model(exported_lstn: Exported, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported_lstn.path.read_bytes())
    return path


@pytest.mark.parametrize(
    ("profiles", "tuning", "wanted"),
    [
        ([(1, 8, 32)], Tuning(), shapes(1, 8, 32)),
        (
            [(1, 1, 1), (2, 8, 32)],
            Tuning(),
            ["--profile=0", *shapes(1, 1, 1), "--profile=1", *shapes(2, 8, 32)],
        ),
        (
            [(1, 2, 4)],
            Tuning(workspace_mib=64, level=5),
            [*shapes(1, 2, 4), "--memPoolSize=workspace:64", "--builderOptimizationLevel=5"],
        ),
        (
            [(1, 2, 4)],
            Tuning(hardware_compatible=True, version_compatible=True),
            [*shapes(1, 2, 4), "--hardwareCompatibilityLevel=ampere+", "--versionCompatible"],
        ),
        ([(8, 8, 8)], Tuning(dla_core=1), [*shapes(8, 8, 8), "--useDLACore=1", "--allowGPUFallback"]),
        (
            [(8, 8, 8)],
            Tuning(dla_core=0, level=0),
            [*shapes(8, 8, 8), "--builderOptimizationLevel=0", "--useDLACore=0", "--allowGPUFallback"],
        ),
    ],
)
def test_trtexec_is_asked_for_what_the_builder_would_ask(
    model: Path, profiles: list[tuple[int, int, int]], tuning: Tuning, wanted: list[str]
) -> None:
    write_script(model, profiles=tuple(BatchRange(*sizes) for sizes in profiles), tuning=tuning)
    code, words = run_script(script_path(model))
    files = ["--onnx=model.onnx", "--saveEngine=.model.plan.tmp", "--timingCacheFile=model.trtexec.cache"]
    assert (code, words) == (0, [*files, *PLAIN, *wanted])
    assert (model.parent / "model.plan").is_file()
    assert not (model.parent / ".model.plan.tmp").exists()


def test_tf32_is_trtexecs_own_default(model: Path) -> None:
    write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning(tf32=True))
    code, words = run_script(script_path(model))
    assert code == 0
    assert [word for word in PLAIN if word not in words] == ["--noTF32"]


def test_words_of_the_caller_go_to_trtexec(model: Path) -> None:
    write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning())
    assert run_script(script_path(model), "--verbose", "a b")[1][-2:] == ["--verbose", "a b"]


def test_a_build_that_fails_leaves_the_older_plan(model: Path) -> None:
    write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning())
    (model.parent / "model.plan").write_text("older")
    assert run_script(script_path(model), answer=3)[0] == 3
    assert (model.parent / "model.plan").read_text() == "older"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(name=st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=20))
@pytest.mark.filterwarnings("error")
def test_no_file_name_escapes_into_the_shell(name: str, exported_lstn: Exported, tmp_path: Path) -> None:
    folder = tmp_path / name.encode().hex()
    folder.mkdir(exist_ok=True)
    model = folder / f"{name}.onnx"
    model.write_bytes(exported_lstn.path.read_bytes())
    write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning())
    code, words = run_script(script_path(model))
    assert code == 0
    assert words[:2] == [f"--onnx={model.name}", f"--saveEngine=.{model.stem}.plan.tmp"]
    assert (folder / f"{model.stem}.plan").is_file()


@pytest.mark.parametrize("name", ["$(touch hit)", "`touch hit`", "a'; touch hit; '", "a\ntouch hit\n#", "-rf", '"$@"'])
def test_a_hostile_name_runs_nothing(name: str, exported_lstn: Exported, tmp_path: Path) -> None:
    model = tmp_path / f"{name}.onnx"
    model.write_bytes(exported_lstn.path.read_bytes())
    write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning())
    assert run_script(script_path(model))[0] == 0
    assert (tmp_path / f"{name}.plan").is_file()
    assert not list(tmp_path.rglob("hit"))
    assert shlex.split(script_path(model).read_text(), comments=True)  # a shell's own reader gets through


def test_a_name_that_is_no_text(exported_lstn: Exported, tmp_path: Path) -> None:
    model = tmp_path / os.fsdecode(b"m\xff.onnx")
    model.write_bytes(exported_lstn.path.read_bytes())
    with pytest.raises(LstnError, match="not text"):
        write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning())
    assert list(tmp_path.iterdir()) == [model]


def test_a_model_with_another_input_is_refused(exported_lstn: Exported, model: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = SIDE + 1
    onnx.save(proto, model)
    with pytest.raises(ArtifactError, match="as its contract says"):
        write_script(model, profiles=(BatchRange(1, 1, 1),), tuning=Tuning())
    assert not script_path(model).exists()


def test_a_batch_beyond_what_tensorrt_counts(model: Path) -> None:
    with pytest.raises(UsageError, match="more than TensorRT takes"):
        write_script(model, profiles=(BatchRange(1, 1, 999_999),), tuning=Tuning())


def test_the_command_needs_neither_tensorrt_nor_a_gpu(
    run_lstn: RunLstn, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    monkeypatch.setattr("lstn.export.tensorrt.targets.load_tensorrt", lambda _: pytest.fail("not needed"))
    ran = run_lstn(
        "export", "model.onnx", "--engine", "trt", "--script", "--hardware-compatible", "--batch-profile", "1,2,4"
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("model.trtexec.sh  ")
    assert ran.out.endswith("builds model.plan with trtexec; copy both to the device\n")
    words = run_script(model.parent / "model.trtexec.sh")[1]
    assert words[-4:] == [*shapes(1, 2, 4), "--hardwareCompatibilityLevel=ampere+"]
    assert sorted(path.name for path in model.parent.iterdir() if path.is_file()) == [
        "model.onnx",
        "model.plan",
        "model.trtexec.sh",
    ]


def test_a_fused_sampler_is_told_to_stay_unfused(run_lstn: RunLstn, exported_lstn: Exported, model: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    fuse_sampler(proto)
    onnx.save(proto, model)
    ran = run_lstn("export", model, "--engine", "trt", "--script")
    assert (ran.code, "trtexec can't compile the fused sampler" in ran.err) == (0, True)


def test_a_script_for_the_dla_says_which_trtexec_it_wants(run_lstn: RunLstn, model: Path) -> None:
    ran = run_lstn("export", model, "--engine", "trt", "--script", "--dla", "0", "--batch-profile", "8,8,8")
    assert (ran.code, "TensorRT 10 adds float16 flags for a DLA" in ran.err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "onnx", "--script"], "--script is for --engine trt"),
        (["--engine", "trt-rtx", "--script", "--target", "sm89"], "--script is for --engine trt"),
        (["--engine", "trt", "--script", "--build-log", "log"], "--build-log is for a build here"),
        (["--engine", "trt", "--script", "--triton", "there"], "--triton needs the plan itself"),
        (["--engine", "trt", "--script", "--target", "sm89"], "--target is for --engine trt-rtx"),
        (["--engine", "trt", "--script", "--dla", "0"], "--dla takes one batch size"),
    ],
)
def test_what_makes_no_sense_with_a_script(
    run_lstn: RunLstn, model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(model.parent)
    ran = run_lstn("export", "model.onnx", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("start", [b"PK\x03\x04 a checkpoint", b"\x00"])
def test_a_build_log_never_overwrites_what_is_none(run_lstn: RunLstn, model: Path, start: bytes) -> None:
    log = model.parent / "best.pt"
    log.write_bytes(start)
    ran = run_lstn("export", model, "--engine", "trt-rtx", "--target", "sm89", "--build-log", log)
    assert (ran.code, ran.out) == (2, "")
    assert "what is written there is a build log" in ran.err
    assert log.read_bytes() == start


def test_an_older_build_log_is_written_anew(model: Path) -> None:
    log = model.parent / "build.log"
    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 1, 1),), targets=("sm89",), log_file=log)
    for _ in range(2):
        write_plan(model, model.with_suffix(".plan"), settings)
    assert log.read_text().startswith("TensorRT for RTX")


def test_a_plan_is_no_run(run_lstn: RunLstn, tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_bytes(b"ftrt")
    ran = run_lstn("export", tmp_path / "model.plan")
    assert ran.code == 2
    assert "is a plan already" in ran.err
    assert "lstn infer images/ --engine" in ran.err


@pytest.mark.parametrize(
    ("profiles", "wanted"),
    [
        ([(1, 8, 32)], f"--shapes=pixels:8x{SIDE}x{SIDE}x3"),
        ([(1, 1, 1), (2, 16, 32)], f"--useProfile=1 --shapes=pixels:16x{SIDE}x{SIDE}x3"),
    ],
)
def test_the_script_says_how_to_measure_the_plan(
    model: Path, profiles: list[tuple[int, int, int]], wanted: str
) -> None:
    write_script(model, profiles=tuple(BatchRange(*sizes) for sizes in profiles), tuning=Tuning())
    tools = model.parent / "tools"
    tools.mkdir()
    (tools / "trtexec").write_text("#!/bin/sh\ntouch .model.plan.tmp\n")
    (tools / "trtexec").chmod(0o755)
    told = subprocess.check_output([script_path(model)], env={"PATH": f"{tools}:{os.environ['PATH']}"}, text=True)
    line = f"trtexec --loadEngine=model.plan {wanted} --useCudaGraph --infStreams=2"
    assert told == f"to measure its images/s:\n{line}\n"
