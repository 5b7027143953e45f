"""A study's runs, one by one: what each comes to, and when it may stand beside the others."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import RunLstn
from PIL import Image
from short_runs import CPU, SILENT, options

from lstn.contract import Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.errors import ArtifactError, TrainingError, UsageError
from lstn.evaluation.measured_pose import measure_pose
from lstn.images import Pixels
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.checkpoint_answers import open_checkpoint
from lstn.research.study.study_results import CELL, SWEEP, StudyCell, read_cell
from lstn.research.study.study_runs import finished_cells, train_cell
from lstn.train.loop import train_to_end
from lstn.train.objectives.classifier_objective import forward
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, read_options
from lstn.train.tested import TrainingResult
from lstn.train.watch.watcher import Watcher


@contextmanager
def in_silence(given: Options) -> Iterator[Watcher]:
    yield SILENT


def cell_of(given: Options, out: Path) -> StudyCell:
    return train_cell(given, out, given.loc, given.seed, device=CPU, workers=0, watching=in_silence)


def fit_and_run_away(*words: Any, **named: Any) -> TrainingResult:
    """Train, and let the last epoch's transformer be one that ran away."""
    result = train_to_end(*words, **named)
    result.history[-1]["transformer"]["state"] = "runaway"
    return result


@pytest.mark.usefixtures("few_digits")
def test_a_cell_says_what_became_of_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loop over images chosen here. At a rate of 0 nothing is learned, and the first epoch stays best."""
    monkeypatch.setattr("lstn.research.study.study_runs.SWEPT_IMAGES", 60)
    monkeypatch.setattr("lstn.research.study.study_runs.train_to_end", fit_and_run_away)
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


@pytest.mark.usefixtures("few_digits")
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
                finished_cells(tmp_path, options(few, **{"loc": Loc.STN, "epochs": 1} | changes))
        (tmp_path / "none-0" / CELL).unlink(missing_ok=True)
    assert finished_cells(tmp_path, given) == []


@pytest.mark.usefixtures("few_digits")
def test_true_poses_draw_localizers_alone_and_are_compared_with(tmp_path: Path) -> None:
    """The same weight for all of a study, and what has no localizer trains without."""
    given = options("digits", loc=Loc.NONE, image_size=32, epochs=1, supervise=2.0, crop=20)
    made = {loc: cell_of(replace(given, loc=loc), tmp_path) for loc in (Loc.NONE, Loc.GLANCE, Loc.IDENTITY)}
    kept = {loc: read_options(tmp_path / f"{loc.value}-0" / LAST) for loc in made}
    assert {loc: (each.supervise, each.crop) for loc, each in kept.items()} == {
        Loc.NONE: (0.0, None),
        Loc.GLANCE: (2.0, (20, 20)),
        Loc.IDENTITY: (0.0, (20, 20)),
    }
    test = open_data("digits", image_hw=(32, 32), seed=0).test
    locate = open_checkpoint(tmp_path / "glance-0" / CHECKPOINT, CPU).answering.locate
    assert locate is not None
    assert made[Loc.GLANCE].pose == measure_pose(locate, test, batch=64)
    assert made[Loc.GLANCE].pose is not None
    assert made[Loc.NONE].pose is None
    assert {cell.loc: cell for cell in finished_cells(tmp_path, given)} == made


def test_theta_is_that_of_runs_with_a_localizer(few: str, tmp_path: Path) -> None:
    given = options(few, loc=Loc.NONE, epochs=1, theta=ThetaForm.PROJECTIVE)
    made = {loc: cell_of(replace(given, loc=loc), tmp_path) for loc in (Loc.NONE, Loc.STN, Loc.IDENTITY, Loc.DEAD)}
    found = {loc: read_options(tmp_path / f"{loc.value}-0" / LAST).recipe.theta for loc in made}
    assert found == {
        Loc.NONE: ThetaForm.AFFINE,
        Loc.STN: ThetaForm.PROJECTIVE,
        Loc.IDENTITY: ThetaForm.AFFINE,
        Loc.DEAD: ThetaForm.PROJECTIVE,
    }
    assert {cell.loc: cell for cell in finished_cells(tmp_path, given)} == made
    with pytest.raises(UsageError, match=r"-0 was trained with theta projective, and this study says affine"):
        finished_cells(tmp_path, replace(given, recipe=replace(given.recipe, theta=ThetaForm.AFFINE)))


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
    assert caught.value.hint == "start a new run with --lr 0.001; a study with that needs another --out"
