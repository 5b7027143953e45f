"""Data sets for detection, whose splits know all objects in their images: scenes and annotated folders."""

from lstn.contract import Contract
from lstn.data.annotations.annotated_folder import open_annotated
from lstn.data.dataset import checked_for
from lstn.data.scenes.open_scenes import open_digit_scenes, open_folder_scenes, open_sign_scenes
from lstn.data.set_names import (
    DIGIT_SCENES,
    FOLDER_PREFIX,
    SCENES_PREFIX,
    SIGN_SCENES,
    folder_in,
    objects_and_backgrounds,
    set_and_root,
)
from lstn.data.splits import DataSet
from lstn.errors import UsageError

MOST_OBJECTS = 5
"""Of a scene."""


def open_objects(
    spec: str, *, image_hw: tuple[int, int], seed: int = 0, labels: tuple[str, ...] | None = None
) -> DataSet:
    """Open the data set that `--data` names, at the model's input size, to detect objects in its images.

    Its splits are `lstn.data.objects.KnowsObjects`. Scenes (`scenes-digits`, `scenes-signs`,
    `scenes:OBJECTS,BACKGROUNDS`) show one to five objects, of which none hides another. `folder:PATH` has annotations
    by COCO, YOLO or Pascal VOC (`lstn.data.annotations`).

    labels: the classes of a model that was trained, of which a folder may have fewer; None: to train on

    Raises:
        UsageError: no such data set or folder, or it doesn't say where its objects are.
        DataError: as for `lstn.data.dataset.open_data`.
    """
    if spec.startswith(FOLDER_PREFIX):
        return open_annotated(folder_in(spec), image_hw, seed, labels=labels)
    if (scenes := open_several(spec, image_hw, seed, labels)) is not None:
        return scenes
    raise UsageError(
        f"{spec!r} is not a data set for detection" if spec else "the model doesn't say what it was trained on",
        hint=f"use {DIGIT_SCENES}, {SIGN_SCENES}, {SCENES_PREFIX}OBJECTS,BACKGROUNDS, or {FOLDER_PREFIX}PATH with "
        "annotations",
    )


def open_several(spec: str, image_hw: tuple[int, int], seed: int, labels: tuple[str, ...] | None) -> DataSet | None:
    """Open scenes that show one to five objects; None if `spec` names no scenes.

    Raises:
        UsageError, DataError: as for `open_objects`.
    """
    if spec == DIGIT_SCENES:
        return open_digit_scenes(image_hw, seed, MOST_OBJECTS)
    if spec.startswith(SCENES_PREFIX):
        return open_folder_scenes(*objects_and_backgrounds(spec), image_hw, seed, labels, MOST_OBJECTS)
    named = set_and_root(spec)
    return open_sign_scenes(named[1], image_hw, seed, MOST_OBJECTS) if named and named[0] == SIGN_SCENES else None


def open_objects_of(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a detector that was trained, as `lstn.data.dataset.open_data_of`.

    Raises:
        UsageError, DataError: as for `open_objects`; or the classes are not the model's; a split depends on a seed that
            nobody says, when it is opened.
    """
    data = open_objects(spec, image_hw=contract.image_hw, seed=seed or 0, labels=contract.labels)
    return checked_for(contract, data, spec, seed)
