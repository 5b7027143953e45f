"""The time left, by a clock of ours."""

import pytest

from lstn.train.pace import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def paced(clock: Clock, *, epochs: int = 10) -> Pace:
    """160 images to train on in 10 steps, 48 to validate."""
    return Pace(images=160, val_images=48, steps=10, epochs=epochs, clock=clock)


def test_before_the_first_epoch_the_steps_are_counted_on() -> None:
    clock = Clock()
    pace = paced(clock)
    assert not pace.steps_taken
    for step in range(1, 6):
        clock.now += 2
        pace.step(1, 16 * step)
    assert pace.step_s == 2
    assert pace.epoch_s == pytest.approx(20 * 1.1)  # 48 of 160 images, forwards alone
    assert pace.left_s == pytest.approx(9.5 * 22)


def test_whole_epochs_are_better() -> None:
    clock = Clock()
    pace = paced(clock)
    for step in range(1, 11):
        clock.now += 2
        pace.step(1, 16 * step)
    clock.now += 30
    pace.epoch(50)
    clock.now += 2
    pace.step(2, 16)
    assert pace.epoch_s == 50
    assert pace.left_s == pytest.approx(8.9 * 50)
    assert pace.step_s == 2  # and validation was no step


def test_slow_first_steps_do_not_spoil_it() -> None:
    """One prepares kernels, and every second one has the wrong number of threads."""
    clock = Clock()
    pace = paced(clock, epochs=1)
    for step, seconds in enumerate((60, 9, 1, 9, 1, 9, 1, 9), 1):
        clock.now += seconds
        pace.step(1, 16 * step)
    assert pace.step_s == 1


def test_nothing_is_left_at_the_end() -> None:
    clock = Clock()
    pace = paced(clock, epochs=1)
    clock.now += 1
    pace.step(1, 160)
    assert pace.left_s == 0
