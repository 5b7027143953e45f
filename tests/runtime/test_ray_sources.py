import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from lstn.contract import Contract, Loc
from lstn.data.folders.listing import Skipped, images_below
from lstn.errors import DataError, ImageError, MissingExtra, UsageError
from lstn.images import decode
from lstn.runtime.inference import sources
from lstn.runtime.inference.sources import absolute, check_sources, decode_url, list_images

NAMES = ("a/1.png", "a/b/2.JPG", "a/b/note.md", "3.webp", "a/.hidden.png")
SMALL = Contract(Loc.NONE, "cnn", (4, 5), ("cat", "dog"))
FOUND = {"a/1.png", "a/b/2.JPG", "3.webp"}


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


def test_a_folder_holds_what_training_finds_in_it(folder: Path, bucket: str) -> None:
    skipped = [Skipped(), Skipped(), Skipped()]
    assert list(list_images([str(folder)], skipped[0])) == [str(path) for path in images_below(folder, skipped[1])]
    list(list_images([bucket], skipped[2]))
    said = "1 file is not read (1 .md); convert images of other formats to JPEG or PNG; "
    assert {each.describe() for each in skipped} == {f"{said}skipped: 1 hidden or system name (.hidden.png)"}


def test_relative_words_stay_relative_until_they_travel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert list(list_images(["a/../3.webp"])) == ["a/../3.webp"]
    assert set(list_images(["."])) == FOUND
    assert list(list_images([absolute("a/../3.webp")])) == [str(folder / "3.webp")]
    assert absolute("https://host/x.jpg") == "https://host/x.jpg"


def test_a_glob_matches_files_only(folder: Path) -> None:
    assert set(list_images([f"{folder}/*"])) == {str(folder / "3.webp")}
    assert set(list_images([f"{folder}/**/[0-9].*"])) == {str(folder / name) for name in FOUND}


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
def test_a_list_is_read_in_the_encodings_that_windows_writes(folder: Path, bucket: str, encoding: str) -> None:
    text = "\r\n".join(["a/1.png", "", "ö x.png", "s3://bucket/ü"])
    boms = {"utf-16-le-bom": "utf-16-le", "utf-16-be-bom": "utf-16-be"}
    data = ("\ufeff" + text).encode(boms[encoding]) if encoding in boms else text.encode(encoding)
    names = folder / "names.txt"
    names.write_bytes(data)
    assert list(list_images([str(names)])) == [f"{folder}/a/1.png", f"{folder}/ö x.png", "s3://bucket/ü"]
    fsspec.filesystem("memory").pipe("/bucket/names.txt", data)
    assert list(list_images([f"{bucket}/names.txt"])) == [f"{bucket}/a/1.png", f"{bucket}/ö x.png", "s3://bucket/ü"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_that_does_not_say_so_is_refused(folder: Path, bucket: str, encoding: str) -> None:
    data = "a/1.png\r\na/2.png".encode(encoding)
    (folder / "names.txt").write_bytes(data)
    fsspec.filesystem("memory").pipe("/bucket/names.txt", data)
    for name in (str(folder / "names.txt"), f"{bucket}/names.txt"):
        with pytest.raises(
            DataError, match=r"names\.txt: not a list in UTF-8 .*UTF-16 without a byte order mark"
        ) as caught:
            list(list_images([name]))
        assert caught.value.hint == "save it as UTF-8"


def test_a_glob_follows_links_once_and_enters_no_systems_folder(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "4.png").touch()
    (folder / "lost.png").symlink_to("/nowhere/lost.png")
    found = sorted(list_images([f"{folder}/**/*.[pJ]*"]))
    assert found == sorted(f"{folder}/{name}" for name in ("a/1.png", "a/b/2.JPG", "lost.png"))
    assert list(list_images([f"{folder}/__MACOSX/*"])) == [f"{folder}/__MACOSX/4.png"]


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
    np.testing.assert_array_equal(decode_url(f"{bucket}/green", SMALL), decode(data, (4, 5)))


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "No such|not found|/bucket/nowhere"), ("3.webp", "not an image")]
)
def test_an_object_that_cannot_be_decoded_is_an_image_error(bucket: str, name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        decode_url(f"{bucket}/{name}", SMALL)
    assert caught.value.message.startswith(f"{bucket}/{name}: ")
    assert caught.value.message.count(f"{bucket}/{name}: ") == 1


def test_an_object_larger_than_the_limit_is_not_read(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 5)
    with pytest.raises(ImageError, match="larger than"):
        decode_url(f"{bucket}/3.webp", SMALL)
