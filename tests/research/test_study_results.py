"""What a study says of its runs, against plain arithmetic and SciPy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lstn.contract import CONTROLS, Loc
from lstn.errors import ArtifactError
from lstn.evaluation.disturb import Kind
from lstn.health.follow import Follow, Followed
from lstn.health.liveness import State
from lstn.health.pose_error import PoseError
from lstn.interval import mean_interval
from lstn.research.study.study_results import (
    CELL,
    SHOWN,
    SWEEP,
    Study,
    StudyCell,
    folder_of,
    read_cell,
    runs_in,
    study_of,
    summary,
    whole_study,
    write_cell,
)
from lstn.research.study.study_tables import error_table, pair_table, study_follow_table, study_pose_table

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
LOCS = (Loc.NONE, Loc.STN, Loc.LSTN, *CONTROLS)


def following(value: float) -> Follow:
    kind = Followed(value=value, low=value - 0.1, high=value + 0.1, residual=2.0)
    return Follow(images=64, rotation=kind, scale=kind, shift=kind)


def cell(loc: Loc, seed: int, accuracy: float, **changes: object) -> StudyCell:
    made = StudyCell(
        loc=loc,
        seed=seed,
        best_epoch=3,
        accuracy=accuracy,
        test_images=1000,
        seconds=12.5,
        parameters=19_178,
        state=None if loc in (Loc.NONE, Loc.IDENTITY) else "live",
        curve=(accuracy - 0.2, accuracy - 0.1, accuracy),
        plain=accuracy,
        disturbed=tuple(accuracy - 0.01 * number for number in range(len(SWEEP))),
        theta=None if loc is Loc.NONE else (IDENTITY,) * SHOWN,
        follow=None if loc is Loc.NONE else following(0.5 + seed / 10),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def some_study(*cells: StudyCell) -> Study:
    return Study({"data": "digits", "model": "cnn"}, LOCS, cells)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60))
def test_the_interval_of_a_mean_is_scipys(values: list[float]) -> None:
    found = mean_interval(values)
    assert found.value == pytest.approx(np.mean(values), abs=1e-9)
    if stats.sem(values) > 1e-9:
        wanted = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert (found.low, found.high) == pytest.approx(wanted, rel=1e-3, abs=1e-3 * stats.sem(values))


def test_gains_are_paired_by_seed() -> None:
    """Seeds differ by ten points and the localizers by one: only the pairs can tell."""
    none = [cell(Loc.NONE, seed, accuracy) for seed, accuracy in enumerate([0.80, 0.70, 0.90])]
    lstn = [cell(Loc.LSTN, seed, accuracy) for seed, accuracy in enumerate([0.812, 0.71, 0.909])]
    study = some_study(*none, *reversed(lstn), cell(Loc.LSTN, 7, 0.1))
    found = study.gain(Loc.LSTN, Loc.NONE)
    assert found is not None
    gain, seeds = found
    assert seeds == 3
    wanted = stats.t.interval(0.95, 2, loc=31 / 30, scale=stats.sem([1.2, 1.0, 0.9]))
    assert gain.value == pytest.approx(31 / 30)
    assert (gain.low, gain.high) == pytest.approx(wanted, rel=1e-3)
    backwards = study.gain(Loc.NONE, Loc.LSTN)
    assert backwards is not None
    assert backwards[0].value == pytest.approx(-31 / 30)
    (row,) = [row for row in pair_table(study).rows if row[0] == "lstn against none"]
    assert row[1:3] == ("lstn makes fewer errors", "3")


def test_seeds_in_another_order_are_other_pairs() -> None:
    """The same errors, but of other seeds: the same mean, and no agreement."""
    none = [cell(Loc.NONE, seed, accuracy) for seed, accuracy in enumerate([0.70, 0.80, 0.90])]
    lstn = [cell(Loc.LSTN, seed, accuracy) for seed, accuracy in enumerate([0.909, 0.712, 0.81])]
    found = some_study(*none, *lstn).gain(Loc.LSTN, Loc.NONE)
    assert found is not None
    wanted = stats.t.interval(0.95, 2, loc=31 / 30, scale=stats.sem([20.9, -8.8, -9.0]))
    assert found[0].value == pytest.approx(31 / 30)
    assert (found[0].low, found[0].high) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [([0.6, 0.8], "not significant"), ([0.69, 0.68], "lstn makes more errors"), ([0.9], "not significant")],
)
def test_a_verdict_needs_an_interval_beside_0(accuracies: list[float], verdict: str) -> None:
    accuracies = (
        [*accuracies, accuracies[-1] + 0.001] if len(accuracies) > 1 and verdict != "not significant" else accuracies
    )
    cells = [cell(Loc.NONE, seed, 0.7) for seed in range(len(accuracies))]
    cells += [cell(Loc.LSTN, seed, accuracy) for seed, accuracy in enumerate(accuracies)]
    (row,) = pair_table(some_study(*cells)).rows
    assert row[1] == verdict


def test_a_row_for_each_localizer_that_has_run() -> None:
    cells = [cell(loc, seed, 0.9 + 0.01 * seed) for loc in LOCS[:-1] for seed in range(2)]
    cells += [cell(Loc.DEAD, seed, 0.85, state=state) for seed, state in enumerate(get_args(State))]
    rows = {row[0]: row for row in error_table(some_study(*cells)).rows}
    assert list(rows) == ["none", "stn", "lstn", "identity (control)", "dead (control)"]
    assert rows["lstn"][3] == "10.00 9.00"
    assert [rows[name][5] for name in rows] == ["", "2 of 2", "2 of 2", "", "1 of 6"]
    assert rows["none"][4] == ""
    assert rows["lstn"][4] == "0.000 (0.000 to 0.000)"


def test_follow_is_a_mean_over_seeds_and_older_runs_have_none() -> None:
    cells = [cell(Loc.NONE, 0, 0.9), *(cell(Loc.LSTN, seed, 0.9) for seed in range(3))]
    cells += [cell(Loc.STN, 0, 0.9, follow=None), cell(Loc.DEAD, 0, 0.9, follow={**following(0.1), "rotation": None})]
    rows = {row[0]: row[1:] for row in study_follow_table(some_study(*cells)).rows}
    assert rows["lstn"] == ("3", *["0.60 (0.35 to 0.85)"] * 3)
    assert rows["dead (control)"] == ("1", "", "0.10", "0.10")
    assert set(rows) == {"lstn", "dead (control)"}


def test_errors_against_true_poses_are_means_over_seeds() -> None:
    def off(seed: int, turned: float | None) -> PoseError:
        return PoseError(images=9, rotation_deg=turned, centre_px=1.0 + seed, centre_share=0.1, overlap=0.5 + seed / 10)

    cells = [cell(Loc.LSTN, seed, 0.9, pose=off(seed, 10.0 * seed)) for seed in range(3)]
    cells += [cell(Loc.NONE, 0, 0.9), cell(Loc.STN, 0, 0.9, pose=off(1, None))]
    table = study_pose_table(some_study(*cells))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["stn"] == ("1", "", "2.00", "10.00", "0.60")
    assert rows["lstn"][0] == "3"
    assert [float(figure.partition(" ")[0]) for figure in rows["lstn"][1:]] == [10.0, 2.0, 10.0, 0.6]
    assert set(rows) == {"lstn", "stn"}
    assert table.columns[2:] == ("turned by, degrees", "off centre, px", "in % of the object's side", "overlap")


def test_one_run_is_a_study_too() -> None:
    study = some_study(cell(Loc.LSTN, 0, 0.9))
    assert [row[:3] for row in error_table(study).rows] == [("lstn", "1", "10.00")]
    assert pair_table(study).rows == ()
    pair = some_study(cell(Loc.NONE, 0, 0.8), cell(Loc.LSTN, 0, 0.9))
    assert [row[4] for row in error_table(pair).rows] == ["", "10.00"]
    assert pair_table(pair).rows == (("lstn against none", "not significant", "1", "10.00"),)
    assert some_study().error(Loc.NONE) is None
    assert error_table(some_study()).rows == ()


def test_sweeps_hold_the_images_as_they_are() -> None:
    study = some_study(cell(Loc.LSTN, 0, 0.9, plain=0.95), cell(Loc.LSTN, 1, 0.9, plain=0.97))
    for kind in Kind:
        swept = study.swept(Loc.LSTN, kind)
        assert swept[kind.leaves].value == pytest.approx(96.0)
        amounts = [each.amount for each in SWEEP if each.kind is kind]
        assert list(swept) == sorted([*amounts, kind.leaves])
        number = next(number for number, each in enumerate(SWEEP) if each.kind is kind)
        assert swept[SWEEP[number].amount].value == pytest.approx(90 - number)


def test_a_curve_is_of_every_run_and_no_longer_than_the_shortest() -> None:
    study = some_study(cell(Loc.STN, 0, 0.9), cell(Loc.STN, 1, 0.8), cell(Loc.LSTN, 0, 0.9, curve=(0.5,) * 40))
    assert {epoch: interval.value for epoch, interval in study.curve(Loc.STN).items()} == pytest.approx(
        {1: 35.0, 2: 25.0, 3: 15.0}
    )
    assert list(study.curve(Loc.LSTN)) == [1, 8, 16, 24, 32, 40]
    assert study.curve(Loc.NONE) == {}


def test_a_cell_survives_its_file(tmp_path: Path) -> None:
    for each in (cell(Loc.NONE, 3, 0.5), cell(Loc.DEAD, 4, 1.0, state="dead")):
        write_cell(tmp_path, each)
        assert read_cell(tmp_path) == each


def test_a_cell_from_before_follow_was_measured_is_read(tmp_path: Path) -> None:
    write_cell(tmp_path, cell(Loc.STN, 0, 0.5))
    fields = json.loads((tmp_path / CELL).read_text())
    del fields["follow"]
    (tmp_path / CELL).write_text(json.dumps(fields))
    assert read_cell(tmp_path) == cell(Loc.STN, 0, 0.5, follow=None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"loc": "nowhere"}', "[" * 5000])
def test_a_damaged_cell_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / CELL).write_text(text)
    with pytest.raises(ArtifactError, match=r"cell\.json: damaged") as caught:
        read_cell(tmp_path)
    assert "delete it" in caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy": "x"},
        {"accuracy": None},
        {"accuracy": 1.5},
        {"accuracy": float("nan")},
        {"plain": -0.1},
        {"seconds": "x"},
        {"seconds": 10**400},
        {"seed": "0"},
        {"seed": -1},
        {"best_epoch": 0},
        {"best_epoch": 4},
        {"parameters": 1.5},
        {"test_images": [1]},
        {"curve": []},
        {"curve": ["x"]},
        {"disturbed": [2.0] * len(SWEEP)},
        {"state": "asleep"},
        {"follow": {}},
        {"follow": 0.5},
        {"state": ["live"]},
        {"theta": [[1, 0, 0]]},
        {"theta": [[[1, 0, 0], [0, "x", 0]]] * SHOWN},
        {"theta": [[[1, 0], [0, 1]]] * SHOWN},
        {"theta": [[[1, 0, 0], [0, 1, 0]]] * (SHOWN - 1)},
        {"more": 1},
    ],
)
def test_a_figure_that_is_none_is_one_line(changes: dict[str, object], tmp_path: Path) -> None:
    write_cell(tmp_path, cell(Loc.STN, 0, 0.5))
    fields = json.loads((tmp_path / CELL).read_text())
    (tmp_path / CELL).write_text(json.dumps(fields | changes))
    with pytest.raises(ArtifactError, match=r"cell\.json: damaged") as caught:
        read_cell(tmp_path)
    assert "delete it" in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_study_is_the_same_however_it_came_about() -> None:
    """The order of its runs and tables hangs neither on what was asked for first nor on what is asked for now."""
    cells = [cell(loc, seed, 0.9) for loc in (Loc.LSTN, Loc.DEAD, Loc.NONE) for seed in (2, 0)]
    found = whole_study({}, [Loc.VSTN, Loc.NONE], cells)
    assert found == whole_study({}, [Loc.NONE, Loc.VSTN, Loc.LSTN], reversed(cells))
    assert found.locs == (Loc.NONE, Loc.VSTN, Loc.LSTN, Loc.DEAD)
    assert [(each.seed, each.loc) for each in found.cells] == [
        (seed, loc) for seed in (0, 2) for loc in (Loc.NONE, Loc.LSTN, Loc.DEAD)
    ]


def test_a_studys_runs_are_found_by_their_names(tmp_path: Path) -> None:
    for loc, seed in ((Loc.LSTN, 10), (Loc.DEAD, 9), (Loc.NONE, 9), (Loc.DEAD, 0)):
        folder_of(tmp_path, loc, seed).mkdir()
    for other in ("none-01", "none-", "none-1x", "nones-1", ".none-1.0123abcd.tmp", "study.json", "lstn--1"):
        (tmp_path / other).touch()
    assert runs_in(tmp_path) == [(Loc.DEAD, 0), (Loc.NONE, 9), (Loc.DEAD, 9), (Loc.LSTN, 10)]


def test_a_cell_of_other_disturbances_is_refused(tmp_path: Path) -> None:
    write_cell(tmp_path, cell(Loc.STN, 0, 0.5, disturbed=(0.5,)))
    with pytest.raises(ArtifactError, match="of another version"):
        read_cell(tmp_path)


def test_the_summary_is_json_of_every_run() -> None:
    cells = [cell(loc, seed, 0.9) for loc in LOCS for seed in range(2)]
    found = json.loads(json.dumps(summary(some_study(*cells)), allow_nan=False))
    assert [(run["loc"], run["seed"]) for run in found["runs"]] == [(each.loc.value, each.seed) for each in cells]
    assert study_of(found) == some_study(*cells)
    assert found["errors"]["lstn"]["value"] == pytest.approx(10.0)
    assert set(found["gains"]) == {f"{one.value} over {two.value}" for one in LOCS for two in LOCS if one is not two}
