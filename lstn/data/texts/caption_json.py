"""COCO's caption JSON: which image files there are, and what people said of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from lstn.contract import MAX_NAME, STEPS
from lstn.data.annotations.annotated import annotation_bytes, path_below
from lstn.data.texts.caption_words import words_of
from lstn.errors import DataError
from lstn.report.wording import counted
from lstn.untrusted.checked_json import checked, parsed

MOST_BYTES = 256 << 20
"""Of a file: some million captions."""

_MOST_CHARACTERS = 4000
"""Of a caption."""


@dataclass(frozen=True, slots=True)
class _CaptionedFile:
    id: int
    file_name: str


@dataclass(frozen=True, slots=True)
class _Caption:
    image_id: int
    caption: Annotated[str, Meta(max_length=_MOST_CHARACTERS)]


@dataclass(frozen=True, slots=True)
class _CaptionJson:
    images: list[_CaptionedFile]
    annotations: list[_Caption]


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image file, and the words of each of its captions. place: in the file, for errors"""

    path: Path
    captions: tuple[tuple[str, ...], ...]
    place: str


def read_captions(file: Path, folder: Path) -> list[CaptionedImage]:
    """Read a file of captions, whose images lie in `folder`.

    Raises:
        DataError: it can't be read, or is not of this form; an image is not there, stands twice, or has no caption; or
            a caption is of no image, has no word, or more or longer ones than a model can say.
    """
    try:
        read = checked(parsed(annotation_bytes(file, most=MOST_BYTES)), _CaptionJson)
    except ValueError as error:  # of JSON that isn't UTF-8, too
        raise DataError(
            f"{file}: not COCO's captions ({error!s:.300})",
            hint="expected an object with the lists images (id, file_name) and annotations (image_id, caption)",
        ) from error
    said: dict[int, list[tuple[str, ...]]] = {each.id: [] for each in read.images}
    if len(said) < len(read.images):
        raise DataError(f"{file}: an image's id stands twice", hint="give each image an id of its own")
    for number, each in enumerate(read.annotations):
        if each.image_id not in said:
            raise DataError(
                f"{file}: annotations[{number}] is of image {each.image_id}, which the file does not have",
                hint="add the image, or remove the caption",
            )
        said[each.image_id].append(_words(each.caption, f"{file}: annotations[{number}]"))
    return _images(read.images, said, file, folder)


def _words(caption: str, place: str) -> tuple[str, ...]:
    words = words_of(caption)
    if not words:
        raise DataError(f"{place}: {caption[:40]!r} has no word", hint="write what the image shows, or remove it")
    if len(words) > STEPS[1]:
        raise DataError(
            f"{place}: a caption of {len(words)} words; a model says {STEPS[1]} at most", hint="shorten or remove it"
        )
    if long := next((word for word in words if len(word) > MAX_NAME), None):
        raise DataError(f"{place}: a word of {len(long)} characters", hint=f"words have {MAX_NAME} at most")
    return words


def _images(
    images: list[_CaptionedFile], said: dict[int, list[tuple[str, ...]]], file: Path, folder: Path
) -> list[CaptionedImage]:
    found: dict[Path, CaptionedImage] = {}
    for each in images:
        place = f"{file}, image {each.id}"
        path = path_below(folder, each.file_name, place)
        if path in found:
            raise DataError(f"{place}: {each.file_name:.200} stands twice", hint="keep one of them")
        if not said[each.id]:
            raise DataError(f"{place}: {each.file_name:.200} has no caption", hint="write one, or remove the image")
        if not path.is_file():
            raise DataError(
                f"{place}: there is no file {path!s:.200}", hint="name the images' folder: --data captions:FILE,FOLDER"
            )
        found[path] = CaptionedImage(path, tuple(said[each.id]), place)
    if not found:
        raise DataError(f"{file}: no images", hint=f"expected {counted(1, 'image')} or more with captions")
    return list(found.values())
