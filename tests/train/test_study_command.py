"""`lstn study`: fair runs, gone on with after a stop, and what is left behind."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from command import RunLstn
from PIL import Image
from short_runs import CPU, SILENT, assert_same_weights, options, weights_of

from lstn.contract import Loc, ThetaForm
from lstn.data import open_data
from lstn.errors import ArtifactError, TrainingError, UsageError
from lstn.images import Pixels
from lstn.study.results import CELL, SWEEP, Cell, read_cell
from lstn.train.checkpoint import CHECKPOINT, load_checkpoint
from lstn.train.fitting import forward
from lstn.train.loop import Result, Watcher, fit
from lstn.train.options import Options
from lstn.train.recipes import RECIPES
from lstn.train.state import LAST, read_options
from lstn.train.study import finished_cells, train_cell

SMALL = ("--image-size", 32, "--epochs", 2, "--batch-size", 32, "--workers", 0)


def backbone_of(folder: Path) -> dict[str, object]:
    return {name: tensor for name, tensor in weights_of(folder, CHECKPOINT).items() if name.startswith("backbone.")}


def test_a_study_is_its_runs(run_lstn: RunLstn, browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run_lstn("study", "--locs", "none,lstn", "--seeds", 2, *SMALL, "--out", out)
    assert ran.code == 0, ran.err
    names = [f"{loc}-{seed}" for seed in range(2) for loc in ("none", "lstn", "identity", "dead")]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "study.html", "study.json"])
    study = json.loads((out / "study.json").read_text())
    for run in study["runs"]:
        last = json.loads((out / f"{run['loc']}-{run['seed']}" / "metrics.jsonl").read_text().splitlines()[-1])
        assert run["accuracy"] == last["test_accuracy"]
        assert run["best_epoch"] == last["best_epoch"]
    assert [f"{run['loc']}-{run['seed']}" for run in study["runs"]] == names
    check_fairness(out)
    check_page(browser, out / "study.html")
    check_going_on(run_lstn, out)


def check_fairness(out: Path) -> None:
    """A dropped warp leaves the backbone what it would be without one, bit by bit: all else is the same, then."""
    for seed in range(2):
        assert_same_weights(backbone_of(out / f"none-{seed}"), backbone_of(out / f"dead-{seed}"))  # type: ignore[arg-type]
    alone = read_options(out / "lstn-1" / LAST)
    assert (alone.patience, alone.epochs, alone.seed, alone.loc) == (2, 2, 1, Loc.LSTN)
    assert (alone.batch_size, alone.image_size, alone.model, alone.data) == (32, 32, "cnn", "digits")
    fit(alone, out.parent / "alone", device=CPU, workers=0, watcher=SILENT, resume=False)
    assert_same_weights(weights_of(out.parent / "alone", CHECKPOINT), weights_of(out / "lstn-1", CHECKPOINT))


def check_page(browser: Browser, page: Path) -> None:
    for width, scheme in ((1280, "light"), (390, "dark")):
        browser.show(page, width=width, scheme=scheme)
        assert browser.messages() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.cut_off_words() == []
    assert browser.run("return document.querySelectorAll('svg').length") == 5
    assert browser.run("return [...document.images].filter(each => each.naturalWidth > 100).length") == 2
    texts = browser.run("return document.body.innerText")
    assert "lstn against none" in texts
    assert "dead (control)" in texts


def check_going_on(run_lstn: RunLstn, out: Path) -> None:
    """What is there isn't made again; more seeds are added; another budget is another study."""
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    first = json.loads((out / "study.json").read_text())
    more = run_lstn("study", "--locs", "lstn,none", "--no-controls", "--seeds", 3, *SMALL, "--out", out)
    assert more.code == 0, more.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.parent.name for path in out.glob("*/*")} - {path.parent.name for path in before} == {
        "none-2",
        "lstn-2",
    }
    second = json.loads((out / "study.json").read_text())
    assert second["runs"][:8] == first["runs"]
    assert [(run["loc"], run["seed"]) for run in second["runs"][8:]] == [("none", 2), ("lstn", 2)]
    assert second["settings"]["seeds"].startswith("0 to 2;")
    check_a_call_for_less(run_lstn, out)
    other = run_lstn("study", "--locs", "none,lstn", "--seeds", 2, *SMALL, "--epochs", 3, "--out", out)
    assert other.code == 2
    assert other.err.splitlines()[-2:] == [
        f"error: {out / 'none-0'} was trained with epochs 2, and this study says 3",
        "  give the same options as before, or another --out",
    ]
    (out / "none-0" / CELL).unlink()
    again = run_lstn("study", "--locs", "none,lstn", "--no-controls", "--seeds", 3, *SMALL, "--out", out)
    assert again.code == 0, again.err
    assert (out / "none-0" / CELL).is_file()
    assert (out / "none-0" / LAST).stat().st_mtime_ns == before[out / "none-0" / LAST]


def check_a_call_for_less(run_lstn: RunLstn, out: Path) -> None:
    """It throws nothing out of the results, and its tables are of all that there is."""
    before = (out / "study.json").read_text()
    less = run_lstn("study", "--locs", "lstn", "--no-controls", "--seeds", 1, *SMALL, "--out", out)
    assert less.code == 0, less.err
    assert less.err.splitlines() == ["runs that are finished already: 10"]
    assert "lstn against none" in less.out
    assert (out / "study.json").read_text() == before
    assert "dead (control)" in (out / "study.html").read_text()


@contextmanager
def in_silence(given: Options) -> Iterator[Watcher]:
    yield SILENT


@pytest.fixture
def few(tmp_path: Path) -> str:
    """So few images that a run takes no time."""
    for part, count in {"train": 4, "val": 2, "test": 2}.items():
        for number in range(2 * count):
            path = tmp_path / "images" / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32, 3), 10 * number, np.uint8)).save(path)
    return f"folder:{tmp_path / 'images'}"


def cell_of(given: Options, out: Path) -> Cell:
    return train_cell(given, out, given.loc, given.seed, device=CPU, workers=0, watching=in_silence)


def fit_and_run_away(*words: Any, **named: Any) -> Result:
    """Train, and let the last epoch's transformer be one that ran away."""
    result = fit(*words, **named)
    result.history[-1]["transformer"]["state"] = "runaway"
    return result


def test_a_cell_says_what_became_of_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loop over images chosen here. At a rate of 0 nothing is learned, and the first epoch stays best."""
    monkeypatch.setattr("lstn.train.study.SWEPT_IMAGES", 60)
    monkeypatch.setattr("lstn.train.study.fit", fit_and_run_away)
    given = options("digits", loc=Loc.STN, image_size=32, epochs=2, lr=0.0, seed=3)
    made, folder = cell_of(given, tmp_path), tmp_path / "stn-3"
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert made == read_cell(folder)
    assert (made.loc, made.seed, made.best_epoch) == (Loc.STN, 3, 1)
    assert made.state == history[0]["transformer"]["state"]
    assert made.curve == tuple(row["val_accuracy"] for row in history[:2])
    assert made.seconds == pytest.approx(history[0]["seconds"] + history[1]["seconds"], abs=0.1)
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    test = open_data("digits", image_hw=(32, 32), seed=3).test
    assert made.parameters == sum(weight.numel() for weight in checkpoint.model.parameters())

    def accuracy(images: list[tuple[int, Pixels]]) -> float:
        answers = forward(checkpoint.model.eval(), torch.from_numpy(np.stack([each for _, each in images])), "fp32")
        return float(np.mean(answers.argmax(1).numpy() == [test[number][1] for number, _ in images]))

    with torch.no_grad():
        assert made.accuracy == pytest.approx(accuracy([(number, test[number][0]) for number in range(len(test))]))
        chosen = np.linspace(0, len(test) - 1, 60).astype(int).tolist()
        assert made.plain == pytest.approx(accuracy([(number, test[number][0]) for number in chosen]))
        wanted = [accuracy([(n, each.apply(test[n][0], n)) for n in chosen]) for each in SWEEP]
        assert made.disturbed == pytest.approx(wanted)


def test_a_cell_shows_the_warps_of_test_images(tmp_path: Path) -> None:
    given = options("digits", loc=Loc.STN, epochs=1, batch_size=32, lr=0.01, loc_lr_scale=1.0)
    made = cell_of(given, tmp_path)
    test = open_data("digits", image_hw=(32, 32), seed=0).test
    shown = np.stack([test[int(number)][0] for number in np.linspace(0, len(test) - 1, 6)])
    with torch.no_grad():
        _, theta = load_checkpoint(tmp_path / "stn-0" / CHECKPOINT).model.eval().transform(torch.from_numpy(shown))
    assert theta is not None
    assert theta.std(dim=0).max() > 1e-4
    np.testing.assert_allclose(made.theta, theta, atol=1e-6)


@pytest.mark.parametrize("left", [(), (".last.safetensors.0123abcd.tmp",)])
def test_a_folder_that_a_kill_left_without_a_state_is_filled(left: tuple[str, ...], few: str, tmp_path: Path) -> None:
    folder = tmp_path / "none-0"
    folder.mkdir()
    for name in left:
        (folder / name).write_bytes(bytes(1000))
    given = options(few, loc=Loc.NONE, epochs=1)
    assert finished_cells(tmp_path, given) == []
    assert cell_of(given, tmp_path).loc is Loc.NONE
    assert not [name for name in left if (folder / name).exists()]
    other = tmp_path / "none-1"
    other.mkdir()
    for name in (*left, "thesis.tex"):
        (other / name).write_text("")
    with pytest.raises(UsageError, match="exists") as caught:
        cell_of(replace(given, seed=1), tmp_path)
    assert "--name" not in caught.value.hint
    assert sorted(path.name for path in other.iterdir()) == sorted([*left, "thesis.tex"])


def test_a_run_goes_on_with_its_own_options_alone(few: str, tmp_path: Path) -> None:
    """Also one that was stopped before it was measured, and whatever else the study is asked for."""
    given = options(few, loc=Loc.NONE, epochs=1)
    made = cell_of(given, tmp_path)
    assert finished_cells(tmp_path, replace(given, loc=Loc.STN, seed=7)) == [made]
    for _ in range(2):
        for changes, says in (
            ({"epochs": 2}, "epochs 1, and this study says 2"),
            ({"lr": 0.5}, "lr 0.002, and this study says 0.5"),
            ({"loc_lr_scale": 0.5}, "loc lr scale 0.1, and this study says 0.5"),
            ({"in_frame": 0.5}, "in frame 0.0, and this study says 0.5"),
        ):
            with pytest.raises(UsageError, match=f"none-0 was trained with {says}"):
                finished_cells(tmp_path, replace(given, loc=Loc.STN, **changes))  # type: ignore[arg-type]
        (tmp_path / "none-0" / CELL).unlink(missing_ok=True)
    assert finished_cells(tmp_path, given) == []


def test_theta_is_that_of_runs_with_a_localizer(few: str, tmp_path: Path) -> None:
    given = options(few, loc=Loc.NONE, epochs=1, theta=ThetaForm.CROP)
    made = {loc: cell_of(replace(given, loc=loc), tmp_path) for loc in (Loc.NONE, Loc.STN, Loc.IDENTITY, Loc.DEAD)}
    found = {loc: read_options(tmp_path / f"{loc.value}-0" / LAST).theta for loc in made}
    assert found == {
        Loc.NONE: ThetaForm.AFFINE,
        Loc.STN: ThetaForm.CROP,
        Loc.IDENTITY: ThetaForm.AFFINE,
        Loc.DEAD: ThetaForm.CROP,
    }
    assert {cell.loc: cell for cell in finished_cells(tmp_path, given)} == made
    with pytest.raises(UsageError, match=r"-0 was trained with theta crop, and this study says affine"):
        finished_cells(tmp_path, replace(given, theta=ThetaForm.AFFINE))


def test_a_finished_run_on_other_images_is_not_compared(run_lstn: RunLstn, few: str, tmp_path: Path) -> None:
    given = options(few, loc=Loc.NONE, epochs=1)
    made = cell_of(given, tmp_path / "out")
    assert finished_cells(tmp_path / "out", given) == [made]
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(tmp_path / "images" / "train" / "a" / "0.png")
    with pytest.raises(UsageError, match="was trained on other images than folder:") as caught:
        finished_cells(tmp_path / "out", given)
    assert "another --out" in caught.value.hint
    shutil.rmtree(tmp_path / "images" / "test")
    ran = run_lstn("study", "--data", given.data, "--model", "cnn", "--out", tmp_path / "another")
    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        f"error: {tmp_path / 'images'}: no test/, and validation images choose the epoch",
    )
    assert not (tmp_path / "another").exists()


def break_json(folder: Path) -> None:
    (folder / CELL).write_text("{")


def put_anothers(folder: Path) -> None:
    cell = json.loads((folder / CELL).read_text())
    (folder / CELL).write_text(json.dumps(cell | {"seed": 5}))


@pytest.mark.parametrize(("spoil", "says"), [(break_json, "damaged"), (put_anothers, "of another run")])
def test_a_damaged_run_is_told_whatever_is_asked_for(
    spoil: Callable[[Path], None], says: str, few: str, tmp_path: Path
) -> None:
    given = options(few, loc=Loc.NONE, epochs=1)
    cell_of(given, tmp_path)
    spoil(tmp_path / "none-0")
    with pytest.raises(ArtifactError, match=rf"none-0/cell\.json: {says}") as caught:
        finished_cells(tmp_path, replace(given, loc=Loc.STN))
    assert caught.value.hint == "delete it, and it is made again"


def test_after_a_loss_that_is_no_number_the_study_needs_another_folder(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none-0: the loss became \w+ in epoch 1") as caught:
        cell_of(options("digits", loc=Loc.NONE, lr=1e30), tmp_path)
    assert caught.value.hint == "start a new run with --lr 1e+29; a study with that needs another --out"


STOPPED = """
import os, signal, sys
from lstn.cli import main
from lstn.train import loop
def killed(path, data):
    if path.parts[-2:] != ("stn-0", "last.safetensors") and ".stn-0." not in str(path):
        return write(path, data)
    path.with_name(f".{path.name}.0123abcd.tmp").write_bytes(data[:1000])
    os.kill(os.getpid(), signal.SIGKILL)
from lstn.train import state
write, state.write_bytes = state.write_bytes, killed
sys.argv[0] = "lstn"
main()
"""


def test_a_study_killed_in_the_first_state_goes_on(run_lstn: RunLstn, few: str, tmp_path: Path) -> None:
    """And nothing of what it had finished is missing from the results, before it has finished more."""
    out = tmp_path / "out"
    small = ("--data", few, "--model", "cnn", "--no-controls", "--seeds", 1, *SMALL, "--out", out)
    words = [str(word) for word in ("study", "--locs", "none,stn", *small)]
    assert run_lstn("study", "--locs", "none,lstn", *small).code == 0
    ran = subprocess.run([sys.executable, "-c", STOPPED, *words], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert len(list(out.rglob(".last.safetensors.0123abcd.tmp"))) == 1
    assert [run["loc"] for run in json.loads((out / "study.json").read_text())["runs"]] == ["none", "lstn"]
    (out / ".study.json.89abcdef.tmp").write_text("{")
    again = run_lstn(*words)
    assert again.code == 0, again.err
    assert [run["loc"] for run in json.loads((out / "study.json").read_text())["runs"]] == ["none", "stn", "lstn"]
    assert sorted(path.name for path in out.iterdir()) == ["lstn-0", "none-0", "stn-0", "study.html", "study.json"]
    assert not list(out.rglob(".*"))


def test_options_override_the_recipe_and_are_told(run_lstn: RunLstn, few: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    usual = RECIPES["robust"].loc_lr_scale
    given = ("--lr", 0.002, "--loc-lr-scale", usual, "--theta", "similarity", "--in-frame", 0.5)
    small = ("--data", few, "--locs", "none,stn", "--no-controls", "--seeds", 1, *SMALL, "--out", out)
    ran = run_lstn("study", *small, *given)
    assert ran.code == 0, ran.err
    kept = read_options(out / "stn-0" / LAST)
    assert (kept.lr, kept.loc_lr_scale, kept.theta, kept.in_frame) == (0.002, usual, ThetaForm.SIMILARITY, 0.5)
    recipe = json.loads((out / "study.json").read_text())["settings"]["recipe"]
    wanted = (
        "robust with --lr 0.002, --in-frame 0.5, --theta similarity: "
        f"learning rate 0.002, {usual:g} of it for the localizer, warm-up over 1 of the epochs, cosine"
    )
    assert recipe == wanted
    assert wanted in (out / "study.html").read_text()
    other = run_lstn("study", *small, *given, "--in-frame", 0.1)
    assert other.code == 2
    assert "was trained with in frame 0.5, and this study says 0.1" in other.err


def test_a_localizer_that_does_not_fit_is_told_before_any_is_trained(run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("study", "--locs", "none,shared,stn", "--image-size", 16, "--epochs", 1, "--out", tmp_path / "out")
    assert ran.code == 2
    assert ran.err.splitlines()[0].startswith("error: images of 16 x 16 pixels are too small for localizer stn")
    assert not (tmp_path / "out").exists()


def test_a_study_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        words = ["study", "--locs", "stn", "--no-controls", "--seeds", 1, *SMALL, "--epochs", 3, "--out", out]
        return [sys.executable, "-m", "lstn", *map(str, words)]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    process = subprocess.Popen(command(tmp_path / "cut"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "cut" / "stn-0" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "stopped; every finished epoch is kept. Go on with: the same command"
    assert not (tmp_path / "cut" / "stn-0" / CELL).exists()
    subprocess.run(command(tmp_path / "cut"), check=True, capture_output=True)
    for name in (LAST, CHECKPOINT):
        assert_same_weights(
            weights_of(tmp_path / "whole" / "stn-0", name), weights_of(tmp_path / "cut" / "stn-0", name)
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--locs", "none,stm"), "--locs: no localizer is called 'stm'"),
        (("--locs", ""), "--locs: no localizer is called ''"),
        (("--locs", "stn,stn"), "--locs stn,stn: one is named twice"),
        (("--model", "resnet-19"), "no model is called 'resnet-19'"),
        (("--data", "folder:nowhere"), "nowhere"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--image-size", 16), "images of 16 x 16 pixels are too small for localizer"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[object, ...], says: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("study", "--locs", "stn", "--out", tmp_path / "out", *arguments)
    assert ran.code == 2
    lines = [line for line in ran.err.splitlines() if line.startswith(("error: ", "  "))]
    assert says in lines[0]
    assert len(lines) == 2
    assert "Traceback" not in ran.err


def test_several_processes_would_train_the_same(
    run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    ran = run_lstn("study", "--out", tmp_path / "out")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: a study's runs are of one process each")
    assert not (tmp_path / "out").exists()


def test_a_file_where_the_folder_should_be_is_one_line(run_lstn: RunLstn, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    ran = run_lstn("study", "--out", tmp_path / "out")
    assert ran.code == 1
    assert ran.err.startswith(f"error: cannot make {tmp_path / 'out'}: ")
