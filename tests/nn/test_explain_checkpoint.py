"""`lstn explain` as a user types it, on checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from PIL import Image
from small_models import SIDE, warping_model

from lstn.contract import Loc
from lstn.nn.checkpoint import save_checkpoint


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(11):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return folder


def saved(tmp_path: Path, loc: Loc, backbone: str = "cnn") -> Path:
    model, _ = warping_model(loc, backbone)
    save_checkpoint(model, tmp_path / "checkpoint.safetensors")
    return tmp_path / "checkpoint.safetensors"


def test_a_checkpoint_gets_every_map(photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    out = tmp_path / "out"
    ran = run_lstn("explain", saved(tmp_path, Loc.STN), photos / "00.png", photos / "01.png", "--out", out)
    assert ran.code == 0, ran.err
    for each in json.loads((out / "explain.json").read_text())["images"]:
        assert list(each["maps"]) == ["moves the label", "moves the warp", "grad-cam", "gradients"]
        assert Image.open(out / each["picture"]).width == 6 * 224 + 5 * 8
        assert len(each["occlusion"]["fall"]) == 8


def test_one_method_alone_is_only_that(photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    out = tmp_path / "out"
    ran = run_lstn("explain", saved(tmp_path, Loc.NONE), photos, "--method", "grad-cam", "--out", out)
    assert ran.code == 0, ran.err
    told = json.loads((out / "explain.json").read_text())["images"]
    assert [list(each["maps"]) for each in told] == [["grad-cam"]] * 11
    assert "occlusion" not in told[0]


def test_features_of_a_layer(photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    out = tmp_path / "out"
    (photos / "bad.png").write_bytes(b"no image")
    ran = run_lstn("explain", saved(tmp_path, Loc.STN), photos, "--features", "features.3", "--out", out)
    assert ran.code == 1, ran.err
    assert "could not be read" in ran.err
    told = json.loads((out / "explain.json").read_text())
    assert [Path(each["path"]).name for each in told["images"]] == ["bad.png"]
    assert (told["features"]["layer"], len(told["features"]["maps"])) == ("features.3", 32)
    for number, each in enumerate(told["features"]["maps"]):
        values = [image["value"] for image in each["images"]]
        assert (each["map"], len(values)) == (number, 9)
        assert values == sorted(values, reverse=True)
        assert len({image["path"] for image in each["images"]}) == 9
    assert {path.name for path in out.iterdir()} == {"index.html", "explain.json", "features.png"}
    pair = 2 * (3 * 41 - 1) + 4
    assert Image.open(out / "features.png").size == (4 * (pair + 10) - 10, 8 * (122 + 10) - 10)
    ran = run_lstn("explain", tmp_path / "checkpoint.safetensors", photos, "--features", "features.3:7", "--out", out)
    assert Image.open(out / "features.png").size == (pair, 122)


@pytest.mark.parametrize(
    ("backbone", "layer", "said"),
    [
        ("cnn", "layer9", "--features layer9: is not a layer of it (cnn)"),
        ("cnn", "features.3:99", "this layer has 32 feature maps"),
        ("effnet-b0", "features.4", "effnet-b0 computes SiLU, and a deconvnet is defined for ReLU alone"),
    ],
)
def test_features_that_cannot_be_shown_are_refused_in_a_line(
    backbone: str, layer: str, said: str, photos: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    words = [saved(tmp_path, Loc.NONE, backbone), photos, "--features", layer, "--out", tmp_path / "out"]
    for method in ([], ["--method", "occlusion"]):
        ran = run_lstn("explain", *words, *method)
        assert ran.code == 2
        assert said in ran.err
        assert not (tmp_path / "out").exists(), "before any work"


def test_a_window_without_occlusion_is_refused(photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    for words in (["--features", "features.3", "--window", "3"], ["--method", "grad-cam", "--stride", "1"]):
        ran = run_lstn("explain", saved(tmp_path, Loc.NONE), photos, "--out", tmp_path / "out", *words)
        assert ran.code == 2
        assert f"{words[2]}: is of the method occlusion alone" in ran.err


def test_without_captum_the_extra_is_named(
    photos: Path, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, Loc.NONE)
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    ran = run_lstn("explain", path, photos, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "captum is" in ran.err
    assert "explain]" in ran.err
    assert run_lstn("explain", path, photos, "--method", "occlusion", "--out", tmp_path / "out").code == 0
