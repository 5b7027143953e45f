"""The data set that a task needs: images with labels, with all their labels or objects, or with their text."""

from typing import Protocol

from lstn.contract import Contract, Task
from lstn.data.dataset import open_data, open_data_of
from lstn.data.object_sets import open_objects, open_objects_of
from lstn.data.splits import DataSet
from lstn.data.tags.tag_sets import open_tags, open_tags_of
from lstn.data.texts.text_sets import open_texts, open_texts_of
from lstn.imaging.framing import STRETCHED, Framing


def open_for(
    task: Task, spec: str, *, image_hw: tuple[int, int], seed: int = 0, framing: Framing = STRETCHED
) -> DataSet:
    """Open the data set that `--data` names, to train on; images with objects or texts are stretched.

    Raises:
        UsageError, DataError: as for `open_data`, `open_tags`, `open_objects` or `open_texts`.
    """
    if task is Task.TAG:
        return open_tags(spec, image_hw=image_hw, seed=seed, framing=framing)
    if task in (Task.READ, Task.ALIGN):
        return open_texts(spec, image_hw=image_hw, seed=seed)
    if task is Task.DETECT:
        return open_objects(spec, image_hw=image_hw, seed=seed)
    return open_data(spec, image_hw=image_hw, seed=seed, framing=framing)


def open_for_model(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a model that was trained.

    Raises:
        UsageError, DataError: as for `open_data_of`, `open_tags_of`, `open_objects_of` or `open_texts_of`.
    """
    return _OPENED[contract.task](contract, spec, seed=seed)


class _OpenForModel(Protocol):
    def __call__(self, contract: Contract, spec: str, *, seed: int | None) -> DataSet: ...


_OPENED: dict[Task, _OpenForModel] = {
    Task.CLASSIFY: open_data_of,
    Task.TAG: open_tags_of,
    Task.DETECT: open_objects_of,
    Task.READ: open_texts_of,
    Task.ALIGN: open_texts_of,
    Task.GENERATE: open_data_of,
}
"""Total over `Task`."""
