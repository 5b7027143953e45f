"""The command line as a whole: what an error looks like, and what a command must not load."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import RunLstn
from tiny import Tiny

from lstn.cli.commands import COMMANDS
from lstn.cli.steps import train_steps
from lstn.errors import LstnError, UsageError
from lstn.install import install_line

HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "numpy", "matplotlib")


def test_help_loads_nothing_heavy() -> None:
    program = f"""
import sys
from lstn.cli.app import main
sys.argv = ["lstn", "--help"]
try: main()
except SystemExit: pass
print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("loaded: []\n")
    assert all(command in ran.stdout for command in COMMANDS)


@pytest.mark.parametrize(("given", "threads"), [(None, 1), ("2", 2)])
def test_torch_keeps_to_a_containers_quota(
    given: str | None, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    program = f"""
import pathlib, sys
import lstn.machine.cores
from lstn.cli.app import main
lstn.machine.cores.CGROUP = pathlib.Path({str(tmp_path)!r})
sys.argv = ["lstn", "--version"]
try: main()
except SystemExit: pass
import torch
print(torch.get_num_threads())
"""
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == str(threads)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_every_option_has_a_help_text(command: str, run_lstn: RunLstn) -> None:
    import typer.main

    from lstn.cli.app import app

    group = typer.main.get_command(app)
    described = group.commands[command]  # type: ignore[attr-defined]
    assert described.help.splitlines()[0] == COMMANDS[command]
    assert [parameter.name for parameter in described.params if not getattr(parameter, "help", None)] == []
    shown = run_lstn(command, "--help")
    assert shown.code == 0
    assert re.findall(r"^ +\S+ <[^|>]*>", shown.out, re.MULTILINE) == []  # <int range>: what Python sees


def test_no_summary_is_cut_off(run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_lstn("--help").out.partition("Commands:")[2]
    assert len(shown.strip().splitlines()) == len(COMMANDS)
    assert "..." not in shown


@pytest.mark.parametrize("arguments", [("fly",), ("train", "--wings"), ("train", "--epochs", "0"), ("infer",)])
def test_wrong_use_exits_with_2(arguments: tuple[str, ...], run_lstn: RunLstn) -> None:
    ran = run_lstn(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (LstnError("disk [full]", hint="free it"), 1, "error: disk [full]\n  free it\n"),
        (UsageError("no such model"), 2, "error: no such model\n"),
        (ValueError("two\nlines"), 1, "error: ValueError: two lines\n  this is a defect of lstn"),
        (PermissionError(13, "Permission denied", "/secret/x"), 1, "error: /secret/x: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "error: output: No space left on device\n"),
        (
            OSError("libcudart.so.12: cannot open"),
            1,
            "error: OSError: libcudart.so.12: cannot open\n  this is a defect",
        ),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, f"{install_line('train')}"),
    ],
)
def test_any_error_is_one_line_and_a_hint(
    error: Exception, code: int, says: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(train_steps, "_usual_name", fail)
    ran = run_lstn("train")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err
    lines = [
        line for line in ran.err.strip().splitlines() if not line.endswith(": loading PyTorch")
    ]  # the first test's
    assert len(lines) <= 2
    assert "Traceback" in run_lstn("--debug", "train").err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["doctor"], ["doctor", "--format", "json"]])
def test_a_full_disk_behind_the_output_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([sys.executable, "-m", "lstn", *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (1, "error: output: No space left on device\n")


def test_old_spellings_work_and_say_the_new_one(run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    for old, new, said in (
        (("doctor", "--json"), ("doctor", "--format", "json"), "--json is spelt --format json now"),
        (("inspect", tiny.path, "--json"), ("inspect", tiny.path, "--format", "json"), "--json is spelt --format json"),
    ):
        before, after = run_lstn(*old), run_lstn(*new)
        assert before.code == after.code == 0
        assert json.loads(before.out).keys() == json.loads(after.out).keys()
        assert said in before.err
        assert "spelt" not in after.err
    ran = run_lstn("bench", tiny.path, "--seconds", "0.1", "--save", kept)
    assert ran.code == 0
    assert "--save is spelt --json now" in ran.err
    assert json.loads(kept.read_text())["setup"]["batches"] == [1]


def test_the_folder_of_a_cluster_is_not_the_file_of_a_machine(run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
    ran = run_lstn("infer", tmp_path, "--engine", tiny.path, "--out", tmp_path / "rows")
    assert ran.code == 2
    assert "--out: only with --ray" in ran.err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_does_not_end_a_command(closed: str) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'"$0" -m lstn doctor {closed}', sys.executable], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.rmdir({str(gone)!r}); from lstn.__main__ import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "doctor"], cwd=gone, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (1, "error: the current folder: No such file or directory\n")


def test_onnx_runtime_is_told_not_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    program = "import os, lstn; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_driver_that_lies_in_the_current_folder_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"not a library, for this test")
    for words in (("train", "--data", "digits"), ("infer", "x.png", "--engine", "zoo:digits"), ("--help",)):
        ran = subprocess.run([sys.executable, "-m", "lstn", *words], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 2
        assert ran.stdout == ""
        assert ran.stderr.startswith("error: libcuda.so.1 lies in the current folder, and PyTorch would run it")
    assert [each.name for each in tmp_path.iterdir()] == ["libcuda.so.1"]
