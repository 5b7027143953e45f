"""Where the images of a large run come from: folders, globs, text lists and URLs, listed lazily, one name at a time.

A name is an absolute path, or the URL of an object that fsspec reads: s3://bucket/key, gs://bucket/key, file:///path.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from lstn.errors import DataError, ImageError, LstnError, MissingExtra, UsageError
from lstn.images import MAX_BYTES, SUFFIXES, Pixels, decode
from lstn.imports import require

_LIST = ".txt"


def is_url(name: str) -> bool:
    """Whether fsspec reads it; an absolute path never looks like that."""
    return "://" in name and not name.startswith("/")


def list_images(words: Iterable[str]) -> Iterator[str]:
    """Yield the names that `words` stand for, in an order that stays the same while the files do.

    A folder stands for the images in it at any depth, a glob for the files that it matches, and a file or an object
    ending in .txt for the names in its lines, which are not looked at before they are read. Relative names start at
    the working directory, or at the list's folder. A name that several words stand for comes several times.

    Raises:
        UsageError: a word stands for nothing.
        DataError: a folder or a list can't be read, or the storage behind a URL refuses.
        MissingExtra: no fsspec, or not the package that it needs for this kind of URL.
    """
    for word in words:
        names = _remote(word) if is_url(word) else _local(word)
        yield from names


def check_sources(words: Iterable[str]) -> None:
    """Refuse what `list_images` would refuse, as far as the first image of each word tells.

    Raises:
        UsageError, DataError, MissingExtra: as there.
    """
    for word in words:
        next(list_images([word]))


def decode_url(url: str, image_hw: tuple[int, int]) -> Pixels:
    """Read an object and decode it to (H, W, 3) uint8 RGB, as `lstn.images.decode` does.

    Raises:
        ImageError: it can't be read or decoded.
    """
    try:
        with _storage(url) as (files, path), files.open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except LstnError as error:
        raise ImageError(f"{url}: {error.message.removeprefix(f'{url}: ')}") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{url}: larger than {MAX_BYTES >> 20} MiB")
    return decode(data, image_hw, name=url)


def _local(word: str) -> Iterator[str]:
    path = Path(os.path.abspath(word))  # noqa: PTH100 - unlike resolve(), keeps the name of a link
    try:
        if path.is_dir():
            yield from _some(word, "no image in this folder", _walk(path))
        elif path.suffix.lower() == _LIST and path.is_file():
            with path.open("rb") as lines:
                yield from _some(word, "no name in this list", _named(lines, path.parent))
        elif path.exists():
            yield str(path)
        elif glob.has_magic(word):
            found = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            matches = (name for name in found if Path(name).is_file())
            yield from _some(word, "matches no file", matches)
        else:
            raise UsageError(f"{word}: no such file or folder")
    except OSError as error:
        raise DataError(f"{error.filename or word}: {error.strerror}") from error


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        for path in (Path(root, name) for name in sorted(names)):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield str(path)


def _refuse(error: OSError) -> None:
    """What `os.walk` would leave out in silence."""
    raise error


def _named(lines: Iterable[bytes], folder: Path) -> Iterator[str]:
    for line in lines:
        if name := os.fsdecode(line).strip("\r\n"):
            yield name if is_url(name) else os.path.abspath(folder / name)  # noqa: PTH100


def _remote(url: str) -> Iterator[str]:
    with _storage(url) as (files, path):
        suffix = PurePosixPath(path).suffix.lower()
        if glob.has_magic(path) and not files.exists(path):
            names = (name for name in sorted(files.glob(path)) if files.isfile(name))
            yield from _some(url, "matches no object", map(files.unstrip_protocol, names))
        elif files.isdir(path):
            yield from _some(url, "no image in this folder", map(files.unstrip_protocol, _walk_remote(files, path)))
        elif not files.exists(path):
            raise UsageError(f"{url}: no such object or folder")
        elif suffix == _LIST:
            with files.open(path, "rb") as lines:
                yield from _some(url, "no name in this list", _named_remote(lines, url.rpartition("/")[0]))
        else:
            yield files.unstrip_protocol(path)


def _walk_remote(files: Any, path: str) -> Iterator[str]:
    for root, folders, names in files.walk(path, on_error="raise"):
        if isinstance(folders, list):
            folders.sort()
        yield from (f"{root}/{name}" for name in sorted(names) if PurePosixPath(name).suffix.lower() in SUFFIXES)


def _named_remote(lines: Iterable[bytes], folder: str) -> Iterator[str]:
    for line in lines:
        if name := os.fsdecode(line).strip("\r\n"):
            yield name if is_url(name) else f"{folder}/{name}"


def _some(word: str, complaint: str, names: Iterable[str]) -> Iterator[str]:
    """Yield `names`, or complain that there is none."""
    name = None
    for name in names:
        yield name
    if name is None:
        raise UsageError(f"{word}: {complaint}")


@contextmanager
def _storage(url: str) -> Iterator[tuple[Any, str]]:
    """Yield fsspec's file system for `url` and the path within it; what it raises becomes ours, in one line."""
    fsspec = require("fsspec", extra="ray")
    try:
        yield fsspec.core.url_to_fs(url)
    except LstnError:
        raise
    except ImportError as error:  # fsspec's message names the package
        raise MissingExtra(f"{url}: {_told(error)}", hint="install what it names on every node") from error
    except Exception as error:  # s3fs, gcsfs and the clients below them have no base class in common
        raise DataError(f"{url}: {_told(error)}") from error


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"
