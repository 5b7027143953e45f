"""The epoch whose weights a run keeps."""

import pytest

from lstn.health.run_health import Epoch, best_epoch


def epochs(*figures: tuple[float, float]) -> list[Epoch]:
    """figures: validation accuracy and loss of each"""
    return [
        Epoch(epoch=number, train_loss=1, train_accuracy=0, val_loss=loss, val_accuracy=accuracy, seconds=1)
        for number, (accuracy, loss) in enumerate(figures, 1)
    ]


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([(0.2, 1.0), (0.5, 2.0), (0.5, 1.0), (0.4, 0.1)], 2),  # the first of equals
        ([(0.0, 3.0), (0.0, 1.0), (0.0, 2.0)], 2),  # nothing is right in any
        ([(0.0, 1.0), (0.1, 9.0)], 2),
        ([(0.0, 1.0), (0.0, 1.0)], 1),
    ],
)
def test_the_best_epoch_is_the_most_accurate_one(figures: list[tuple[float, float]], best: int) -> None:
    assert best_epoch(epochs(*figures))["epoch"] == best
