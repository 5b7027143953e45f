"""What `lstn infer` reads: folders, globs, lists, URLs, names and files of all kinds."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Ran, RunLstn
from PIL import Image
from tiny import MakeTiny, Tiny

from lstn.images import decode


def test_named_files_keep_the_order_they_were_typed_in(run_lstn: RunLstn, tiny: Tiny, folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"), reverse=True)
    ran = run_lstn("infer", *paths, "--engine", tiny.path, "--format", "json", "--top", 9)
    rows = json.loads(ran.out)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert all(len(row["top"]) == 4 for row in rows)
    theta = tiny.theta(decode(paths[0], (8, 8))[None])[0]
    np.testing.assert_allclose(rows[0]["theta"], theta, atol=1e-5)


def test_a_broken_image_is_a_row_and_exit_code_1(run_lstn: RunLstn, tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "05b.png").write_bytes(b"junk")
    output = tmp_path / "rows.json"
    ran = run_lstn("infer", folder, "--engine", tiny.path, "--output", output)
    assert ran.code == 1
    rows = json.loads(output.read_text())
    assert len(rows) == 21
    assert [row for row in rows if "error" in row] == [{"path": str(folder / "a" / "05b.png"), "error": "not an image"}]
    assert ran.err.count("error:") == 1
    assert "error: no answer for 1 of 21 images" in ran.err


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
    (folder / "a/IMG.CR2").touch()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX/x.png").touch()
    (folder / "c").symlink_to(folder / "a")
    (folder / "lost.png").symlink_to("/nowhere/lost.png")
    ran = run_lstn("infer", folder, "--engine", tiny.path)
    assert ran.err.splitlines()[0] == (
        "1 file is not read (1 .cr2); convert images of other formats to JPEG or PNG; "
        "skipped: 1 hidden or system name (__MACOSX), 1 linked folder is listed already"
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


def test_a_pipe_or_a_device_is_a_row_with_an_error(run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "camera.jpg")
    ran = run_lstn("infer", tmp_path / "camera.jpg", "/dev/zero", "--engine", tiny.path, "--format", "json")
    assert ran.code == 1
    assert [row["error"] for row in json.loads(ran.out)] == ["not a regular file"] * 2


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
