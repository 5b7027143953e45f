"""System calls on files that fail: a sample of `benchmarks/faults.py`, and all calls of what commands are built on."""

import ctypes
import errno
import json
import os
import re
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import forked
from hand_made import make_model, save
from safetensors.torch import save_file
from swept import SweptRun, sweep

from benchmarks.support.faulting.failing_calls import FAULTS, SHORT, Call, FailingCalls
from benchmarks.support.faulting.fault_verdict import REFUSED, RIGHT, Ended, files_below, verdict
from lstn.files import scratch_folder, write_bytes
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.outputs import ROWS_CSV, OutputFile, check_outputs
from lstn.machine.lock import locked
from lstn.nn.checkpoint import read_tensors
from lstn.train.runs.run_folder import claimed
from lstn.train.watch.pictures import draw_animation
from lstn.warps.warp import CropSampling

ROOT = Path(__file__).parents[1]
ONE_WAY = {call: (ways[0],) for call, ways in FAULTS.items()}
OLD, NEW = b"old" * 5000, b"new" * 7000


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def test_a_sample_of_a_commands_calls_fails_and_harms_nothing(place: Path) -> None:
    words = ("--only", "infer --output", "--each", "1", "--out", place / "faults.json")
    code, out, err = forked("-m", "benchmarks", "faults", *words, cwd=ROOT)
    assert (code, err) == (0, ""), out
    found = json.loads((place / "faults.json").read_text())["commands"]["infer --output"]
    assert found["calls"].keys() == found["outcomes"].keys() >= {"open", "read", "write", "fsync", "rename", "mmap"}
    counts = [count for ways in found["outcomes"].values() for count in ways.values()]
    assert all(sum(count.values()) == 1 for count in counts)
    assert {what for count in counts for what in count} == {RIGHT, REFUSED}


BEFORE, GOOD = {"in.png": b"in", "rows.csv": b"old"}, {"in.png": b"in", "rows.csv": b"path,error\na,\nb,\n", "b": b"b"}
FAILED = "error: rows.csv: Input/output error\n"


@pytest.mark.parametrize(
    ("code", "told", "changes", "wanted"),
    [
        (0, "2 images\n", GOOD, RIGHT),
        (1, FAILED, {}, REFUSED),
        (1, FAILED, {"rows.csv": GOOD["rows.csv"]}, REFUSED),
        (1, "error: no answer for 1 of 2 images\n", {"rows.csv": b"path,error\na,\nb,broken\n"}, REFUSED),
        (1, FAILED, {".rows.csv.0123abcd.tmp": b"", "struck": b""}, "leaves .rows.csv.########.tmp"),
        (1, FAILED, {"tmp/model.onnx": b"", "struck": b""}, "leaves tmp/model.onnx"),
        (
            1,
            FAILED,
            {"rows.csv": b"path,error\na,\nc,\n"},
            "leaves a rows.csv that is neither the old one nor the new one",
        ),
        (0, "", {"rows.csv": GOOD["rows.csv"]}, "ends well without its b"),
        (0, "Traceback (most recent call last):\n", GOOD, "says 'Traceback'"),
        (1, "error: ValueError: x\n  this is a defect of lstn; …\n", {}, "says 'defect of lstn'"),
        (1, "", {}, "ends with 1 after 0 lines of error"),
        (0, FAILED, GOOD, "ends with 0 after 1 lines of error"),
        (-7, "", {}, "killed by signal 7"),
        (None, "", {}, "hangs"),
    ],
)
def test_the_verdict_on_a_command(code: int | None, told: str, changes: dict[str, bytes], wanted: str) -> None:
    assert verdict(Ended(code, told, BEFORE | changes), BEFORE, GOOD, "struck") == wanted


def test_a_file_that_was_removed_is_missed() -> None:
    assert verdict(Ended(1, FAILED, {"in.png": b"in"}), BEFORE, GOOD, "") == "removes rows.csv"


def test_checkpoints_are_the_same_whatever_time_they_took_and_never_if_one_is_cut_off(place: Path) -> None:
    for name, seconds in (("slow", 9.5), ("fast", 0.5), ("cut", 0.5)):
        Path(name).mkdir()
        state = json.dumps({"history": [{"epoch": 1, "seconds": seconds}], "seed": 0})
        save_file({"a": torch.arange(9.0)}, f"{name}/last.safetensors", {"lstn.state": state})
    Path("cut/last.safetensors").write_bytes(Path("fast/last.safetensors").read_bytes()[:-1])
    slow, fast, cut = (files_below(Path(name))["last.safetensors"] for name in ("slow", "fast", "cut"))
    assert slow == fast != cut == Path("cut/last.safetensors").read_bytes()


def test_a_file_is_replaced_or_is_the_old_one(place: Path) -> None:
    runs = list(sweep(place, lambda: write_bytes(Path("file"), OLD), lambda: write_bytes(Path("file"), NEW)))
    assert {run.call for run in runs} >= {"", "open", "write", "fsync", "rename", "unlink"}
    for run in runs:
        assert run.raised.startswith("lstn.errors.LstnError: cannot write file: ") or not run.raised, run
        assert run.files.pop("file") == (OLD if run.raised else NEW), run
        assert_nothing_else(run)


def test_a_runs_folder_is_there_whole_or_not_at_all(place: Path) -> None:
    def make() -> None:
        Path("runs/.run.01234567.tmp").mkdir(parents=True)
        Path("runs/.run.01234567.tmp/half").touch()

    def claim() -> None:
        with claimed(Path("runs/run")) as folder:
            write_bytes(folder / "state", NEW)

    for run in sweep(place, make, claim, ONE_WAY):
        left = {name: run.files[name] for name in run.files if "01234567" not in name}
        if not run.raised:
            assert left == {"runs/run/state": NEW}, run
        else:
            assert re.match(r"lstn\.errors\.LstnError: cannot (make|write) |\w+: \[Errno \d+\] .*'", run.raised), run
            assert_nothing_else(run, left)


def test_a_scratch_folder_that_cannot_be_removed_loses_no_result(place: Path) -> None:
    def work() -> None:
        with scratch_folder(Path(), ".whole.") as folder:
            write_bytes(folder / "half", OLD)
        Path("whole").write_bytes(NEW)

    removing = {call: FAULTS[call] if call in ("list", "rmdir", "unlink") else () for call in FAULTS}
    runs = list(sweep(place, lambda: None, work, removing))
    assert {run.call for run in runs} == {"", "list", "rmdir", "unlink"}
    for run in runs:
        assert (run.raised, run.files["whole"]) == ("", NEW), run


def test_an_animation_is_whole_though_its_writes_are_cut_short(place: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    warps = [np.tile(np.eye(2, 3, dtype=np.float32) * size, (4, 1, 1)) for size in (1.0, 0.8, 0.6)]
    ways = {call: (SHORT,) if call == "write" else () for call in FAULTS}
    runs = list(
        sweep(place, lambda: None, lambda: draw_animation(Path("a.gif"), pixels, warps, CropSampling((0, 0, 0))), ways)
    )
    assert len(runs) > 1
    for run in runs:
        assert (run.raised, run.files) == ("", runs[0].files), run


def test_a_lock_is_held_or_refused_by_what_the_system_says(place: Path) -> None:
    def hold() -> None:
        with locked(Path()):
            write_bytes(Path("file"), NEW)

    for run in sweep(place, lambda: None, hold, ONE_WAY):
        if run.call == "":
            assert (run.raised, run.files) == ("", {"file": NEW})
        assert "writes there now" not in run.raised, run
        assert run.files.keys() <= {"file"} or run.call == "unlink", run


def test_weights_are_read_right_or_refused(place: Path) -> None:
    weights = {"a": torch.arange(5000.0), "b": torch.ones(3, 7)}

    def read() -> None:
        tensors, metadata = read_tensors(Path("weights.safetensors"))
        assert metadata == {"told": "so"}
        assert tensors.keys() == weights.keys()
        assert all(torch.equal(tensors[name], weights[name]) for name in weights)

    runs = list(sweep(place, lambda: save_file(weights, "weights.safetensors", {"told": "so"}), read))
    assert {run.call for run in runs} >= {"", "open", "mmap", "close"}
    assert [run for run in runs if not re.match(r"lstn\.errors\.ArtifactError: weights|$", run.raised)] == []
    assert any(run.raised for run in runs)


def test_a_model_is_opened_or_the_system_says_why(place: Path) -> None:
    def open_it() -> None:
        OnnxSession(Path("model.onnx"), threads=1).close()

    runs = list(sweep(place, lambda: save(make_model(), Path("model.onnx")), open_it, ONE_WAY))
    assert {run.call for run in runs} >= {"", "open", "read"}
    assert [run for run in runs if not re.match(r"lstn\.errors\.ArtifactError: model\.onnx: |$", run.raised)] == []
    assert any("Permission denied" in run.raised for run in runs)


def test_an_older_output_that_cannot_be_read_is_not_called_somebody_elses(place: Path) -> None:
    def make() -> None:
        Path("rows.csv").write_bytes(b"path,label,probability,error\n")

    def check() -> None:
        check_outputs([OutputFile(Path("rows.csv"), ROWS_CSV, "--output")])

    runs = list(sweep(place, make, check, ONE_WAY))
    assert {run.call for run in runs} >= {"", "open", "read"}
    assert [run for run in runs if "UsageError" in run.raised] == []
    assert any("--output rows.csv: is there already, and can't be read: " in run.raised for run in runs)
    assert [run for run in runs if run.files.get("rows.csv") != b"path,label,probability,error\n"] == []


def test_output_that_fails_before_the_first_word_is_one_line(place: Path) -> None:
    code = "import os, sys; os.close(1); sys.argv = ['lstn', '--version']; from lstn.cli.app import main; main()"
    assert forked("-c", code) == (1, "", "error: output: Bad file descriptor\n")


def test_every_call_is_counted_and_fails_as_told(place: Path) -> None:
    """Of the C library's stdio as of the system's own calls, in the order in which they are made."""
    libc = ctypes.CDLL(None, use_errno=True)

    def by_hand() -> None:
        descriptor = os.open("file", os.O_CREAT | os.O_RDWR)
        os.write(descriptor, b"12345678")
        os.fsync(descriptor)
        os.close(descriptor)
        Path("file").rename("renamed")
        Path("/proc/self/stat").read_bytes()  # of another folder
        libc.fopen.restype = ctypes.c_void_p
        opened = ctypes.c_void_p(libc.fopen(b"renamed", b"r"))
        if not opened.value:
            raise OSError(ctypes.get_errno(), "fopen")
        libc.fgetc(opened)
        libc.fclose(opened)

    wanted = ["open", "write", "fsync", "close", "rename", "open", "stat", "read", "close"]
    runs = list(sweep(place, lambda: None, by_hand))
    numbered = [(call, how) for call in wanted for how in FAULTS[call]]
    assert [(run.call, run.how) for run in runs[1:]] == numbered
    by_name = {run.how: run.raised for run in runs if run.call == "open" and run.path == Path("renamed")}
    assert by_name.keys() == {"EACCES", "EMFILE", "EIO", "EINTR"}  # to read, a full disk is no obstacle
    assert f"[Errno {errno.EMFILE}] fopen" in by_name["EMFILE"]
    written = {run.how: run.files.get("renamed") for run in runs if run.call == "write"}
    assert written == {"ENOSPC": None, "EIO": None, "EINTR": b"12345678", "short": b"1234", "full": None}


def test_a_call_is_known_by_its_path_and_not_by_the_turns_of_threads(place: Path) -> None:
    def make() -> None:
        for name in "ab":
            Path(name).write_bytes(OLD)

    def read() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda name: Path(name).read_bytes(), "ab" * 2))

    failed = Counter((run.call, str(run.path)) for run in sweep(place, make, read, ONE_WAY) if run.call)
    assert {call for call, _ in failed} == {"open", "stat", "lseek", "read", "close"}
    assert all(failed[call, "a"] == failed[call, "b"] >= 2 for call, _ in failed)


def test_a_call_on_a_temporary_file_is_known_in_the_next_run(place: Path) -> None:
    Path("world").mkdir()
    calls = FailingCalls.built(place / "failing_calls.so", place.resolve() / "world")
    random = uuid.UUID(int=7 << 96 | 99, version=1)
    names = (
        ".a.01ab45cd.tmp/b",
        "tmp/tmpk6u8_y4g/c",
        f"tmp/ort.quant.zon1kc7d/{random}.data",
        "tmp/1_xy5678",
        "tmp/d",
        "a/.model.xml.k6u8_y4g/e",
    )
    child = os.fork()
    if not child:
        calls.watch()
        for name in names:
            Path("world", name).exists()
        os._exit(0)
    os.waitpid(child, 0)
    hidden = (
        ".a.########.tmp/b",
        "tmp/tmp########/c",
        "tmp/ort.quant.########/########-####-####-####-############.data",
        "tmp/########",
        "tmp/d",
        "a/.model.xml.########/e",
    )
    assert calls.calls == [Call("stat", name, 1) for name in hidden]


def assert_nothing_else(run: SweptRun, files: dict[str, bytes] | None = None) -> None:
    """What can't be removed may stay, and nothing else."""
    left = run.files if files is None else files
    assert not left or run.call in ("unlink", "rmdir"), run
