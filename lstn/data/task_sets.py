"""The data set that a task needs: images with labels, or with all objects in them."""

from lstn.contract import Contract, Task
from lstn.data.dataset import open_data, open_data_of
from lstn.data.object_sets import open_objects, open_objects_of
from lstn.data.splits import DataSet


def open_for(task: Task, spec: str, *, image_hw: tuple[int, int], seed: int = 0) -> DataSet:
    """Open the data set that `--data` names, to train on.

    Raises:
        UsageError, DataError: as for `open_data`, or `open_objects`.
    """
    return (open_objects if task is Task.DETECT else open_data)(spec, image_hw=image_hw, seed=seed)


def open_for_model(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a model that was trained.

    Raises:
        UsageError, DataError: as for `open_data_of`, or `open_objects_of`.
    """
    return (open_objects_of if contract.task is Task.DETECT else open_data_of)(contract, spec, seed=seed)
