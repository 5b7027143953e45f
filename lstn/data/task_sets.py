"""The data set that a task needs: images with labels, or with all objects in them."""

from lstn.contract import Contract, Task
from lstn.data.dataset import open_data, open_data_of
from lstn.data.object_sets import open_objects, open_objects_of
from lstn.data.splits import DataSet
from lstn.imaging.framing import STRETCHED, Framing


def open_for(
    task: Task, spec: str, *, image_hw: tuple[int, int], seed: int = 0, framing: Framing = STRETCHED
) -> DataSet:
    """Open the data set that `--data` names, to train on; images with objects are stretched, whatever the framing.

    Raises:
        UsageError, DataError: as for `open_data`, or `open_objects`.
    """
    if task is Task.DETECT:
        return open_objects(spec, image_hw=image_hw, seed=seed)
    return open_data(spec, image_hw=image_hw, seed=seed, framing=framing)


def open_for_model(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a model that was trained.

    Raises:
        UsageError, DataError: as for `open_data_of`, or `open_objects_of`.
    """
    return (open_objects_of if contract.task is Task.DETECT else open_data_of)(contract, spec, seed=seed)
