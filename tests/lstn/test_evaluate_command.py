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
from onnx import numpy_helper
from PIL import Image
from tiny import SIDE, MakeTiny, Tiny

from lstn.data.dataset import Split, open_data
from lstn.formats.openvino_file import bin_path
from lstn.formats.training_record import TRAINING_KEY, Training
from lstn.images import decode

LABELS = ("ant", "bee", "cat", "dog")
IMAGES = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random images of random classes: a model that guesses is right in some."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in LABELS:
            for index in range(IMAGES // 4):
                path = tmp_path / "data" / split / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (SIDE, SIDE, 3)) * rng.uniform(0.2, 1, 3)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "data"


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
    assert found["follow"]["images"] == IMAGES
    for kind in ("rotation", "scale", "shift"):
        assert found["follow"][kind]["low"] <= found["follow"][kind]["value"] <= found["follow"][kind]["high"]
        assert f"{found['follow'][kind]['value'] + 0.0:.2f}".removeprefix("-") in ran.out


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
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", *arguments)
    assert ran.code in (1, 2)
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) <= 2
    assert ran.out == ""


def test_an_engine_needs_to_be_told_its_images(tiny: Tiny, run_lstn: RunLstn) -> None:
    ran = run_lstn("evaluate", tiny.path)
    assert ran.code == 2
    assert "add --data" in ran.err


def test_an_engine_needs_to_be_told_a_seed_that_decides_what_is_tested(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    """Which it doesn't know: by another than the run's, it would be tested on what it was trained on."""
    kept = tmp_path / "kept.json"
    given = ("evaluate", tiny.path, "--data", f"folder:{folder / 'train'}", "--json", kept, "--split", "test")
    ran = run_lstn(*given)
    assert (ran.code, ran.out) == (2, "")
    line, hint = ran.err.splitlines()[-2:]
    assert line.endswith("is split by a seed, and this file doesn't say which one its model was trained with")
    assert "add --seed N" in hint
    assert not kept.exists()
    assert run_lstn(*given, "--seed", 1).code == 0
    split = open_data(f"folder:{folder / 'train'}", image_hw=(SIDE, SIDE), seed=1).test
    assert json.loads(kept.read_text())["top1"] == top1_by_hand(tiny, split)


def test_an_engine_that_says_what_it_was_trained_on_is_not_tested_on_it(
    make_tiny: MakeTiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    photos = folder / "train"
    own = open_data(f"folder:{photos}", image_hw=(SIDE, SIDE), seed=5)
    record = Training(f"folder:{photos}", 5, 1, 0.5, images=own.train.fingerprint)
    tiny = make_tiny(edit=lambda model: model.metadata_props.add(key=TRAINING_KEY, value=record.to_json()))
    (tmp_path / "elsewhere").mkdir()
    moved = photos.rename(tmp_path / "elsewhere" / "moved")
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{moved}", "--json", kept)
    assert ran.code == 0
    assert f"only the 4 test images of folder:{moved} are tested" in ran.err
    found = json.loads(kept.read_text())
    assert (found["split"], found["images"]) == ("test", 4)
    assert found["top1"] == top1_by_hand(tiny, open_data(f"folder:{moved}", image_hw=(SIDE, SIDE), seed=5).test)
    ran = run_lstn("evaluate", tiny.path)
    assert (ran.code, f"{photos}: no such folder" in ran.err) == (2, True)
    moved.rename(photos)
    assert run_lstn("evaluate", tiny.path, "--json", kept).code == 0
    assert json.loads(kept.read_text()) == found | {"data": f"folder:{photos}"}


def top1_by_hand(tiny: Tiny, split: Split) -> float:
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    return float(np.mean(tiny.logits(np.stack(pixels)).argmax(1) == np.array(labels)))


@pytest.mark.parametrize("gone", [(), ("ant",), ("bee", "dog")])
def test_new_images_are_tested_all_and_need_not_be_of_every_class(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn, gone: tuple[str, ...]
) -> None:
    for label in gone:
        shutil.rmtree(folder / "train" / label)
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder / 'train'}", "--json", kept)
    assert ran.code == 0
    count = IMAGES // 4 * (4 - len(gone))
    assert f"all {count} images are taken as test images" in ran.err
    assert f"{4 - len(gone)} classes; {count} images; the smallest class, " in ran.err
    found = json.loads(kept.read_text())
    assert (found["images"], found["split"]) == (count, "all")
    pixels, labels = [], []
    for index, label in enumerate(LABELS):  # numbered as the model's, whichever are there
        for path in sorted((folder / "train" / label).glob("*")):
            pixels.append(decode(path, (SIDE, SIDE)))
            labels.append(index)
    assert found["top1"] == np.mean(tiny.logits(np.stack(pixels)).argmax(1) == np.array(labels))
    assert [row["images"] for row in found["classes"]] == [0 if name in gone else IMAGES // 4 for name in LABELS]


@pytest.mark.parametrize(
    ("split", "count"), [("train", IMAGES), ("val", IMAGES // 2), ("test", IMAGES), ("all", 5 * IMAGES // 2)]
)
def test_any_split_of_a_divided_folder_is_tested(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn, split: str, count: int
) -> None:
    for label in LABELS[:2]:
        shutil.rmtree(folder / "val" / label)
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept, "--split", split)
    assert ran.code == 0
    found = json.loads(kept.read_text())
    assert (found["images"], found["split"]) == (count, split)


def test_a_folder_with_test_images_alone_is_tested(tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    for name in ("train", "val"):
        shutil.rmtree(folder / name)
    kept = tmp_path / "kept.json"
    assert run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept).code == 0
    assert json.loads(kept.read_text())["top1"] == top1_by_hand(
        tiny, open_data(f"folder:{folder}", image_hw=(SIDE, SIDE), labels=LABELS).test
    )
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--split", "val")
    assert (ran.code, ran.out) == (1, "")
    assert f"{folder}: no val images" in ran.err


def test_a_class_that_the_model_does_not_have_is_refused(tiny: Tiny, folder: Path, run_lstn: RunLstn) -> None:
    (folder / "train" / "ant").rename(folder / "train" / "wasp")
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder / 'train'}")
    assert (ran.code, ran.out) == (1, "")
    assert "class 'wasp' is not one of the model's 4 classes" in ran.err


def test_validation_images_do_not_pass_for_test_images(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    (folder / "test").rename(tmp_path / "elsewhere")
    kept, html = tmp_path / "kept.json", tmp_path / "page.html"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept, "--html", html)
    assert ran.code == 0
    assert f"warning: no {folder / 'test'}" in ran.err
    assert json.loads(kept.read_text())["split"] == "val"
    for text in (ran.out, html.read_text()):
        assert "24 validation images" in text
        assert "test images" not in text
    (tmp_path / "elsewhere").rename(folder / "test")
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept)
    assert json.loads(kept.read_text())["split"] == "test"
    assert "24 test images" in ran.out


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
    wanted = ["Accuracy", "Accuracy against the disturbance", "Follow of known moves"]
    wanted += ["Worst confusions", "Every class, worst first"]
    assert [heading.split(": ")[-1].capitalize() for heading in headings] == wanted
    assert "<b>dog" in browser.run("return document.body.textContent")
    assert browser.run("return document.querySelectorAll('svg').length") == 2
    assert browser.run("return document.querySelectorAll('svg circle').length") == 8 + 1 + 1 + 1
    assert browser.cut_off_words() == []
