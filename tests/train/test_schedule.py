"""Schedules: of epochs, and of a time budget whose clock is played."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from short_runs import assert_same_weights, options, run, weights_of

from lstn.contract import Loc
from lstn.errors import TrainingError
from lstn.health.run_health import Epoch
from lstn.train.runs.options import Options
from lstn.train.schedule import epochs_planned, next_epoch

HOUR = 3600.0


def asked(hours: float = 0.0, epochs: int = 25) -> Options:
    return options("folder:x", hours=hours, epochs=epochs)


def row(number: int, seconds: float, **more: float) -> Epoch:
    figures = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}
    return Epoch(epoch=number, seconds=seconds, **figures, **more)  # type: ignore[typeddict-item]


def played(given: Options, paces: Iterator[float]) -> tuple[list[Epoch], list[float]]:
    """Return the epochs of a run whose epochs take so long, and the shares of the schedule where they end."""
    history: list[Epoch] = []
    ends = []
    while len(history) < epochs_planned(given, history):
        ends.append(next_epoch(given, history).ends)
        planned = epochs_planned(given, history)
        history.append(row(len(history) + 1, next(paces), planned=planned, hours=given.recipe.hours))
    return history, ends


@given(epochs=st.integers(1, 40))
def test_without_a_budget_epochs_are_alike(epochs: int) -> None:
    given = asked(epochs=epochs)
    history = [row(number, 1.0) for number in range(1, epochs)]
    plan = next_epoch(given, history)
    assert (plan.number, epochs_planned(given, history)) == (epochs, epochs)
    assert plan.share(0.25) == pytest.approx((epochs - 1 + 0.25) / epochs)
    assert plan.ends == 1


@given(pace=st.floats(60, 1000), hours=st.floats(1, 5))
def test_at_one_pace_it_takes_its_time_and_no_more(pace: float, hours: float) -> None:
    history, ends = played(asked(hours), iter(lambda: pace, None))
    spent = sum(each["seconds"] for each in history)
    assert hours * HOUR - 2 * pace <= spent <= hours * HOUR + 1e-6
    assert ends[-1] == pytest.approx(1)
    assert ends[1:] == sorted(ends[1:]), "the first epoch knows nothing of the pace"


@given(paces=st.lists(st.floats(30, 120), min_size=200, max_size=200), hours=st.floats(0.5, 1))
def test_whatever_the_pace_the_rate_falls_to_nothing(paces: list[float], hours: float) -> None:
    history, ends = played(asked(hours), iter(paces))
    spent = [each["seconds"] for each in history]
    assert ends[-1] == pytest.approx(1)
    assert sum(spent[:-2]) <= hours * HOUR


@given(paces=st.lists(st.floats(30, 120), min_size=200, max_size=200), cut=st.integers(1, 20))
def test_a_run_that_is_resumed_has_the_same_plan(paces: list[float], cut: int) -> None:
    """It depends on what was written, and on no clock."""
    given = asked(0.5)
    history, ends = played(given, iter(paces))
    kept = history[: min(cut, len(history) - 1)]
    assert history[len(kept)]["planned"] == epochs_planned(given, kept)
    assert ends[len(kept)] == next_epoch(given, kept).ends


def test_a_finished_run_goes_on_with_a_larger_budget_alone() -> None:
    history, _ = played(asked(1.0), iter(lambda: 100.0, None))
    assert len(history) == 36
    assert epochs_planned(asked(1.0), history) == 36
    assert epochs_planned(asked(2.0), history) == 72


def test_a_run_of_epochs_can_be_given_a_budget() -> None:
    history = [row(number, 100.0) for number in (1, 2, 3)]
    assert epochs_planned(asked(1.0), history) == 36


def test_a_budget_ends_a_run_and_says_what_fits(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_lstn: RunLstn
) -> None:
    monkeypatch.chdir(tmp_path)
    ticks = iter(range(10_000))
    monkeypatch.setattr("lstn.train.loop.perf_counter", lambda: 60.0 * next(ticks))  # an epoch takes a minute
    words = ("--model", "cnn", "--loc", "none", "--data", data, "--workers", 0, "--name", "a", "--batch-size", 24)
    ran = run_lstn("train", *words, "--hours", "0.1")
    assert ran.code == 0, ran.err
    assert "as many epochs as fit into 0.1 h" in ran.err
    lines = [line.split()[1] for line in ran.err.splitlines() if line.startswith("epoch")]
    assert lines == ["1", *(f"{number}/6" for number in range(2, 7))]
    assert "an epoch takes about 60 s, so 6 epochs fit into 0.1 h" in ran.err
    refused = run_lstn("train", *words, "--name", "b", "--hours", "1", "--epochs", 3)
    assert refused.code == 2
    assert "--hours takes as many epochs as fit" in refused.err
    longer = run_lstn("train", "--resume", "runs/a", "--hours", "0.2", "--patience", 20)
    assert longer.code == 0, longer.err
    assert "epoch  12/12" in longer.err
    assert run_lstn("train", "--resume", "runs/a", "--epochs", 20).code == 2


def test_a_budget_of_less_than_two_epochs_ends_in_a_line(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr("lstn.train.loop.perf_counter", lambda: 1000.0 * next(ticks))
    with pytest.raises(TrainingError, match=r"an epoch takes .*, and two don't fit into --hours 0\.1") as caught:
        run(options(data, hours=0.1, batch_size=2, loc=Loc.NONE), tmp_path / "run")
    assert f"--resume {tmp_path / 'run'} --hours" in caught.value.hint


def test_a_run_with_a_budget_that_stopped_ends_with_the_same_weights(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(data, hours=0.1, cosine=True, loc=Loc.NONE, batch_size=24)

    def clock() -> Iterator[float]:
        now = 0.0
        for seconds in (60.0, 45.0, 70.0, 50.0, 60.0, 60.0, 60.0, 60.0):
            yield now
            yield (now := now + seconds)

    ticks = clock()
    monkeypatch.setattr("lstn.train.loop.perf_counter", lambda: next(ticks))
    whole = run(given, tmp_path / "whole")
    assert len(whole.history) > 4

    class Killed(BaseException):
        pass

    def killed() -> Iterator[float]:
        for place, now in enumerate(clock()):
            if place == 5:  # at the end of the third epoch, which is lost
                raise Killed
            yield now

    ticks = killed()
    with pytest.raises(Killed):
        run(given, tmp_path / "parts")
    rest = list(clock())[4:]
    ticks = iter(rest)
    run(given, tmp_path / "parts", resume=True)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
