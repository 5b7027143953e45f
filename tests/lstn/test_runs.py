"""Which run and which engine a command means."""

import json
import os
import sys
from pathlib import Path

import onnx
import pytest
from command import RunLstn
from small_models import exported_once, warping_model
from tiny import MakeTiny, Tiny

from lstn.cli.parsing.engine_choice import chosen_engine, chosen_engines
from lstn.contract import Loc
from lstn.errors import LstnError, UsageError
from lstn.formats.training_record import TRAINING_KEY
from lstn.health.run_files import CHECKPOINT, LAST, RUNS, checkpoint_of, run_folder
from lstn.nn.checkpoint import Training, write_checkpoint


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_with(name: str, *files: str, age: int = 0) -> Path:
    """Make a run's folder, `age` seconds old."""
    made = RUNS / name
    made.mkdir(parents=True, exist_ok=True)
    for file in files:
        (made / file).touch()
        os.utime(made / file, (1_000_000_000 - age,) * 2)
    return made


def test_the_newest_run_with_an_epoch_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    run_with("old", CHECKPOINT, LAST, age=20)
    run_with("new", CHECKPOINT, LAST, age=10)
    assert checkpoint_of(None) == Path("runs/new", CHECKPOINT)
    assert capsys.readouterr().err == "newest run: runs/new\n"
    run_with("begun", LAST)
    assert checkpoint_of(None) == Path("runs/new", CHECKPOINT)
    assert capsys.readouterr().err == "newest run with a finished epoch: runs/new; runs/begun has none yet\n"


@pytest.mark.parametrize(
    "named", [None, "runs/begun", "runs/begun/last.safetensors", "runs/begun/checkpoint.safetensors"]
)
def test_a_run_that_was_stopped_in_its_first_epoch_can_go_on(named: str | None) -> None:
    run_with("begun", LAST)
    with pytest.raises(LstnError, match="runs/begun has not finished its first epoch") as refused:
        checkpoint_of(None if named is None else Path(named))
    assert refused.value.hint == "continue with: lstn train --resume runs/begun"


def test_the_doctor_says_of_such_a_run_what_every_command_says(run_lstn: RunLstn) -> None:
    run_with("begun", LAST)
    ran = run_lstn("doctor", "runs/begun")
    assert ran.code == 1
    assert "runs/begun has not finished its first epoch" in ran.err
    assert "lstn train --resume runs/begun" in ran.err


def test_without_a_run_the_command_that_makes_one_is_named() -> None:
    with pytest.raises(LstnError, match=r"there is no run under \./runs") as refused:
        checkpoint_of(None)
    assert "lstn train" in refused.value.hint


@pytest.mark.parametrize("file", [CHECKPOINT, LAST, "metrics.jsonl"])
def test_a_file_of_a_run_names_the_run(file: str) -> None:
    run = run_with("a", CHECKPOINT, LAST)
    assert run_folder(run / file) == run_folder(run) == run
    assert checkpoint_of(run / file) == checkpoint_of(run) == run / CHECKPOINT


def test_what_is_not_a_run_is_said() -> None:
    Path("photos").mkdir()
    with pytest.raises(UsageError, match=r"photos: no checkpoint\.safetensors here"):
        checkpoint_of(Path("photos"))
    with pytest.raises(UsageError, match="gone: no such file"):
        checkpoint_of(Path("gone"))
    run_with("mine", CHECKPOINT)
    with pytest.raises(UsageError, match="mine: no such file") as refused:
        checkpoint_of(Path("mine"))
    assert refused.value.hint == "did you mean runs/mine?"


def test_the_one_engine_here_is_taken(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    Path("foreign.onnx").write_bytes(b"not a model")
    Path("pom.xml").write_text("<?xml version='1.0'?><project/>")
    assert chosen_engine(None) == Path("model.onnx")
    assert capsys.readouterr().err == "engine: model.onnx\n"
    assert chosen_engines(None) == chosen_engines([]) == [Path("model.onnx")]
    assert chosen_engines([Path("a.plan"), Path("b.xml")]) == [Path("a.plan"), Path("b.xml")]


def test_of_several_engines_one_must_be_named(make_tiny: MakeTiny) -> None:
    make_tiny("a.onnx")
    make_tiny("b.onnx")
    with pytest.raises(UsageError, match=r"there are 2 engines here: a\.onnx, b\.onnx") as refused:
        chosen_engine(None)
    assert refused.value.hint == "choose one, such as: --engine a.onnx"


def test_without_an_engine_and_a_run_both_ways_are_named() -> None:
    with pytest.raises(UsageError, match="there is no engine here, and no run"):
        chosen_engine(None)


def test_a_kind_names_the_one_engine_of_it(make_tiny: MakeTiny, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tiny("a.onnx")
    assert plan.parent == Path.cwd()
    assert chosen_engine(Path("onnx")) == Path("a.onnx")
    assert chosen_engine(Path("trt-rtx")) == Path("model.plan")
    assert capsys.readouterr().err == "engine: a.onnx\nengine: model.plan\n"
    with pytest.raises(UsageError, match="there is no engine for trt here") as refused:
        chosen_engine(Path("trt"))  # the plan is of the other TensorRT
    assert refused.value.hint == "make one with: lstn export --engine trt"
    make_tiny("b.onnx")
    with pytest.raises(UsageError, match=r"there are 2 engines here: a\.onnx, b\.onnx"):
        chosen_engine(Path("onnx"))
    assert chosen_engines([Path("trt-rtx"), Path("b.onnx")]) == [Path("model.plan"), Path("b.onnx")]


def test_a_run_that_is_called_as_a_kind_is_the_run(make_tiny: MakeTiny) -> None:
    run_with("a", CHECKPOINT).rename("onnx")
    os.utime(make_tiny("model.onnx").path.rename("onnx/model.onnx"))
    make_tiny("b.onnx")
    assert chosen_engine(Path("onnx")) == Path("onnx/model.onnx")


@pytest.mark.parametrize("kind", ["openvino", "trt", "trt-rtx"])
def test_an_engine_that_is_not_here_names_the_export_that_makes_it(kind: str, run_lstn: RunLstn) -> None:
    run_with("a", CHECKPOINT)
    Path("images").mkdir()
    Path("images/a.png").touch()
    for command in (["infer", "images"], ["serve"]):
        ran = run_lstn(*command, "--engine", kind)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == f"error: there is no engine for {kind} here\n  make one with: lstn export --engine {kind}\n"


def test_the_onnx_file_beside_a_checkpoint_is_taken_while_it_is_the_younger_one(
    make_tiny: MakeTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with("a", CHECKPOINT, age=0)
    engine = make_tiny("model.onnx").path.rename(run / "model.onnx")
    made: list[Path] = []
    monkeypatch.setattr(
        "lstn.export.onnx.from_checkpoint.export_checkpoint", lambda checkpoint, onnx_file: made.append(onnx_file)
    )
    monkeypatch.setattr("lstn.nn.checkpoint.load_checkpoint", lambda path: path)
    assert chosen_engine(run) == chosen_engine(run / CHECKPOINT) == chosen_engine(None) == run / "model.onnx"
    assert made == []
    os.utime(engine.relative_to(Path.cwd()) if engine.is_absolute() else engine, (999_999_000,) * 2)
    assert chosen_engine(run) == run / "model.onnx"
    assert made == [run / "model.onnx"]


def test_the_onnx_file_of_another_epoch_is_made_again_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    model, contract = warping_model(Loc.NONE)
    run = run_with("a")
    made: list[Path] = []
    monkeypatch.setattr(
        "lstn.export.onnx.from_checkpoint.export_checkpoint", lambda checkpoint, onnx_file: made.append(onnx_file)
    )
    onnx_file = onnx.load(exported_once(Loc.NONE, "cnn").path)
    records = {metadata.key: metadata.value for metadata in onnx_file.metadata_props}
    onnx.helper.set_model_props(onnx_file, records | {TRAINING_KEY: Training("digits", 0, 3, 0.5).to_json()})
    onnx.save(onnx_file, run / "model.onnx")
    for epoch, wanted in ((3, []), (4, [run / "model.onnx"])):
        write_checkpoint(run / CHECKPOINT, model, contract, Training("digits", 0, epoch, 0.5))
        os.utime(run / CHECKPOINT, (1_000_000_000,) * 2)  # long before the other
        assert chosen_engine(run) == run / "model.onnx"
        assert made == wanted


def test_commands_take_what_names_a_run(run_lstn: RunLstn, tiny: Tiny) -> None:
    run = run_with("a", LAST)
    for command in (["export"], ["export", run], ["inspect", run], ["evaluate", run], ["calibrate", run]):
        ran = run_lstn(*command)
        assert ran.code == 1, ran.err
        assert "lstn train --resume runs/a" in ran.err
    ran = run_lstn("doctor", tiny.path.name)
    assert ran.code == 2
    assert "model.onnx is not a run\n  see what it is with: lstn inspect model.onnx" in ran.err
    Path("photos").mkdir()
    ran = run_lstn("doctor", "photos")
    assert ran.code == 2
    assert "images are looked at by: lstn doctor --data folder:photos" in ran.err


def test_infer_and_serve_need_no_engine_by_name(run_lstn: RunLstn, tiny: Tiny) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save("a.png")
    ran = run_lstn("infer", "a.png", "--format", "json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)[0]["path"] == "a.png"
    Path("model.onnx").rename("other.onnx")
    ran = run_lstn("bench", "--seconds", "0.1")
    assert ran.code == 0, ran.err
    assert "other.onnx" in ran.out


def test_a_foreign_file_where_the_model_would_go_is_said_before_anything_is_loaded(
    run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # or it isn't said that it is loaded
    Path("mine.safetensors").write_bytes(b"a checkpoint")
    Path("mine.onnx").write_bytes(b"not of lstn")
    Path("a.png").touch()
    ran = run_lstn("infer", "a.png", "--engine", "mine.safetensors")
    assert ran.code == 2
    assert "error: mine.onnx: is there already, and is not an ONNX model that lstn wrote" in ran.err
    assert "elsewhere: lstn export mine.safetensors --out FOLDER" in ran.err
    assert "loading" not in ran.err
    assert Path("mine.onnx").read_bytes() == b"not of lstn"
