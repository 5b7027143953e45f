"""`lstn study`: fair runs, gone on with after a stop, and what is left behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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

from lstn.contract import Loc
from lstn.data import open_data
from lstn.errors import UsageError
from lstn.images import Pixels
from lstn.study.results import CELL, SWEEP, read_cell
from lstn.train.checkpoint import CHECKPOINT, load_checkpoint
from lstn.train.fitting import forward
from lstn.train.loop import Result, Watcher, fit
from lstn.train.options import Options
from lstn.train.state import LAST, read_options
from lstn.train.study import train_cell

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
    more = run_lstn("study", "--locs", "none,lstn", "--no-controls", "--seeds", 3, *SMALL, "--out", out)
    assert more.code == 0, more.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.parent.name for path in out.glob("*/*")} - {path.parent.name for path in before} == {
        "none-2",
        "lstn-2",
    }
    assert len(json.loads((out / "study.json").read_text())["runs"]) == 6
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
    assert (out / "none-0" / CHECKPOINT).stat().st_mtime_ns == before[out / "none-0" / CHECKPOINT]


@contextmanager
def in_silence(given: Options) -> Iterator[Watcher]:
    yield SILENT


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
    made = train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence)
    history = [json.loads(line) for line in (tmp_path / "cell" / "metrics.jsonl").read_text().splitlines()]
    assert made == read_cell(tmp_path / "cell")
    assert (made.loc, made.seed, made.best_epoch) == (Loc.STN, 3, 1)
    assert made.state == history[0]["transformer"]["state"]
    assert made.curve == tuple(row["val_accuracy"] for row in history[:2])
    assert made.seconds == pytest.approx(history[0]["seconds"] + history[1]["seconds"], abs=0.1)
    checkpoint = load_checkpoint(tmp_path / "cell" / CHECKPOINT)
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
    made = train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence)
    test = open_data("digits", image_hw=(32, 32), seed=0).test
    shown = np.stack([test[int(number)][0] for number in np.linspace(0, len(test) - 1, 6)])
    with torch.no_grad():
        _, theta = load_checkpoint(tmp_path / "cell" / CHECKPOINT).model.eval().transform(torch.from_numpy(shown))
    assert theta is not None
    assert theta.std(dim=0).max() > 1e-4
    np.testing.assert_allclose(made.theta, theta, atol=1e-6)


def test_a_folder_that_a_kill_left_empty_is_filled(tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    given = options("digits", loc=Loc.NONE, epochs=1, batch_size=64)
    assert train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence).loc is Loc.NONE
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="exists"):
        train_cell(given, tmp_path / "other", device=CPU, workers=0, watching=in_silence)


def test_a_run_goes_on_with_its_own_options_alone(tmp_path: Path) -> None:
    """Also one that was stopped before it was measured."""
    given = options("digits", loc=Loc.NONE, epochs=1, batch_size=64)
    train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"was trained with epochs 1, and this study says 2"):
            train_cell(replace(given, epochs=2), tmp_path / "cell", device=CPU, workers=0, watching=in_silence)
        (tmp_path / "cell" / CELL).unlink(missing_ok=True)


def test_a_finished_run_on_other_images_is_not_compared(tmp_path: Path) -> None:
    for part, count in {"train": 4, "val": 2, "test": 2}.items():
        for number in range(2 * count):
            path = tmp_path / "images" / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32, 3), 10 * number, np.uint8)).save(path)
    given = options(f"folder:{tmp_path / 'images'}", loc=Loc.NONE, epochs=1)
    made = train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence)
    assert train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence) == made
    (tmp_path / "images" / "train" / "a" / "0.png").rename(tmp_path / "images" / "train" / "a" / "more.png")
    with pytest.raises(UsageError, match="was trained on other images than folder:") as caught:
        train_cell(given, tmp_path / "cell", device=CPU, workers=0, watching=in_silence)
    assert "another --out" in caught.value.hint


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
