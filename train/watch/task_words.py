"""The words for a run's figures, by its task."""

from typing import NamedTuple

from lstn.contract import Task


class TaskWords(NamedTuple):
    """The words for the loss; for the share of answers that are right as training goes; and for what chooses the best
    epoch."""

    loss: str
    right: str
    accuracy: str


WORDS: dict[Task, TaskWords] = {
    Task.CLASSIFY: TaskWords("cross-entropy", "accuracy", "accuracy"),
    Task.TAG: TaskWords("cross-entropy", "labels right", "mean average precision"),
    Task.DETECT: TaskWords("loss", "regions right", "AP50"),
    Task.READ: TaskWords("cross-entropy", "symbols right", "texts right"),
    Task.ALIGN: TaskWords("ranking loss", "sentences found", "pairs found"),
    Task.GENERATE: TaskWords("discriminator", "told apart", "taken for real"),
}
"""Total over `Task`."""
