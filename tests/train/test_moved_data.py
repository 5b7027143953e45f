"""A run and its images after they moved, or are named from elsewhere: contents are compared, not names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from PIL import Image

from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.train.runs.run_state import LAST, read_options

SMALL = ("--loc", "none", "--model", "cnn", "--image-size", 32, "--batch-size", 8, "--device", "cpu", "--workers", 0)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images in two classes, which lstn divides by the seed."""
    random = np.random.default_rng(0)
    for label in ("left", "right"):
        for index in range(12):
            path = tmp_path / "photos" / label / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_goes_on_from_any_folder_and_with_images_that_moved(
    work: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run_lstn("train", *SMALL, "--data", "folder:photos", "--epochs", 1, "--seed", 3, "--name", "r")
    assert ran.code == 0
    assert ran.err.startswith(
        f"{work}/photos: 2 classes; 20 training, 2 validation and 2 test images; the smallest class, 'left', has 10 "
    )
    run = work / "runs/r"
    assert load_checkpoint(run / CHECKPOINT).training.data == f"folder:{work}/photos"
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    assert run_lstn("train", "--resume", run, "--epochs", 2).code == 0
    assert run_lstn("evaluate", run).code == 0
    (work / "photos").rename(work / "elsewhere/moved")
    for command in (("train", "--resume", run, "--epochs", 3), ("evaluate", run), ("calibrate", run)):
        lost = run_lstn(*command)
        assert lost.code in (1, 2)
        assert f"{work}/photos: no such folder" in lost.err
        assert "--data folder:NEW_PATH" in lost.err
    ran = run_lstn("train", "--resume", run, "--data", "folder:moved", "--epochs", 3)
    assert ran.code == 0
    assert "resuming after epoch 2" in ran.err
    assert read_options(run / LAST).data == f"folder:{work}/elsewhere/moved"
    shutil.copytree("moved", "other")
    shutil.copy("moved/left/00.png", "other/right/00.png")
    ran = run_lstn("train", "--resume", run, "--data", "folder:other", "--epochs", 4)
    assert ran.code == 1
    assert "the data set is not the one that this run began with" in ran.err


def test_a_model_is_tested_on_its_own_test_images_under_any_name(work: Path, run_lstn: RunLstn) -> None:
    """Of new images in such a folder all are tested; of its own, most were trained on."""
    run_lstn("train", *SMALL, "--data", "folder:photos", "--epochs", 1, "--seed", 3, "--name", "r")
    shutil.copytree("photos", "copy")
    shutil.copytree("photos", "new")
    Image.new("RGB", (8, 8), (1, 2, 3)).save("new/left/00.png")
    found = {}
    for name in ("photos", "copy", "new"):
        assert run_lstn("evaluate", "runs/r", "--data", f"folder:{name}", "--json", "kept.json").code == 0
        kept = json.loads(Path("kept.json").read_text())
        found[name] = (kept["split"], kept["images"])
    assert found == {"photos": ("test", 2), "copy": ("test", 2), "new": ("all", 24)}
