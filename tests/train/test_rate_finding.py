"""The learning-rate finder: its choice of a curve, and what it tries on a model."""

from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from short_runs import CPU, options, run

from lstn.contract import Loc
from lstn.errors import TrainingError
from lstn.train import rate_finding
from lstn.train.rate_finding import STEPS, chosen_rate, find_rate, smoothed

RATES = [10.0 ** (-5 + place / 20) for place in range(121)]


def test_smoothing_is_the_weighted_mean_of_the_losses_so_far() -> None:
    losses = np.random.default_rng(0).uniform(1, 5, 30)
    for taken in range(1, 31):
        weights = 0.9 ** np.arange(taken)[::-1]
        assert smoothed(losses.tolist())[taken - 1] == pytest.approx(float(weights @ losses[:taken] / weights.sum()))


def test_the_choice_is_a_tenth_of_the_rate_of_the_lowest_loss() -> None:
    """A loss that falls from 4, is lowest at 0.1, and rises steeply: the mean is lowest where it crosses the loss."""
    losses = [4 - min(2.5, max(0.0, np.log10(rate) + 3.5)) + 40 * max(0.0, np.log10(rate) + 1) for rate in RATES]
    found = chosen_rate(RATES, losses[:90])
    assert found.at == RATES[int(np.argmin(smoothed(losses)))]
    assert 0.1 <= found.at <= 0.2
    assert found.rate == pytest.approx(found.at / 10, rel=0.05)
    assert (found.first, found.until) == (4, RATES[89])


@pytest.mark.parametrize("losses", [[], [2.0], [2.0] * 120, [2.0, 1.99, 2.1, 9.0]])
def test_without_a_fall_nothing_is_chosen(losses: list[float]) -> None:
    with pytest.raises(TrainingError, match="falls at no learning rate"):
        chosen_rate(RATES, losses)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_found_rate_trains(data: str, tmp_path: Path, optimizer: str) -> None:
    asked = options(data, loc=Loc.NONE, optimizer=optimizer, epochs=4, lr=123.0)
    taken: list[int] = []
    found = find_rate(asked, device=CPU, workers=0, step=taken.append)
    assert taken == list(range(1, len(taken) + 1))
    assert len(taken) <= STEPS
    assert 1e-5 <= found.rate < found.at <= found.until
    assert found.rate <= 0.1  # these spots are learned long before any rate is too high
    before, *_, after = run(options(data, loc=Loc.NONE, optimizer=optimizer, epochs=4, lr=found.rate), tmp_path).history
    assert after["train_loss"] < before["train_loss"] < 1


def test_rates_rise_by_the_same_factor_and_the_localizer_has_its_share(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []
    real = rate_finding.take_step

    def noted(going: object, *rest: object) -> tuple[float, float]:
        seen.append([group["lr"] for group in going.optimizer.param_groups])  # type: ignore[attr-defined]
        return real(going, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(rate_finding, "take_step", noted)
    find_rate(options(data, loc=Loc.STN, loc_lr_scale=0.25), device=CPU, workers=0)
    backbone, localizer = np.array(seen).T
    np.testing.assert_allclose(localizer, backbone / 4)
    np.testing.assert_allclose(backbone[1:] / backbone[:-1], 10 ** (6 / 119))
    assert backbone[0] == pytest.approx(1e-5)


def test_the_command_says_a_rate_and_leaves_nothing(
    data: str, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("--loc", "none", "--model", "cnn", "--image-size", 32, "--batch-size", 8)
    ran = run_lstn("train", "--data", data, *small, "--find-lr")
    assert ran.code == 0
    assert ran.out.startswith("--lr 0.")
    assert "without --lr it is 0.002" in ran.out
    assert not list(tmp_path.iterdir())
    assert run_lstn("train", "--data", data, *small, "--epochs", 1, "--name", "a").code == 0
    refused = run_lstn("train", "--resume", "runs/a", "--find-lr")
    assert (refused.code, "leave out --resume" in refused.err) == (2, True)
