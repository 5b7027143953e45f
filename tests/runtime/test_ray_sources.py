import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from lstn.errors import DataError, ImageError, MissingExtra, UsageError
from lstn.images import decode, find_images
from lstn.runtime.inference import sources
from lstn.runtime.inference.sources import check_sources, decode_url, list_images

NAMES = ("a/1.png", "a/b/2.JPG", "a/b/note.md", "3.webp", "a/.hidden.png")
FOUND = {"a/1.png", "a/b/2.JPG", "3.webp", "a/.hidden.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "images" / "folder.png").mkdir()
    return tmp_path / "images"


@pytest.fixture
def bucket(folder: Path) -> Iterator[str]:
    """The same objects in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    for name in NAMES:
        memory.pipe(f"/bucket/{name}", name.encode())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_folder_holds_what_find_images_finds(folder: Path) -> None:
    assert sorted(list_images([str(folder)])) == sorted(map(str, find_images([folder])))


def test_relative_words_become_absolute_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert list(list_images(["a/../3.webp"])) == [str(folder / "3.webp")]
    assert set(list_images(["."])) == {str(folder / name) for name in FOUND}


def test_a_glob_matches_files_only(folder: Path) -> None:
    assert set(list_images([f"{folder}/*"])) == {str(folder / "3.webp")}
    assert set(list_images([f"{folder}/**/[0-9].*"])) == {str(folder / name) for name in FOUND - {"a/.hidden.png"}}


def test_a_name_with_magic_in_it_is_a_name(folder: Path) -> None:
    (folder / "x[1].png").touch()
    (folder / "x1.png").touch()
    assert list(list_images([f"{folder}/x[1].png"])) == [f"{folder}/x[1].png"]


def test_a_list_is_read_line_by_line(folder: Path) -> None:
    names = folder / "names.txt"
    odd = os.fsencode("ö ") + b"\xff.png"
    names.write_bytes(b"a/1.png\r\n\n/else/where.png\n" + odd + b"\ns3://bucket/key\ngone.png")
    wanted = [f"{folder}/a/1.png", "/else/where.png", os.fsdecode(os.fsencode(folder) + b"/" + odd)]
    assert list(list_images([str(names)])) == [*wanted, "s3://bucket/key", f"{folder}/gone.png"]


def test_nothing_is_listed_before_it_is_asked_for(folder: Path) -> None:
    names = list_images([str(folder / "3.webp"), str(folder / "nowhere")])
    assert next(names) == str(folder / "3.webp")
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        next(names)


def test_urls_are_listed_as_folders_globs_lists_and_objects(bucket: str) -> None:
    assert set(list_images([bucket])) == {f"memory:///bucket/{name}" for name in FOUND}
    assert set(list_images([f"{bucket}/a/*.png"])) == {"memory:///bucket/a/1.png", "memory:///bucket/a/.hidden.png"}
    assert list(list_images([f"{bucket}/3.webp"])) == ["memory:///bucket/3.webp"]
    fsspec.filesystem("memory").pipe("/bucket/names.txt", b"a/1.png\n\ngs://other/x.png\n")
    assert list(list_images([f"{bucket}/names.txt"])) == [f"{bucket}/a/1.png", "gs://other/x.png"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("{folder}/nowhere", "no such file or folder"),
        ("{folder}/*.tiff", "matches no file"),
        ("{folder}/folder.png", "no image in this folder"),
        ("{folder}/empty.txt", "no name in this list"),
        ("memory://bucket/nowhere", "no such object or folder"),
        ("memory://bucket/*.tiff", "matches no object"),
        ("memory://bucket/none", "no image in this folder"),
    ],
)
def test_a_word_that_stands_for_nothing_is_refused(folder: Path, bucket: str, word: str, message: str) -> None:
    (folder / "empty.txt").write_text("\n\n")
    fsspec.filesystem("memory").pipe("/bucket/none/note.md", b"x")
    word = word.format(folder=folder)
    with pytest.raises(UsageError) as caught:
        check_sources([str(folder), word])
    assert caught.value.message == f"{word}: {message}"


def test_a_storage_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="nosuch://x/y: Protocol not known: nosuch"):
        check_sources(["nosuch://x/y"])
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtra, match="s3fs"):
        check_sources(["s3://bucket/key"])


def test_a_folder_that_cannot_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"images/a/b: Permission denied"):
        list(list_images([str(folder)]))


def test_an_object_is_decoded_as_a_file_is(bucket: str) -> None:
    data = png((10, 200, 30))
    fsspec.filesystem("memory").pipe("/bucket/green", data)
    np.testing.assert_array_equal(decode_url(f"{bucket}/green", (4, 5)), decode(data, (4, 5)))


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "No such|not found|/bucket/nowhere"), ("3.webp", "not an image")]
)
def test_an_object_that_cannot_be_decoded_is_an_image_error(bucket: str, name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        decode_url(f"{bucket}/{name}", (4, 5))
    assert caught.value.message.startswith(f"{bucket}/{name}: ")
    assert caught.value.message.count(f"{bucket}/{name}: ") == 1


def test_an_object_larger_than_the_limit_is_not_read(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 5)
    with pytest.raises(ImageError, match="larger than"):
        decode_url(f"{bucket}/3.webp", (4, 5))
