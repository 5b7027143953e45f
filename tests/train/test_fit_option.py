"""`lstn train --fit`: what is asked for is what is trained on, kept, exported and gone on with."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from PIL import Image
from short_runs import options

from lstn.contract import Fit, Loc
from lstn.data.folders.class_folders import FolderSplit
from lstn.imaging.framing import framing_of
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.train.data_and_contract import described_contract, opened


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of wide photos: the colour of the middle decides."""
    monkeypatch.chdir(tmp_path)
    for label, middle in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        for number in range(30):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 48, 3), np.uint8)
            pixels[:, 16:32] = middle
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def test_the_fit_of_the_command_line_is_the_models(photos: Path, run_lstn: RunLstn) -> None:
    said = ("--loc", "none", "--model", "cnn", "--image-size", 16, "--device", "cpu", "--fit", "centre")
    ran = run_lstn("train", *said, "--data", f"folder:{photos}", "--epochs", 3, "--name", "a")
    assert ran.code == 0, ran.err
    assert load_checkpoint(Path("runs/a") / CHECKPOINT).contract.fit is Fit.CENTRE
    told = run_lstn("inspect", Path("runs/a") / CHECKPOINT).out
    assert ["fit", "centre"] in [line.split() for line in told.splitlines()]
    assert run_lstn("train", "--resume", "runs/a", "--epochs", 4, "--device", "cpu").code == 0
    other = run_lstn("train", "--resume", "runs/a", "--epochs", 5, "--fit", "letterbox")
    assert "--fit can't change in a run that is resumed; runs/a has centre" in other.err
    assert run_lstn("export", Path("runs/a") / CHECKPOINT, "--engine", "onnx").code == 0
    found = run_lstn("infer", photos / "red" / "0.png", photos / "blue" / "1.png", "--format", "json")
    assert [row["label"] for row in json.loads(found.out)] == ["red", "blue"]


def test_a_detector_says_that_it_stretches(photos: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--task", "detect", "--loc", "glance", "--model", "cnn", "--fit", "letterbox")
    assert ran.code == 2
    assert "a detector of fit letterbox" in ran.err


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize(("weights", "gray"), [("", 124), ("imagenet", 128)])
def test_images_are_framed_as_the_model_to_be_says(photos: Path, fit: Fit, weights: str, gray: int) -> None:
    """The weights of some networks want another mean than most, and the padding is that mean."""
    kind = {"model": "timm:vit_tiny_patch16_224", "weights": weights, "image_size": (48, 24), "fit": fit}
    asked = options(data=f"folder:{photos}", loc=Loc.STN, **kind)
    data = opened(asked)
    contract = described_contract(asked, data)
    assert isinstance(data.train, FolderSplit)
    assert contract.fit is fit
    assert data.train.framing == framing_of(contract)
    assert (data.train[0][0][0, :, 0] == gray).all() == (fit is Fit.LETTERBOX)
