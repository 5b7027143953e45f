"""No output of a command replaces an input or a file that lstn did not write, and none is found out late."""

import os
import shutil
from pathlib import Path

import pytest
from command import RunLstn
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from tiny import SIDE, Tiny

from lstn.errors import LstnError, UsageError
from lstn.formats.outputs import (
    BENCH,
    EVALUATION,
    LOG,
    ONNX,
    PAGE,
    ROWS_CSV,
    FileKind,
    OutputFile,
    check_folder,
    check_outputs,
    files_of,
)
from lstn.formats.plan_file import sidecar_path

NOTES = b"what I did last summer\n"
CHECKPOINT_3 = Path(__file__).parents[1] / "fixtures" / "release-0.1" / "v3" / "checkpoint.safetensors"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Image.new("RGB", (SIDE, SIDE), "red").save("in/a.png")
    return tmp_path


def snapshot() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


COMMANDS = [
    ("bench", "model.onnx", "--seconds", "0.1", "--json", "{}"),
    ("bench", "model.onnx", "--seconds", "0.1", "--profile", "--trace", "{}"),
    ("evaluate", "model.onnx", "--data", "digits", "--json", "{}"),
    ("evaluate", "model.onnx", "--data", "digits", "--html", "{}"),
    ("claims", "model.onnx", "--json", "{}"),
    ("claims", "model.onnx", "--html", "{}"),
    ("infer", "in", "--engine", "model.onnx", "--output", "{}"),
    ("infer", "in", "--engine", "model.onnx", "--format", "json", "--output", "{}"),
    ("export", "model.onnx", "--engine", "trt-rtx", "--target", "sm86", "--build-log", "{}"),
]
"""Every option that names one file to write."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: f"{words[0]} {words[-2]}")
@pytest.mark.parametrize(
    "victim", ["model.onnx", "in/../model.onnx", "link.onnx", "hard.onnx", "in/a.png", "notes.txt", "notes", "in"]
)
def test_no_command_replaces_what_it_did_not_write(
    run_lstn: RunLstn, tiny: Tiny, command: tuple[str, ...], victim: str
) -> None:
    Path("link.onnx").symlink_to("model.onnx")
    os.link("model.onnx", "hard.onnx")
    Path("notes.txt").write_bytes(NOTES)
    Path("notes").write_bytes(NOTES)
    before = snapshot()
    ran = run_lstn(*(word.format(victim) for word in command))
    assert ran.code == 2, ran.err
    assert victim in ran.err
    assert "Traceback" not in ran.err
    assert snapshot() == before


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "model.onnx", "--seconds", "0.1", "--profile", "--json", "x.json", "--trace", "./x.json"),
        ("evaluate", "model.onnx", "--data", "digits", "--json", "x", "--html", "x"),
        ("claims", "model.onnx", "--json", "x", "--html", "in/../x"),
    ],
)
def test_two_outputs_are_two_files(run_lstn: RunLstn, tiny: Tiny, command: tuple[str, ...]) -> None:
    ran = run_lstn(*command)
    assert ran.code == 2
    assert "are one file" in ran.err
    assert not Path("x").exists()


def test_a_kept_run_is_not_replaced_by_the_run_that_is_compared_with_it(run_lstn: RunLstn, tiny: Tiny) -> None:
    assert run_lstn("bench", "model.onnx", "--seconds", "0.1", "--save", "kept.json").code == 0
    before = snapshot()
    ran = run_lstn("bench", "model.onnx", "--seconds", "0.1", "--against", "kept.json", "--save", "kept.json")
    assert ran.code == 2
    assert "--json kept.json: this command reads that file" in ran.err
    assert snapshot() == before


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "model.onnx", "--seconds", "0.1", "--json", "out.json"),
        ("bench", "model.onnx", "--seconds", "0.1", "--profile", "--device", "cpu", "--trace", "out.json"),
        ("infer", "in", "--engine", "model.onnx", "--output", "out.json"),
        ("infer", "in", "--engine", "model.onnx", "--output", "out.jsonl"),
        ("infer", "in", "--engine", "model.onnx", "--output", "out.csv"),
        ("infer", "in", "--engine", "model.onnx", "--output", "out.txt"),
        ("infer", "in", "--engine", "model.onnx", "--output", "out"),
        ("infer", "in", "--engine", "model.onnx", "--warps", "warps"),
        ("export", "model.onnx", "--engine", "openvino", "--out", "made"),
        ("export", "model.onnx", "--engine", "trt", "--script"),
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_what_lstn_wrote_is_replaced_by_the_same_command(
    run_lstn: RunLstn, tiny: Tiny, command: tuple[str, ...]
) -> None:
    for _ in range(2):
        ran = run_lstn(*command)
        assert ran.code == 0, ran.err


NEARLY = {
    "train.csv": "path,label,split\na.png,cat,train\n",
    "table.csv": "path,label,probability\na.png,cat,0.5\n",
    "notes.txt": "50 % of the work is done\nand  97 % soon\n",
    "train.jsonl": '{"path": "a.png", "label": "cat"}\n',
    "tags.jsonl": '{"path": "a.png", "labels": ["cat", "dog"]}\n',
    "list.json": '[\n{"path": "a.png", "label": "cat"}\n]',
}
"""Files that look like rows at first sight, and are somebody's own."""


@pytest.mark.parametrize("name", NEARLY)
def test_what_only_looks_like_rows_stays(run_lstn: RunLstn, tiny: Tiny, name: str) -> None:
    Path(name).write_text(NEARLY[name])
    before = snapshot()
    ran = run_lstn("infer", "in", "--engine", "model.onnx", "--output", name)
    assert ran.code == 2
    assert f"--output {name}: is there already, and is not" in ran.err
    Path("report.json").write_text('{"file": "a.png", "label": "cat"}')
    ran = run_lstn("evaluate", "model.onnx", "--data", "digits", "--json", "report.json")
    assert "--json report.json: is there already" in ran.err
    Path("report.json").unlink()
    assert snapshot() == before


def test_a_foreign_model_stays(run_lstn: RunLstn, tiny: Tiny) -> None:
    foreign = {"model.xml": b"<?xml version='1.0'?><note/>", "model.bin": NOTES, "model.trtexec.sh": b"#!/bin/sh\nls\n"}
    for name, data in foreign.items():
        Path("made").mkdir(exist_ok=True)
        Path("made", name).write_bytes(data)
    Path("model.trtexec.sh").write_bytes(foreign["model.trtexec.sh"])
    before = snapshot()
    ran = run_lstn("export", "model.onnx", "--engine", "openvino", "--out", "made")
    assert ran.code == 2
    assert "made/model.xml: is there already, and is not an OpenVINO model that lstn wrote" in ran.err
    Path("made/model.xml").rename("model.note")
    ran = run_lstn("export", "model.onnx", "--engine", "openvino", "--out", "made")
    assert "made/model.bin: is there already" in ran.err
    Path("model.note").rename("made/model.xml")
    ran = run_lstn("export", "model.onnx", "--engine", "trt", "--script")
    assert ran.code == 2
    assert "model.trtexec.sh: is there already" in ran.err
    assert snapshot() == before


def test_the_pair_of_a_plan_is_known(plan: Path) -> None:
    from lstn.formats.outputs import plan_outputs

    check_outputs(plan_outputs(plan))
    described = sidecar_path(plan).read_bytes()
    sidecar_path(plan).write_bytes(b'{"name": "my package"}')
    with pytest.raises(UsageError, match=r"model\.plan: is there already"):
        check_outputs(plan_outputs(plan))
    plan.unlink()
    with pytest.raises(UsageError, match=r"model\.plan\.json: is there already"):
        check_outputs(plan_outputs(plan))
    sidecar_path(plan).write_bytes(described)
    check_outputs(plan_outputs(plan))


@pytest.mark.parametrize("place", ["in", "in/warps", "in/deep/er", "in/../in", "link/x"])
def test_no_folder_of_pictures_within_the_images(run_lstn: RunLstn, tiny: Tiny, place: str) -> None:
    Path("link").symlink_to("in")
    before = snapshot()
    ran = run_lstn("infer", "in", "--engine", "model.onnx", "--warps", place)
    assert ran.code == 2
    assert f"--warps {place}: lies within in, which this command reads" in ran.err
    assert snapshot() == before


@pytest.mark.parametrize("place", ["in", "link", "in/../in"])
@pytest.mark.parametrize(("command", "option"), [(("infer", "--engine"), "--warps"), (("explain",), "--out")])
@pytest.mark.parametrize("named", ["in/a.png", "in/*.png"])
def test_no_pictures_beside_an_image_that_is_named_by_itself(
    run_lstn: RunLstn, tiny: Tiny, command: tuple[str, ...], option: str, named: str, place: str
) -> None:
    Path("link").symlink_to("in")
    before = snapshot()
    ran = run_lstn(*command, "model.onnx", named, option, place)
    assert ran.code == 2
    assert f"{option} {place}: a.png, which this command reads, lies there\n  name another folder" in ran.err
    assert snapshot() == before


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "in", "--engine", "model.onnx", "--output", "-"),
        ("infer", "in", "--engine", "model.onnx", "--warps", "-"),
        ("explain", "model.onnx", "in", "--out", "-"),
        ("evaluate", "model.onnx", "--data", "digits", "--html", "-"),
        ("bench", "model.onnx", "--seconds", "0.1", "--json", "-"),
        ("calibrate", "model.onnx", "--data", "digits", "--out", "-"),
    ],
)
def test_a_hyphen_is_no_name_of_an_output(run_lstn: RunLstn, tiny: Tiny, words: tuple[str, ...]) -> None:
    ran = run_lstn(*words)
    assert ran.code == 2
    assert f"error: {words[-2]} -: not a f" in ran.err
    assert ("standard output" in ran.err) == ("--output" in words)
    assert not Path("-").exists()


def test_a_file_for_a_folder_is_refused_before_the_work(run_lstn: RunLstn, tiny: Tiny) -> None:
    Path("notes.txt").write_bytes(NOTES)
    ran = run_lstn("infer", "in", "--engine", "model.onnx", "--warps", "notes.txt", "--output", "rows.csv")
    assert ran.code == 2
    assert "--warps notes.txt: a file" in ran.err
    assert not Path("rows.csv").exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (BENCH, "x.onnx"), (BENCH, "x.html"), (BENCH, "x.PNG"), (BENCH, "x.safetensors"), (BENCH, "x.csv"),
        (PAGE, "x.json"), (LOG, "model.plan"), (ROWS_CSV, "x.jsonl"),
    ],
)  # fmt: skip
def test_a_name_of_another_kind_is_refused(kind: FileKind, name: str) -> None:
    with pytest.raises(UsageError, match="what is written there is"):
        check_outputs([OutputFile(Path(name), kind, "--json")])


@pytest.mark.parametrize("name", ["x.json", "x", "x.txt", "x.data", "new/deep/x.json"])
def test_any_other_name_will_do(name: str) -> None:
    check_outputs([OutputFile(Path(name), BENCH, "--json")])
    assert [path.name for path in Path().iterdir()] == ["in"]


@pytest.mark.parametrize("place", ["in/a.png/x.json", "/proc/x.json", "/dev/null", "x" * 250 + ".json"])
def test_what_cannot_be_written_is_said_before_the_work(place: str) -> None:
    with pytest.raises(LstnError) as refused:
        check_outputs([OutputFile(Path(place), BENCH, "--json")])
    assert place in refused.value.message


def test_an_empty_file_holds_nothing_to_lose() -> None:
    for kind in (BENCH, ONNX, PAGE, LOG):
        Path("empty").touch()
        check_outputs([OutputFile(Path("empty"), kind, "--json")])


def test_files_that_belong_to_an_engine_are_inputs_too(plan: Path) -> None:
    for name in (sidecar_path(plan).name, plan.name):
        shutil.copy(plan.parent / name, "copy")
    assert sidecar_path(plan) in files_of(plan)
    with pytest.raises(UsageError, match="this command reads that file"):
        check_outputs([OutputFile(sidecar_path(plan), BENCH, "--json")], inputs=files_of(plan))


@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_lstn_did_not_write_are_kept(data: bytes) -> None:
    assume(not any(mark in data for mark in (b"TensorRT", b'content="lstn"', b"path,label", b'"setup"')))
    path = Path("any")
    path.write_bytes(data)
    for kind in (BENCH, ONNX, PAGE, LOG, ROWS_CSV):
        with pytest.raises(UsageError, match="is there already"):
            check_outputs([OutputFile(path, kind, "--json")])


@pytest.mark.parametrize("command", [("calibrate",), ("export", "--engine", "openvino")])
@pytest.mark.parametrize("name", ["small.onnx", "model.plan", "page.html"])
def test_a_folder_with_the_name_of_a_file_is_not_what_was_meant(
    run_lstn: RunLstn, tiny: Tiny, command: tuple[str, ...], name: str
) -> None:
    ran = run_lstn(*command, "model.onnx", "--out", name)
    assert ran.code == 2
    assert f"--out {name}: a folder is meant" in ran.err
    assert not Path(name).exists()


def test_a_folder_that_holds_the_images_is_no_place_for_a_study(run_lstn: RunLstn) -> None:
    for split in ("train", "val", "test"):
        for label in "ab":
            Path("photos", split, label).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(Path("photos", split, label, f"{number}.png"))
    before = snapshot()
    ran = run_lstn("study", "--data", "folder:photos", "--out", "photos/study", "--epochs", "1")
    assert ran.code == 2
    assert f"lies within {Path.cwd() / 'photos'}, which this command reads" in ran.err
    assert snapshot() == before


def test_folders_elsewhere_will_do() -> None:
    check_folder("--warps", Path("in-warps"), [Path("in")])
    check_folder("--warps", Path(), [Path("in"), Path("in/a.png")])


@pytest.mark.parametrize("name", ["zoo:digits", "ZOO:mine.json"])
def test_no_file_hides_a_model_that_comes_with_lstn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="names a model that comes with lstn"):
        check_outputs([OutputFile(Path(name), EVALUATION, "--json")])


@pytest.mark.parametrize(
    "words",
    [
        ("calibrate", "m\udce9.onnx", "--data", "digits"),
        ("export", "m\udce9.onnx", "--engine", "openvino"),
        ("export", "m.onnx", "--engine", "openvino", "--out", "o\udce9"),
        ("export", "r\udce9"),
        ("evaluate", "r\udce9"),
        ("bench", "m\udce9.onnx"),
        ("train", "--model", "cnn", "--name", "n\udce9"),
    ],
)
def test_a_path_that_is_not_text_is_said_before_the_work(words: tuple[str, ...], tiny: Tiny, run_lstn: RunLstn) -> None:
    """Libraries in C++ and Rust take paths as UTF-8: their own words of it speak of damage, or of C++ types."""
    for name in ("m.onnx", "m\udce9.onnx"):
        shutil.copy(tiny.path, name)
    Path("r\udce9").mkdir()
    shutil.copy(CHECKPOINT_3, "r\udce9/checkpoint.safetensors")
    before = snapshot()
    ran = run_lstn(*words)
    assert ran.code == 2
    assert "this path is not text in UTF-8" in ran.err
    assert snapshot() == before
