"""Image files that are sent to a server: of the data set that its model knows."""

import io

from PIL import Image

from lstn.contract import Contract
from lstn.data.folders.class_folders import FolderSplit
from lstn.data.splits import spaced
from lstn.data.task_sets import open_for_model

_MOST = 64
_QUALITY = 90


def sent_images(contract: Contract, data: str, *, seed: int | None, most: int = _MOST) -> list[bytes]:
    """Return up to `most` validation images as files: those of a folder of classes as they are.

    Those of other sets are JPEG files in the model's input size.

    Raises:
        UsageError, DataError: as for `open_for_model`.
    """
    split = open_for_model(contract, data, seed=seed).val
    numbers = spaced(len(split), most)
    if isinstance(split, FolderSplit):
        return [split.files[number][0].read_bytes() for number in numbers]
    return [_jpeg(Image.fromarray(split[number][0])) for number in numbers]


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
