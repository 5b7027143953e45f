"""Data sets for tagging, whose splits know all labels of each image: tables of labels, annotated folders and scenes."""

from lstn.contract import Contract, Fit
from lstn.data.annotations.annotated_folder import open_annotated
from lstn.data.dataset import checked_for
from lstn.data.folders.layout import TABLE
from lstn.data.folders.table_division import tables_in
from lstn.data.object_sets import open_several
from lstn.data.objects import objects_of
from lstn.data.scenes.open_scenes import open_digit_rows
from lstn.data.set_names import DIGIT_NUMBERS, DIGIT_SCENES, FOLDER_PREFIX, SCENES_PREFIX, SIGN_SCENES, folder_in
from lstn.data.splits import DataSet, Split
from lstn.data.tags.tag_folder import open_tag_folder
from lstn.errors import DataError, UsageError
from lstn.imaging.framing import STRETCHED, Framing, framing_of

_WANTED = (
    f"expected PATH/{TABLE} of path,labels, or a detector's annotations; folders of one class each are for --task "
    "classify"
)


def open_tags(
    spec: str,
    *,
    image_hw: tuple[int, int],
    seed: int = 0,
    labels: tuple[str, ...] | None = None,
    framing: Framing = STRETCHED,
) -> DataSet:
    """Open the data set that `--data` names, at the model's input size, to learn which labels its images have.

    Its splits are `lstn.data.objects.KnowsObjects`: an image has the labels of its objects. `folder:PATH` has a table
    of labels (`lstn.data.tags.tag_folder`), or else annotations by COCO, YOLO or Pascal VOC. Scenes (`scenes-digits`,
    `scenes-signs`, `scenes:OBJECTS,BACKGROUNDS`) show one to five objects, as for `lstn.data.object_sets.open_objects`;
    `numbers-digits` shows rows of one to five digits.

    labels:  those of a model that was trained, of which a folder may have fewer; None: to train on
    framing: how files of a table become images of that size; annotated ones are stretched

    Raises:
        UsageError: no such data set or folder; or annotated images, and another framing than stretched.
        DataError: as for `lstn.data.tags.tag_folder.open_tag_folder`, or `lstn.data.object_sets.open_objects`.
    """
    if spec.startswith(FOLDER_PREFIX):
        root = folder_in(spec)
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder", hint="if it was moved: --data folder:NEW_PATH")
        if tables_in(root):
            return open_tag_folder(root, image_hw, seed, labels=labels, framing=framing)
        if framing.fit is not Fit.STRETCH:
            raise UsageError(
                f"--data {spec}: images with boxes are stretched, and this model's fit is {framing.fit.value}",
                hint=f"leave out --fit, or write a {TABLE} of path,labels",
            )
        return open_annotated(root, image_hw, seed, labels=labels, wanted=_WANTED)
    if spec == DIGIT_NUMBERS:
        return open_digit_rows(image_hw, seed)
    if (scenes := open_several(spec, image_hw, seed, labels)) is not None:
        return scenes
    raise UsageError(
        f"{spec!r} is not a data set for tagging" if spec else "the model doesn't say what it was trained on",
        hint=f"use {DIGIT_SCENES}, {DIGIT_NUMBERS}, {SIGN_SCENES}, {SCENES_PREFIX}OBJECTS,BACKGROUNDS, or "
        f"{FOLDER_PREFIX}PATH with a {TABLE} of path,labels",
    )


def open_tags_of(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a model that tags, as `lstn.data.dataset.open_data_of`.

    Raises:
        UsageError, DataError: as for `open_tags`; or the labels are not the model's; a split depends on a seed that
            nobody says, when it is opened.
    """
    hw, framing = contract.image_hw, framing_of(contract)
    data = open_tags(spec, image_hw=hw, seed=seed or 0, labels=contract.labels, framing=framing)
    return checked_for(contract, data, spec, seed)


def check_tagged(val: Split, data: str) -> None:
    """Check that a validation image has a label: without one there is no average precision.

    Raises:
        DataError: none of them has.
    """
    if not any(len(objects_of(val, index)) for index in range(len(val))):
        raise DataError(f"--data {data}: no validation image has a label", hint="add some that do")
