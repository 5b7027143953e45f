import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Ran, RunLstn
from PIL import Image
from tiny import MakeTiny, Tiny

from lstn.contract import Loc
from lstn.formats.plan_file import sidecar_path
from lstn.images import Pixels, decode
from lstn.runtime.engines.onnxruntime_engine import OnnxEngine
from lstn.warp import draw_warp, outside_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(20):
        path = tmp_path / "images" / ("a" if index % 2 else "b") / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def expected(tiny: Tiny, path: Path) -> str:
    return tiny.contract.labels[int(tiny.logits(decode(path, (8, 8))[None]).argmax())]


def test_a_pipe_gets_csv_in_the_order_of_the_folder(run_lstn: RunLstn, tiny: Tiny, folder: Path) -> None:
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--batch", 3)
    assert ran.code == 0
    header, *lines = csv.reader(io.StringIO(ran.out))
    assert header == ["path", "label", "probability", "error"]
    paths = sorted(folder.rglob("*.png"))
    assert [line[:2] for line in lines] == [[str(path), expected(tiny, path)] for path in paths]
    begins, *_, ends = ran.err.splitlines()
    assert begins == "classifying 20 images"
    assert ends.startswith("20 images in ")


def test_named_files_keep_the_order_they_were_typed_in(run_lstn: RunLstn, tiny: Tiny, folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"), reverse=True)
    ran = run_lstn("infer", *paths, "--engine", tiny.path, "--format", "json", "--top", 9)
    rows = json.loads(ran.out)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert all(len(row["top"]) == 4 for row in rows)
    theta = tiny.theta(decode(paths[0], (8, 8))[None])[0]
    np.testing.assert_allclose(rows[0]["theta"], theta, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "start"),
    [("rows.json", "[\n{"), ("rows.csv", "path,label,"), ("rows", "path,label,"), ("rows.txt", str(os.sep))],
)
def test_the_suffix_of_the_output_chooses_the_format(
    run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path, name: str, start: str
) -> None:
    output = tmp_path / "new" / name
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--output", output)
    assert (ran.code, ran.out) == (0, "")
    assert output.read_text().startswith(start) or output.read_text().startswith("…")
    assert f"-> {output}" in ran.err


def test_a_broken_image_is_a_row_and_exit_code_1(run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "05b.png").write_bytes(b"junk")
    output = tmp_path / "rows.json"
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--output", output)
    assert ran.code == 1
    rows = json.loads(output.read_text())
    assert len(rows) == 21
    assert [row for row in rows if "error" in row] == [{"path": str(folder / "a" / "05b.png"), "error": "not an image"}]
    assert ran.err.count("error:") == 1
    assert "error: 1 of 21 images have no answer" in ran.err


def test_warps_are_drawn_from_the_engines_theta(run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    (folder / "b" / "00.png").write_bytes(b"junk")
    warps = tmp_path / "warps"
    run_lstn("infer", folder, "--engine", tiny.path, "--warps", warps, "--batch", 7)
    paths = sorted(folder.rglob("*.png"))
    names = [f"{index:06d}-{path.stem}.png" for index, path in enumerate(paths, start=1)]
    names.remove("000011-00.png")
    assert sorted(path.name for path in warps.iterdir()) == names
    pixels = decode(paths[3], (8, 8))
    with Image.open(warps / names[3]) as picture:
        drawn = np.asarray(picture)
    theta = tiny.theta(pixels[None])[0].astype(np.float32)
    wanted = np.asarray(draw_warp(pixels, theta, outside_of(tiny.contract.mean)))
    np.testing.assert_allclose(drawn, wanted, atol=2)


def test_a_name_as_long_as_the_file_system_takes_still_gets_its_warp(
    run_lstn: RunLstn, tiny: Tiny, tmp_path: Path
) -> None:
    image = tmp_path / ("ü" * 120 + ".png")
    Image.new("RGB", (9, 9)).save(image)
    assert run_lstn("infer", image, "--engine", tiny.path, "--warps", tmp_path / "warps").code == 0
    assert len(list((tmp_path / "warps").iterdir())) == 1


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
    calls, real = [], OnnxEngine.infer

    def breaks(engine: OnnxEngine, pixels: Pixels) -> object:
        calls.append(len(pixels))
        if len(calls) == 3:
            raise error
        return real(engine, pixels)

    monkeypatch.setattr(OnnxEngine, "infer", breaks)
    output = tmp_path / "out" / "rows.csv"
    output.parent.mkdir()
    output.write_text("path,label,probability,older")
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--output", output, "--batch", 2)
    assert ran.code == (130 if error is KeyboardInterrupt else 1)
    assert [path.read_text() for path in output.parent.iterdir()] == ["path,label,probability,older"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--batch", 2000], "takes 1024 images at most"),
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
    ran = run_lstn("infer", folder, "--engine", tiny.path, *options)
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
    monkeypatch.setattr("lstn.runtime.engines.preflight.find_gpus", lambda: ())
    tiny = make_tiny()
    ran = run_lstn("infer", folder, "--engine", plan)
    assert ran.code == 1
    named = ran.err.partition("name ")[2].partition(" in its place")[0]
    assert named == str(tiny.path)
    assert run_lstn("infer", folder, "--engine", named).code == 0


def test_help_says_what_each_option_does(run_lstn: RunLstn) -> None:
    text = " ".join(run_lstn("infer", "--help").out.split())
    for option in ("--engine", "--output", "--format", "--top", "--warps", "--batch", "--device", "--threads"):
        assert option in text
    assert "a table on a terminal, csv in a pipe" in text


_PEAK = """
import resource, sys
from lstn.cli.app import app
app(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_files(tiny: Tiny, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    peaks = []
    for count in (200, 5000):
        images = tmp_path / str(count)
        images.mkdir()
        for index in range(count):
            os.link(tmp_path / "one.png", images / f"{index}.png")
        command = ["infer", images, "--engine", tiny.path, "--output", tmp_path / f"{count}.json"]
        ran = subprocess.run(
            [sys.executable, "-c", _PEAK, *map(str, command)], capture_output=True, text=True, check=True
        )
        peaks.append(int(ran.stdout))
        assert len(json.loads((tmp_path / f"{count}.json").read_text())) == count
    assert peaks[1] - peaks[0] < 100_000  # kB; a few MB as measured


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


def test_a_terminal_gets_a_table(tiny: Tiny, folder: Path) -> None:
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "lstn", "infer", str(folder), "--engine", str(tiny.path)]
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=secondary, stderr=secondary, env=environment) as process:
        os.close(secondary)
        output = b""
        while True:
            try:
                piece = os.read(primary, 65536)
            except OSError:  # Linux says EIO when the other end is closed
                break
            if not piece:
                break
            output += piece
    os.close(primary)
    assert process.returncode == 0
    text = output.decode()
    assert text.count(" %\x1b[0m") + text.count(" %\r") >= 20
    assert "20 images in " in text


def paths_of(ran: Ran) -> list[str]:
    return [row[0] for row in csv.reader(io.StringIO(ran.out))][1:]


def test_globs_lists_and_urls_are_read_without_a_cluster(
    run_lstn: RunLstn, tiny: Tiny, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("list.txt").write_bytes("\ufeffimages/a/01.png\r\nimages/b/00.png\r\n".encode())
    url = f"file://{folder}/a/03.png"
    for words, wanted in (
        (["images/*/0[01].png"], ["images/a/01.png", "images/b/00.png"]),
        (["list.txt"], ["images/a/01.png", "images/b/00.png"]),
        ([url, "images/b/00.png"], [url, "images/b/00.png"]),
    ):
        ran = run_lstn("infer", *words, "--engine", tiny.path)
        assert ran.code == 0
        assert paths_of(ran) == wanted


def test_what_a_folder_holds_besides_images_is_said(run_lstn: RunLstn, tiny: Tiny, folder: Path) -> None:
    (folder / "a/IMG.HEIC").touch()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX/x.png").touch()
    (folder / "c").symlink_to(folder / "a")
    (folder / "lost.png").symlink_to("/nowhere/lost.png")
    ran = run_lstn("infer", folder, "--engine", tiny.path)
    assert ran.err.splitlines()[0] == (
        "1 file is not read (1 .heic); convert images of other formats to JPEG or PNG; "
        "skipped: 1 hidden or system names (__MACOSX), 1 linked folders that are listed already"
    )
    assert len(paths_of(ran)) == 21
    assert ran.code == 1
    assert "lost.png" in ran.out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_show_are_escaped(
    make_tiny: MakeTiny, folder: Path, tmp_path: Path, encoding: str
) -> None:
    tiny = make_tiny(labels=("猫", "犬"))
    odd = os.fsencode(folder) + b"/caf\xe9.png"
    os.rename(folder / "a/01.png", odd)  # noqa: PTH104
    for arguments in (
        ["infer", odd, "--engine", tiny.path],
        ["inspect", tiny.path],
        ["infer", b"\xe9", "--engine", odd],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "lstn", *arguments],
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
        assert done.returncode == (2 if b"\xe9" in arguments else 0)
        assert b"defect" not in done.stderr
        assert b"Traceback" not in done.stderr


def test_an_engine_whose_path_is_not_text_is_refused(
    run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9r.onnx"))
    odd.write_bytes(tiny.path.read_bytes())
    ran = run_lstn("infer", folder, "--engine", odd)
    assert (ran.code, ran.out) == (2, "")
    assert "d\\udce9r.onnx: this path is not text in UTF-8" in ran.err


def test_a_pipe_or_a_device_is_a_row_with_an_error(run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "camera.jpg")
    ran = run_lstn("infer", tmp_path / "camera.jpg", "/dev/zero", "--engine", tiny.path, "--format", "json")
    assert ran.code == 1
    assert [row["error"] for row in json.loads(ran.out)] == ["not a regular file"] * 2


@pytest.mark.parametrize("option", ["--threads", "--workers"])
def test_thousands_of_threads_are_refused(run_lstn: RunLstn, tiny: Tiny, folder: Path, option: str) -> None:
    ran = run_lstn("infer", folder, "--engine", tiny.path, option, 5000)
    assert ran.code == 2
    assert f"5000 threads or processes are too many for the {os.cpu_count()} cores of this machine" in ran.err


def test_large_and_cut_photos_are_read_when_asked_for(run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((2000, 1000), 60).convert("RGB").save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    given = ("infer", cut, whole, "--engine", tiny.path, "--format", "json")
    errors = [row.get("error", "") for row in json.loads(run_lstn(*given, "--max-megapixels", 1.9).out)]
    assert errors == ["2000 x 1000 pixels, more than the limit of 1.9 million"] * 2
    ran = run_lstn(*given, "--truncated", "read")
    assert (ran.code, [row["path"] for row in json.loads(ran.out)]) == (0, [str(cut), str(whole)])
    assert [bool(row.get("error")) for row in json.loads(run_lstn(*given).out)] == [True, False]
