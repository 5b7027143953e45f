"""Data set of a trained model: what a command takes by default, and which images of a folder it may test."""

from pathlib import Path

from lstn.data.set_names import folder_of_images, located
from lstn.data.splits import AnySplit, DataSet
from lstn.errors import UsageError
from lstn.formats.training_record import Training
from lstn.report.wording import counted
from lstn.terminal import note, warn


def data_and_seed(
    file: Path | None, training: Training | None, data: str | None, seed: int | None
) -> tuple[str, int | None]:
    """Return the data set and the seed that a command works with: those that were typed, or else the model's own.

    training: the record in `file`, None where it has none

    Raises:
        UsageError: nothing was typed, and the file doesn't say.
    """
    if training is not None and training.data:
        return training.data if data is None else data, training.seed if seed is None else seed
    if data is None:
        raise UsageError(
            f"{file or 'the run'} doesn't say what it was trained on", hint="add --data digits, or --data folder:PATH"
        )
    return data, seed


def split_to_test(training: Training | None, data: DataSet, named: str) -> AnySplit:
    """Return what of a data set is tested by default, and say which images these are if a seed divides its files.

    Of the folder that the model was trained on, its test images alone, which its seed tells from the others, under
    whatever name the folder is now. Of any other folder all images, because it was not divided for anybody. Of scenes,
    whose objects are divided as a folder is, the test scenes.

    named: the data set, as `--data` names it
    """
    if "test" not in data.by_seed:
        return "test"
    if training is None or not training.data:
        return _of_unknown_training(data, named)
    known = located(training.data) == located(named)
    if not (data.whole or known):
        return "test"
    same = bool(training.images) and data.train.fingerprint == training.images
    if not same and folder_of_images(training.data) != folder_of_images(named):
        note(f"{_all_of(data, named)}; the model was trained on {training.data}, which is another set")
        return "all"
    if training.images and not same and known:
        warn(f"{named} is not as it was at training, or the seed is another: some of its "
             f"{counted(len(data.test), 'test image')} may have been trained on")  # fmt: skip
    elif data.whole:
        note(f"{counted(len(data.test), 'image', 'are')} tested, the test images of {named}; the model was trained on "
             "the others")  # fmt: skip
    return "test"


def _of_unknown_training(data: DataSet, named: str) -> AnySplit:
    if not data.whole:
        return "test"
    warn(f"{_all_of(data, named)}: if the model was trained on some of them, add --split test and the --seed of its "
         "training")  # fmt: skip
    return "all"


def _all_of(data: DataSet, named: str) -> str:
    return f"{counted(len(data.split('all')), 'image', 'are')} tested, all of {named}"
