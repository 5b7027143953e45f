"""`lstn infer`, from the words typed to the rows, tables and pictures left."""

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
from command import RunLstn
from PIL import Image
from tiny import Tiny

from lstn.images import decode
from lstn.warps.drawn_warp import draw_warp
from lstn.warps.warp import sampling_of


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


def test_unsure_answers_are_rejected_and_counted(run_lstn: RunLstn, tiny: Tiny, folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    logits = tiny.logits(np.stack([decode(path, (8, 8)) for path in paths])).astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    sure = (shares / shares.sum(1, keepdims=True)).max(1)
    least = float(np.median(sure))
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--reject-below", least)
    assert ran.code == 0
    _, *lines = csv.reader(io.StringIO(ran.out))
    assert [line[1] == "" for line in lines] == (sure < least).tolist()
    assert f"{int((sure < least).sum())} of them rejected" in ran.err


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
    wanted = np.asarray(draw_warp(pixels, theta, sampling_of(tiny.contract)))
    np.testing.assert_allclose(drawn, wanted, atol=2)


def test_a_name_as_long_as_the_file_system_takes_still_gets_its_warp(
    run_lstn: RunLstn, tiny: Tiny, tmp_path: Path
) -> None:
    image = tmp_path / ("ü" * 120 + ".png")
    Image.new("RGB", (9, 9)).save(image)
    assert run_lstn("infer", image, "--engine", tiny.path, "--warps", tmp_path / "warps").code == 0
    assert len(list((tmp_path / "warps").iterdir())) == 1


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
