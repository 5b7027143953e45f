"""`lstn evaluate` as a user types it, on engines."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from browser import Browser
from command import RunLstn
from evaluated_folder import IMAGES, LABELS
from onnx import numpy_helper
from PIL import Image
from tiny import SIDE, MakeTiny, Tiny

from lstn.data.dataset import open_data
from lstn.formats.openvino_file import bin_path

_CURVES = """
const curves = [...document.querySelectorAll('h2')].find(each => each.textContent.includes('against the disturbance'));
return curves.parentElement.querySelectorAll('circle').length
"""
"""How many points the curves of the disturbances have; the reliability diagram has its own."""


def images_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    split = open_data(f"folder:{folder}", image_hw=(SIDE, SIDE)).test
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    return np.stack(pixels), np.array(labels)


def test_it_says_what_a_plain_loop_would(tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept)
    assert ran.code == 0
    pixels, labels = images_of(folder)
    predicted = tiny.logits(pixels).argmax(1)
    found = json.loads(kept.read_text())
    assert (found["images"], found["top1"], found["top5"]) == (IMAGES, np.mean(predicted == labels), 1.0)
    assert 0 < found["top1"] < 1
    counts = {(row, column): count for row, column, count in found["confusion_cells"]}
    for row, column in np.ndindex(len(LABELS), len(LABELS)):
        assert counts.get((row, column), 0) == int(((labels == row) & (predicted == column)).sum())
    for index, each in enumerate(found["classes"]):
        assert each["recall"] == pytest.approx(np.mean(predicted[labels == index] == index))
    low, high = found["top1_interval"]
    assert 0 <= low < found["top1"] < high <= 1
    assert f"{100 * found['top1']:.2f}" in ran.out
    assert found["disturbed"] == []
    shares = np.exp(tiny.logits(pixels).astype(np.float64))
    sure = (shares / shares.sum(1, keepdims=True)).max(1)
    assert found["confidence"]["mean_probability"] == pytest.approx(sure.mean(), rel=1e-4)
    for each in found["confidence"]["rejected"]:
        kept = sure >= each["below"]
        assert each["answered"] == pytest.approx(kept.mean())
        assert each["wrong"] == (pytest.approx(np.mean((predicted != labels)[kept])) if kept.any() else None)
    assert found["follow"]["images"] == IMAGES
    for kind in ("rotation", "scale", "shift"):
        assert found["follow"][kind]["low"] <= found["follow"][kind]["value"] <= found["follow"][kind]["high"]
        assert f"{found['follow'][kind]['value'] + 0.0:.2f}".removeprefix("-") in ran.out


def test_an_engines_crops_are_compared_with_the_boxes_of_a_folder(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    boxed = tmp_path / "boxed"
    shutil.copytree(folder, boxed)
    files = sorted((boxed / "test").rglob("*.png"))[::2]
    wide, high = Image.open(files[0]).size
    rows = [f"{file.relative_to(boxed).as_posix()},1,2,{wide},{high}" for file in files]
    (boxed / "boxes.csv").write_text("\n".join(["path,x1,y1,x2,y2", *rows]))
    kept, page = tmp_path / "kept.json", tmp_path / "page.html"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{boxed}", "--json", kept, "--html", page)
    assert ran.code == 0
    found = json.loads(kept.read_text())["pose"]
    assert found["images"] == len(files)
    assert 0 < found["overlap"] <= 1
    for text in (ran.out, page.read_text()):
        assert "true poses" in text
        assert f"{found['centre_px']:.2f} px" in text
    plain = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept)
    assert "true poses" not in plain.out
    assert "pose" not in json.loads(kept.read_text())


def test_disturbed_images_are_what_they_are_called(
    make_tiny: MakeTiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    tiny = make_tiny(seed=3)
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept, "--rotate", "-90,180",
                   "--scale=0.5,1", "--shift", "0")  # fmt: skip
    assert ran.code == 0
    found = json.loads(kept.read_text())
    pixels, labels = images_of(folder)
    by_name = {(each["kind"], each["amount"]): each["top1"] for each in found["disturbed"]}
    plain = np.mean(tiny.logits(pixels).argmax(1) == labels)
    # A mean colour doesn't change with turns of a quarter, and fades as the image shrinks on black.
    assert by_name[("rotate", -90)] == by_name[("rotate", 180)] == plain
    assert by_name[("scale", 1)] == by_name[("shift", 0)] == found["top1"] == plain
    assert list(by_name) == [("rotate", -90), ("rotate", 180), ("scale", 0.5), ("scale", 1), ("shift", 0)]
    for name in ("rotate -90", "scale 0.5", "shift 0"):
        assert name in ran.out


def test_a_colour_leaves_the_frame(make_tiny: MakeTiny, tmp_path: Path, run_lstn: RunLstn) -> None:
    """Bright images of one class, black ones of the other: shifted away, all look black."""
    weights = np.array([[1, 0], [1, 0], [1, 0]], np.float32)

    def decide(model: onnx.ModelProto) -> None:
        for index, each in enumerate(model.graph.initializer):
            if each.name == "weights":
                model.graph.initializer[index].CopyFrom(numpy_helper.from_array(weights, "weights"))

    tiny = make_tiny(labels=("bright", "dark"), edit=decide)
    for label, value in (("bright", 255), ("dark", 0)):
        for index in range(10):
            path = tmp_path / "two" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIDE, SIDE), (value,) * 3).save(path)
    kept = tmp_path / "kept.json"
    run_lstn("evaluate", tiny.path, "--data", f"folder:{tmp_path / 'two'}", "--json", kept, "--shift", "1.5")
    found = json.loads(kept.read_text())
    # Of equal logits the first class counts: black is taken for bright here, whatever it was.
    assert found["confusion_cells"] == [[0, 0, 10], [1, 0, 10]]
    assert found["disturbed"][0]["top1"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rotate", "30,x"), "--rotate: 'x'; expected numbers from -360 to 360"),
        (("--rotate", "nan"), "--rotate: 'nan'"),
        (("--rotate", "30,"), "--rotate: ''"),
        (("--scale", "0"), "--scale: '0'; expected numbers from 0.01 to 100"),
        (("--shift", "3"), "--shift: '3'; expected numbers from -2 to 2"),
        (("--data", "digits"), "--data digits has 10 classes"),
        (("--data", "folder:gone"), "gone"),
        (("--json", "."), "--json .: a folder"),
        (("--html", "."), "--html .: a folder"),
    ],
)
def test_wrong_use_is_one_line_and_a_cure(
    arguments: tuple[str, ...], says: str, tiny: Tiny, folder: Path, run_lstn: RunLstn
) -> None:
    data = () if "--data" in arguments else ("--data", f"folder:{folder}")
    ran = run_lstn("evaluate", tiny.path, *data, *arguments)
    assert ran.code in (1, 2)
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 2
    assert ran.out == ""


def test_a_folder_with_an_engine_names_it(tmp_path: Path, run_lstn: RunLstn) -> None:
    (tmp_path / "digits.xml").touch()
    for command in (["evaluate"], ["inspect"], ["bench"], ["serve", "--engine"]):
        ran = run_lstn(*command, tmp_path)
        assert ran.code == 2
        assert f"this is not a run\n  name the engine in it: {tmp_path / 'digits.xml'}" in ran.err


def test_a_file_that_is_none_is_said(tmp_path: Path, run_lstn: RunLstn) -> None:
    for name, says in (("gone.onnx", "no such file"), ("gone.safetensors", "no such file"), ("", "this is not a run")):
        ran = run_lstn("evaluate", tmp_path / name, "--data", "digits")
        assert ran.code == 2
        assert says in ran.err


def test_answers_that_are_no_numbers_end_in_a_line(
    make_tiny: MakeTiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        for each in model.graph.initializer:
            if each.name == "weights":
                each.CopyFrom(numpy_helper.from_array(np.full((3, 4), np.nan, np.float32), "weights"))

    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", make_tiny(edit=spoil).path, "--data", f"folder:{folder}", "--json", kept)
    assert ran.code == 1
    assert "not finite, first in images 0 to 23" in ran.err
    assert not kept.exists()


def test_an_edge_device_needs_no_torch(tiny: Tiny, folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from lstn.cli.app import app; "
        f"app(['evaluate', {str(tiny.path)!r}, '--data', 'folder:{folder}', '--rotate', '30'], standalone_mode=False); "
        "heavy = {'onnx', 'torchvision', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "rotate 30" in done.stdout


def test_openvino_says_the_same(tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    from lstn.export.openvino.to_openvino import write_openvino

    xml = tmp_path / "model.xml"
    write_openvino(tiny.path, xml, images_of(folder)[0])
    assert bin_path(xml).is_file()
    found = []
    for path in (tiny.path, xml):
        kept = tmp_path / "kept.json"
        assert run_lstn("evaluate", path, "--data", f"folder:{folder}", "--json", kept, "--rotate", "45").code == 0
        found.append(json.loads(kept.read_text()))
    assert found[0]["confusion_cells"] == found[1]["confusion_cells"]
    assert found[0]["disturbed"] == found[1]["disturbed"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_an_error_and_without_overflow(
    make_tiny: MakeTiny, folder: Path, tmp_path: Path, run_lstn: RunLstn, browser: Browser, width: int, scheme: str
) -> None:
    for split in ("train", "val", "test"):
        (folder / split / "dog").rename(folder / split / "<b>dog")
    tiny, html = make_tiny(labels=("<b>dog", *LABELS[:-1])), tmp_path / "page.html"
    angles = "-90,-60,-45,-30,30,45,60,90"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--rotate", angles, "--scale", "0.5",
                   "--html", html)  # fmt: skip
    assert ran.code == 0
    browser.show(html, width=width, scheme=scheme)
    assert browser.messages() == []
    assert browser.run("return document.documentElement.scrollWidth") == width
    headings = browser.run("return [...document.querySelectorAll('h2')].map(each => each.textContent)")
    wanted = ["Accuracy", "Accuracy against the disturbance", "Confidence", "Answers below a probability rejected"]
    wanted += ["Reliability", "Follow of known moves"]
    wanted += ["Worst confusions", "Every class, worst first"]
    assert [heading.split(": ")[-1].capitalize() for heading in headings] == wanted
    assert "<b>dog" in browser.run("return document.body.textContent")
    assert browser.run("return document.querySelectorAll('svg').length") == 3
    assert browser.run(_CURVES) == 8 + 1 + 1 + 1
    assert browser.cut_off_words() == []
