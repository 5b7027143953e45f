"""`lstn train` with an oblong image, a view and a crop: what is asked for is what is trained, kept and gone on with."""

import json
from pathlib import Path

import pytest
from command import RunLstn
from short_runs import CPU, options, run

from lstn.contract import At, Loc
from lstn.errors import UsageError
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, read_options
from lstn.train.watch.watcher import SILENT

FEW = {"train": range(64), "val": range(10_000, 10_032), "test": range(11_000, 11_020)}


@pytest.fixture(autouse=True)
def few_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lstn.data.digits._PART", FEW)


def test_sizes_of_the_command_line_are_the_models(run_lstn: RunLstn) -> None:
    sizes = ("--image-size", "32x48", "--view", "16x24", "--crop", "24 X 20")
    ran = run_lstn(
        "train", "--loc", "glance", "--model", "cnn", "--epochs", 1, "--name", "a", "--device", "cpu", *sizes
    )
    assert ran.code == 0, ran.err
    checkpoint = load_checkpoint(Path("runs/a") / CHECKPOINT)
    contract = checkpoint.contract
    assert (contract.image_hw, contract.view_hw, contract.crop_hw) == ((32, 48), (16, 24), (24, 20))
    told = run_lstn("inspect", Path("runs/a") / CHECKPOINT).out
    assert [line.rstrip().split(maxsplit=1) for line in told.splitlines() if "pixels" in line] == [
        ["image", "32 x 48 pixels"], ["localizer", "sees  16 x 24 pixels"], ["crop", "24 x 20 pixels"]
    ]  # fmt: skip
    assert run_lstn("train", "--resume", "runs/a", "--epochs", 2, "--crop", "24x20", "--device", "cpu").code == 0
    other = run_lstn("train", "--resume", "runs/a", "--epochs", 3, "--crop", "24")
    assert "--crop can't change in a run that is resumed; runs/a has 24x20" in other.err


@pytest.mark.parametrize("option", ["--image-size", "--view", "--crop"])
@pytest.mark.parametrize("text", ["7", "4097", "32x", "x32", "32x7", "32x32x3", "-32", "32.5", "٣٢x", "large", "1e2"])
def test_no_size_is_one_line(option: str, text: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", f"{option}={text}")
    assert ran.code == 2
    assert "loading" not in ran.err  # what was typed is told before PyTorch is there
    assert f"error: {option} {text!r}: expected a side, or height x width, of 8 to 4096 pixels" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loc": Loc.NONE, "crop": 16}, "makes no crop"),
        ({"loc": Loc.SHARED, "view": 16}, "no localizer that looks at the image by itself"),
        ({"loc": Loc.STN, "at": At.STEM, "crop": 16}, "at the stem warps feature maps"),
        ({"loc": Loc.STN, "crop": (32, 33)}, "a crop of 32 x 33 pixels is larger than the image, 32 x 32"),
        ({"loc": Loc.STN, "view": 20}, "can't be averaged from 32 x 32"),
    ],
)
def test_no_run_is_begun_with_sizes_that_make_no_model(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        run(options("digits", **changes), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_sizes_survive_json_and_older_runs_have_none() -> None:
    chosen = options("digits", image_size=(32, 48), view=(16, 24), crop=24)
    assert Options.from_json(chosen.to_json(), source="test") == chosen
    older = json.loads(options("digits").to_json())
    del older["view"], older["crop"]
    read = Options.from_json(json.dumps(older | {"image_size": 48}), source="test")
    assert (read.image_size, read.view, read.crop, read.contract(("a",)).crop_hw) == ((48, 48), None, None, None)


def test_a_size_that_is_the_images_own_is_none() -> None:
    """So that such a model's contract is in the version that any lstn reads."""
    whole = options("digits", loc=Loc.LSTN, view=32, crop=(32, 32)).contract(("a",))
    assert (whole.view_hw, whole.crop_hw) == (None, None)


def test_a_stopped_run_with_a_crop_ends_as_one_that_went_on(tmp_path: Path) -> None:
    chosen = options("digits", loc=Loc.GLANCE, epochs=2, crop=20)
    whole = run(chosen, tmp_path / "whole")
    train_to_end(
        options("digits", loc=Loc.GLANCE, epochs=1, crop=20),
        tmp_path / "parts", device=CPU, workers=0, watcher=SILENT, resume=False,
    )  # fmt: skip
    resumed = run(chosen, tmp_path / "parts", resume=True)
    assert [row["val_loss"] for row in resumed.history] == [row["val_loss"] for row in whole.history]
    assert read_options(tmp_path / "parts" / LAST).crop == (20, 20)
