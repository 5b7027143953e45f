"""What `lstn infer` refuses, and what stops it: outputs, engines, disks and readers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import RunLstn
from PIL import Image
from tiny import MakeTiny, Tiny

from lstn.contract import Loc
from lstn.formats.plan_file import sidecar_path
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import Slot


def test_a_model_without_transformer_has_no_warps(
    run_lstn: RunLstn, make_tiny: MakeTiny, folder: Path, tmp_path: Path
) -> None:
    engine = make_tiny(loc=Loc.NONE).path
    ran = run_lstn("infer", folder, "--engine", engine, "--warps", tmp_path / "warps")
    assert ran.code == 2
    assert ran.err == f"error: --warps: {engine} has no transformer; it was trained with --loc none\n"
    assert not (tmp_path / "warps").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_run_leaves_no_output(
    run_lstn: RunLstn,
    tiny: Tiny,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    calls, real = [], Slot.result

    def breaks(slot: Slot) -> Prediction:
        calls.append(slot)
        if len(calls) == 3:
            raise error
        return real(slot)

    monkeypatch.setattr(Slot, "result", breaks)
    output = tmp_path / "out" / "rows.csv"
    output.parent.mkdir()
    output.write_text(older := "path,label,probability,error\nolder.png,7,0.9,\n")
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--output", output, "--batch", 2)
    assert ran.code == (130 if error is KeyboardInterrupt else 1)
    assert [path.read_text() for path in output.parent.iterdir()] == [older]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--batch", 2000], "takes batches of 1024 at most"),
        (["--output", "."], "--output .: a folder"),
        (["--device", "cuda"], "this machine shows no NVIDIA GPU"),
        (["--engine", "nothing.onnx"], "nothing.onnx: no such file"),
    ],
)
def test_refusals_are_one_line(
    run_lstn: RunLstn,
    tiny: Tiny,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[object],
    told: str,
) -> None:
    monkeypatch.setattr("lstn.runtime.engines.onnxruntime_engine.find_gpus", lambda: ())
    engine = () if "--engine" in options else ("--engine", tiny.path)
    ran = run_lstn("infer", folder, *engine, *options)
    assert ran.code in (1, 2)
    assert ran.out == ""
    error, *hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert told in error
    assert len(hint) <= 1


@pytest.mark.parametrize("which", ["engine", "link", "image"])
def test_rows_never_replace_what_they_are_made_of(
    run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path, which: str
) -> None:
    output = {"engine": tiny.path, "link": tmp_path / "rows.csv", "image": folder / "a" / "01.png"}[which]
    if which == "link":
        output.symlink_to(tiny.path)
    before = output.read_bytes()
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--output", output, "--format", "csv")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: --output {output}: this command reads that file")
    assert output.read_bytes() == before


def test_rows_never_replace_a_sidecar(run_lstn: RunLstn, plan: Path, folder: Path) -> None:
    ran = run_lstn("infer", folder, "--engine", plan, "--output", sidecar_path(plan))
    assert ran.code == 2
    assert "this command reads that file" in ran.err


def test_a_full_disk_behind_the_rows_is_one_line(tiny: Tiny, folder: Path) -> None:
    command = [sys.executable, "-m", "lstn", "infer", str(folder), "--engine", str(tiny.path)]
    for options in ([], ["--format", "json"], ["--format", "table"]):
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run([*command, *options], stdout=full, stderr=subprocess.PIPE, text=True)
        assert ran.returncode == 1
        assert [line for line in ran.stderr.splitlines() if line.startswith("error")] == [
            "error: output: No space left on device"
        ]
        assert "Traceback" not in ran.stderr


def test_a_plan_without_a_gpu_names_the_command_that_works(
    run_lstn: RunLstn, plan: Path, make_tiny: MakeTiny, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstn.runtime.engines.plans.preflight.find_gpus", lambda: ())
    tiny = make_tiny()
    ran = run_lstn("infer", folder, "--engine", plan)
    assert ran.code == 1
    named = ran.err.partition("name ")[2].partition(" in its place")[0]
    assert named == str(tiny.path)
    assert run_lstn("infer", folder, "--engine", named).code == 0


def test_a_reader_that_leaves_early_is_no_error(tiny: Tiny, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    (tmp_path / "many").mkdir()
    for index in range(3000):
        os.link(tmp_path / "one.png", tmp_path / "many" / f"{index}.png")
    command = [sys.executable, "-m", "lstn", "infer", str(tmp_path / "many"), "--engine", str(tiny.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "classifying 3,000 images\n"
    assert process.returncode == 1


def test_an_engine_whose_path_is_not_text_is_refused(
    run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9r.onnx"))
    odd.write_bytes(tiny.path.read_bytes())
    ran = run_lstn("infer", folder, "--engine", odd)
    assert (ran.code, ran.out) == (2, "")
    assert "d\\udce9r.onnx: this path is not text in UTF-8" in ran.err


@pytest.mark.parametrize("option", ["--threads", "--workers"])
def test_thousands_of_threads_are_refused(run_lstn: RunLstn, tiny: Tiny, folder: Path, option: str) -> None:
    ran = run_lstn("infer", folder, "--engine", tiny.path, option, 5000)
    assert ran.code == 2
    assert f"5000 threads or processes are too many for the {os.cpu_count()} cores of this machine" in ran.err
