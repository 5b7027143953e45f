"""`lstn study`: fair runs, gone on with after a stop, and what is left behind."""

import json
import signal
from pathlib import Path

import pytest
from browser import Browser
from command import RunLstn
from forked import forked
from short_runs import CPU, SILENT, assert_same_weights, weights_of

from lstn.contract import Loc, ThetaForm
from lstn.nn.checkpoint import CHECKPOINT
from lstn.recipe import RECIPES
from lstn.research.study.study_results import CELL
from lstn.train.loop import train_to_end
from lstn.train.runs.run_state import LAST, read_options

SMALL = ("--image-size", 32, "--epochs", 2, "--batch-size", 32, "--workers", 0)


def backbone_of(folder: Path) -> dict[str, object]:
    return {name: tensor for name, tensor in weights_of(folder, CHECKPOINT).items() if name.startswith("backbone.")}


def test_a_study_is_its_runs(
    run_lstn: RunLstn, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"train": range(320), "val": range(10_000, 10_050), "test": range(11_000, 11_030)}
    monkeypatch.setattr("lstn.data.digits._PART", few)
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
    assert (alone.recipe.patience, alone.epochs, alone.seed, alone.loc) == (2, 2, 1, Loc.LSTN)
    assert (alone.recipe.batch_size, alone.image_size, alone.model, alone.data) == (32, (32, 32), "cnn", "digits")
    train_to_end(alone, out.parent / "alone", device=CPU, workers=0, watcher=SILENT, resume=False)
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


STOPPED = """
import os, signal, sys
from lstn.cli.app import main
from lstn.train import loop
def killed(path, data):
    if path.parts[-2:] != ("stn-0", "last.safetensors") and ".stn-0." not in str(path):
        return write(path, data)
    path.with_name(f".{path.name}.0123abcd.tmp").write_bytes(data[:1000])
    os.kill(os.getpid(), signal.SIGKILL)
from lstn.train.runs import run_state as state
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
    code, _, err = forked("-c", STOPPED, *words)
    assert code == -signal.SIGKILL, err
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
    kept = read_options(out / "stn-0" / LAST).recipe
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


TERMINATED = """
import os, signal, sys
from lstn.cli.app import main
from lstn.train.runs import keeping
def terminated(folder, history, task, **last):
    write(folder, history, task, **last)
    os.kill(os.getpid(), signal.SIGTERM)
write, keeping.write_metrics = keeping.write_metrics, terminated
sys.argv[0] = "lstn"
main()
"""


def test_a_study_that_was_stopped_goes_on_to_the_same_end(run_lstn: RunLstn, data: str, tmp_path: Path) -> None:
    def words(out: Path) -> list[object]:
        small = ("--data", data, "--model", "cnn", "--no-controls", "--seeds", 1, *SMALL, "--epochs", 4)
        return ["study", "--locs", "stn", *small, "--out", out]

    assert run_lstn(*words(tmp_path / "whole")).code == 0
    code, _, err = forked("-c", TERMINATED, *words(tmp_path / "cut"))
    assert code == 130, err
    assert err.splitlines()[-1] == "stopped; every finished epoch is kept. Go on with: the same command"
    assert len((tmp_path / "cut" / "stn-0" / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "cut" / "stn-0" / CELL).exists()
    assert run_lstn(*words(tmp_path / "cut")).code == 0
    for name in (LAST, CHECKPOINT):
        assert_same_weights(
            weights_of(tmp_path / "whole" / "stn-0", name), weights_of(tmp_path / "cut" / "stn-0", name)
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--locs", "none,stm"), "--locs: no localizer is called 'stm'"),
        (("--locs", ",stn"), "--locs: no localizer is called ''"),
        (("--locs", "stn,stn"), "--locs stn,stn: one is named twice"),
        (("--model", "resnet-19"), "there is no model called 'resnet-19'"),
        (("--data", "folder:nowhere"), "nowhere"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--locs", "none", "--supervise", 1), "a run of loc none trains no localizer"),
        (("--supervise", "nan"), "--supervise: expected 0 or more"),
        (("--image-size", 16), "images of 16 x 16 pixels are too small for localizer"),
        (
            ("--locs", "none", "--equivariance", 5),
            "a run of loc none or identity or dead trains no localizer",
        ),
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
    assert ran.code == 2
    assert ran.err.startswith(f"error: --out {tmp_path / 'out'}: a file")
