"""`lstn train` as a user types it."""

import json
import re
import shutil
import signal
import sys
import time
import typing
from pathlib import Path

import pytest
from command import RunLstn
from forked import Forked
from PIL import Image

from lstn.cli.train import MAX_SEED, train
from lstn.data.dataset import Usual, usual
from lstn.errors import LstnError
from lstn.nn.checkpoint import load_checkpoint
from lstn.recipe import RECIPES
from lstn.report.wording import counted
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import read_options
from lstn.train.watch.watcher import Outlook, Watcher

SMALL = ("--model", "cnn", "--image-size", "32", "--name", "a")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("loc", ["lstn", "none"])
def test_a_run_leaves_all_that_it_names(loc: str, data: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--loc", loc, "--data", data, "--epochs", 2, *SMALL)
    assert ran.code == 0
    left = {path.name for path in Path("runs/a").iterdir()}
    pictures = {"curves.png", "confusion.png"} | ({"warps.png", "warps.gif"} if loc == "lstn" else set())
    assert left == {"checkpoint.safetensors", "last.safetensors", "metrics.jsonl", "test.json"} | pictures
    for name in pictures:
        Image.open(Path("runs/a") / name).verify()
    last = json.loads(Path("runs/a/metrics.jsonl").read_text().splitlines()[-1])
    assert f"test accuracy {last['test_accuracy']:.1%} on 16 images" in ran.out
    begins = next(line for line in ran.err.splitlines() if line.startswith(f"{loc} + cnn"))
    assert re.fullmatch(rf"{loc} \+ cnn, [\d,]+ parameters, on the CPU, .*: 48 training images in .* 2 epochs", begins)
    lines = [line for line in ran.err.splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert load_checkpoint(Path("runs/a/checkpoint.safetensors")).contract.loc == loc


def test_a_run_without_test_images_says_what_it_was_tested_on(data: str, run_lstn: RunLstn) -> None:
    """As often as it is told how good the run is."""
    shutil.copytree(data.removeprefix("folder:"), "images", ignore=shutil.ignore_patterns("test"))
    ran = run_lstn("train", "--data", "folder:images", "--epochs", 1, *SMALL)
    assert ran.code == 0
    assert [line for line in ran.err.splitlines() if "warning" in line] == [
        f"warning: no {Path('images/test').absolute()}: the validation images are tested, and these chose the epoch, "
        "which flatters it"
    ]
    assert "there are no test images, so validation accuracy" in ran.out
    assert "test accuracy" not in ran.out
    parts = load_checkpoint(Path("runs/a/checkpoint.safetensors")).training.parts
    assert parts == "as the folders train and val say; without test images, those of val are tested"


def test_a_run_without_a_name_is_named_by_what_it_is(data: str, run_lstn: RunLstn) -> None:
    assert run_lstn("train", "--data", data, "--epochs", 1, "--model", "cnn", "--image-size", 32).code == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("lstn-cnn-2")


def test_resuming_takes_the_runs_own_options(data: str, run_lstn: RunLstn) -> None:
    run_lstn("train", "--data", data, "--epochs", 1, "--batch-size", 8, *SMALL)
    ran = run_lstn("train", "--resume", "runs/a", "--epochs", 3)
    assert ran.code == 0
    assert ran.err.splitlines()[0] == "resuming after epoch 1"
    assert len(Path("runs/a/metrics.jsonl").read_text().splitlines()) == 4
    for option, value in (("--batch-size", 4), ("--loc", "stn"), ("--name", "b")):
        refused = run_lstn("train", "--resume", "runs/a", option, value)
        assert refused.code == 2
        assert f"{option} can't change" in refused.err


def test_options_override_the_recipe(data: str, run_lstn: RunLstn) -> None:
    given = ("--recipe", "paper", "--lr", "0.01", "--theta", "crop", "--in-frame", "0.2", "--data", data, "--epochs", 1)
    assert run_lstn("train", *given, *SMALL).code == 0
    options = read_options(Path("runs/a/last.safetensors"))
    paper = RECIPES["paper"]
    assert (options.recipe.lr, options.recipe.theta.value, options.recipe.in_frame) == (0.01, "crop", 0.2)
    assert (options.recipe.loc_lr_scale, options.recipe.batch_size) == (paper.loc_lr_scale, paper.batch_size)
    assert load_checkpoint(Path("runs/a/checkpoint.safetensors")).contract.theta.value == "crop"
    refused = run_lstn("train", "--resume", "runs/a", "--recipe", "paper")
    assert refused.code == 2
    assert "--recipe can't change in a run that is resumed" in refused.err


def test_a_recipe_is_there_for_every_name() -> None:
    names, _ = typing.get_args(typing.get_type_hints(train, include_extras=True)["recipe"])
    assert set(typing.get_args(names)) == set(RECIPES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "effnet-b9"), "effnet-b0"),
        (("--data", "cifar"), "unknown data set 'cifar'"),
        (("--name", "../escape"), "can't name a run"),
        (("--name", ".."), "can't name a run"),
        (("--name", "ü" * 101), "can't name a run: it has 202 bytes"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--device", "cuda:x"), "unknown device 'cuda:x'"),
        (("--resume", "runs/gone"), "this is not a run"),
        (("--weights", "gone.safetensors"), "gone.safetensors"),
        (("--image-size", "16"), "too small"),
        (("--weights", "imagenet"), "cnn"),
        (("--loc", "none", "--theta", "crop"), "loc none has no localizer"),
        (("--loc", "none", "--in-frame", "0.5"), "loc none trains no localizer"),
        (("--loc", "none", "--loc-lr-scale", "7"), "loc none trains no localizer"),
        (("--loc", "none", "--equivariance", "1"), "loc none trains no localizer"),
        (("--equivariance", "inf"), "equivariance inf is not a number to train with"),
        (("--loc", "identity", "--in-frame", "0"), "loc identity trains no localizer"),
        (("--loc", "dead", "--loc-lr-scale", "0.1"), "loc dead trains no localizer"),
        (("--lr", "inf"), "--lr inf is not a number"),
        (("--model", "resnet-18", "--image-size", "32", "--batch-size", "1"), "can't train on one image"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(arguments: tuple[str, ...], says: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", *(() if "--model" in arguments else ("--model", "cnn")), *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert len(ran.err.splitlines()) == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "--data", "cifar"), "unknown data set 'cifar'"),
        (("train", "--data", "folder:"), "names no folder"),
        (("train", "--data", "scenes:a"), "1 folder; expected two"),
        (("train", "--name", "../escape"), "can't name a run"),
        (("train", "--device", "tpu"), "unknown device 'tpu'"),
        (("train", "--resume", "runs/gone"), "this is not a run"),
        (("attack", "a.safetensors", "b.png", "--device", "cuda:"), "unknown device 'cuda:'"),
        (("study", "--device", "gpu"), "unknown device 'gpu'"),
        (("study", "--data", "cifar"), "unknown data set 'cifar'"),
        (("study", "--locs", "foo"), "no localizer is called 'foo'"),
        (("study", "--locs", "lstn,lstn"), "one is named twice"),
    ],
)
def test_a_wrong_name_is_said_before_anything_is_loaded(
    arguments: tuple[str, ...], says: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch")  # or it isn't said that it is loaded
    ran = run_lstn(*arguments)
    assert ran.code == 2
    assert says in ran.err
    assert "loading" not in ran.err


def test_the_largest_seed_is_one_that_a_run_can_be_resumed_with(data: str, run_lstn: RunLstn) -> None:
    assert run_lstn("train", "--data", data, "--augment", "affine", "--seed", MAX_SEED, "--epochs", 1, *SMALL).code == 0
    assert run_lstn("train", "--resume", "runs/a", "--epochs", 2).code == 0
    refused = run_lstn("train", "--data", data, "--seed", MAX_SEED + 1, "--epochs", 1, *SMALL)
    assert refused.code == 2
    assert "--seed" in refused.err


def test_a_gpu_that_is_not_there_is_said(run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--model", "cnn", "--device", "cuda:99")
    assert ran.code == 1
    assert "no device cuda:99: torch sees" in ran.err


def test_a_name_that_is_taken_is_refused(data: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    run_lstn("train", "--data", data, "--epochs", 1, *SMALL)
    before = Path("runs/a/last.safetensors").read_bytes()
    monkeypatch.delitem(sys.modules, "torch")  # or it isn't said that it is loaded
    ran = run_lstn("train", "--data", data, "--epochs", 1, *SMALL)
    assert ran.code == 2
    assert "lstn train --resume runs/a" in ran.err
    assert "loading" not in ran.err
    assert Path("runs/a/last.safetensors").read_bytes() == before


def test_a_run_stopped_in_its_first_epoch_goes_on(data: str, run_lstn: RunLstn) -> None:
    command = ("-m", "lstn", "train", "--data", data, "--lr", "0.01", "--batch-size", "1", *SMALL)
    with Forked(*command) as process:
        while not Path("runs/a/last.safetensors").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert err.endswith("Go on with: lstn train --resume runs/a\n")
    assert run_lstn("train", "--resume", "runs/a", "--epochs", 1).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_every_finished_epoch(number: signal.Signals, data: str, run_lstn: RunLstn) -> None:
    command = ("-m", "lstn", "train", "--data", data, "--epochs", "9999", "--patience", "9999", *SMALL)
    with Forked(*command) as process:
        while not process.stderr.readline().startswith("epoch   1/"):  # finished; on its way it is "epoch 1/"
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    finished = len(Path("runs/a/metrics.jsonl").read_text().splitlines())
    *_, go_on, pictures = err.splitlines()
    assert go_on.endswith("Go on with: lstn train --resume runs/a")
    assert pictures.endswith(f"so far: lstn train --resume runs/a --epochs {finished}")
    assert "Traceback" not in err
    whole = run_lstn("train", *pictures.partition("lstn train ")[2].split())
    assert whole.code == 0
    assert f"runs/a has all of its {counted(finished, 'epoch')}; a larger --epochs trains on" in whole.err
    assert {"curves.png", "test.json"} <= {path.name for path in Path("runs/a").iterdir()}
    assert load_checkpoint(Path("runs/a/checkpoint.safetensors")).training.epoch <= finished
    assert run_lstn("train", "--resume", "runs/a", "--epochs", finished + 1).code == 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("effnet-b0", "digits: images of 44 x 44 pixels (effnet-b0 was made for 224), 5 epochs"),
        ("zfnet", "digits: images of 53 x 53 pixels (zfnet was made for 224), 5 epochs"),
    ],
)
def test_the_embedded_digits_have_a_usual_size_and_say_so(
    model: str, said: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backbone that takes no images so small gets the smallest that it takes."""
    fitted = []

    def fit(options: Options, *_: object, watcher: Watcher, **__: object) -> None:
        fitted.append(options)
        watcher.started(Outlook("cpu", 1, 10, 1, 1, 0))
        raise LstnError("enough")

    monkeypatch.setattr("lstn.train.loop.train_to_end", fit)
    ran = run_lstn("train", "--model", model)
    assert said in ran.err
    assert "images of {} x {}".format(*fitted[0].image_size) in said
    assert fitted[0].epochs == 5
    asked = run_lstn("train", "--model", model, "--image-size", "64", "--epochs", "7")
    assert "was made for" not in asked.err
    assert (fitted[1].image_size, fitted[1].epochs) == ((64, 64), 7)
    run_lstn("train", "--model", model, "--data", "folder:photos")
    assert (fitted[2].image_size, fitted[2].epochs) == ((224, 224), 25)


@pytest.mark.parametrize(
    ("spec", "side"), [("mnist", 28), ("mnist-rts:/x", 42), ("mnist-cluttered", 60), ("svhn", None)]
)
def test_mnist_has_the_size_that_it_is_drawn_at(spec: str, side: int | None) -> None:
    assert usual(spec) == Usual(side, 25)


def test_a_run_at_chance_says_so_and_so_does_its_export(run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a learning rate of 0 nothing is learned; with few steps an epoch the judgement waits."""
    few = {"train": range(320), "val": range(10_000, 10_100), "test": range(11_000, 11_020)}
    monkeypatch.setattr("lstn.data.digits._PART", few)
    monkeypatch.setattr("lstn.cli.display.train_progress.FEWEST_STEPS", 20)
    ran = run_lstn("train", "--epochs", 3, "--loc", "none", "--lr", 0, "--seed", 1, *SMALL)
    lines = ran.err.splitlines()
    said = [line for line in lines if "is at chance" in line]
    assert len(said) == 2  # when it is first so, and at the end
    assert lines[lines.index(said[0]) - 1].startswith("epoch   2/3")
    assert "likely cure: start a new run with" in ran.err
    level = json.loads(Path("runs/a/metrics.jsonl").read_text().splitlines()[0])["chance"]
    assert load_checkpoint(Path("runs/a/checkpoint.safetensors")).training.chance == level
    assert "is at chance" in run_lstn("doctor", "runs/a").out
    assert "is at chance" in run_lstn("export", "runs/a").err
