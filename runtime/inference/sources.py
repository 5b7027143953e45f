"""Sources of images: folders, globs, text lists and URLs, listed lazily, one name at a time.

A name is a path, or the URL of an object that fsspec reads: s3://bucket/key, https://host/x.jpg, file:///path.
"""

import codecs
import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lstn.contract import Contract
from lstn.data.folders.listing import SYSTEM_NAMES, Skipped, images_below
from lstn.errors import DataError, ImageError, LstnError, MissingExtra, UsageError
from lstn.images import MAX_BYTES, USUAL, DecodeLimits, Pixels, decode
from lstn.imaging.framing import framing_of
from lstn.imports import require

_LIST = ".txt"


_MAX_LIST = 256 << 20
"""Bytes of a list in UTF-16, which is read at once."""


def is_url(name: str) -> bool:
    """Say whether fsspec reads it; an absolute path never looks like that."""
    return "://" in name and not name.startswith("/")


def absolute(word: str) -> str:
    """Return a word that means the same from every working folder."""
    return word if is_url(word) else os.path.abspath(word)  # noqa: PTH100 - unlike resolve(), keeps the name of a link


def list_images(words: Iterable[str], skipped: Skipped | None = None) -> Iterator[str]:
    """Yield the names that `words` stand for, in an order that stays the same while the files do.

    A folder stands for the images in it at any depth (`lstn.data.folders.listing`), a glob for the files that match it,
    and a file or an object ending in .txt for the names in its lines, which are not looked at before they are read.
    Relative names in a list start at the list's folder. A name that several words stand for comes several times.
    `skipped` fills up with what is left out of folders.

    Raises:
        UsageError: a word stands for nothing.
        DataError: a folder or a list can't be read, or the storage behind a URL refuses.
        MissingExtra: no fsspec, or not the package that it needs for this kind of URL.
    """
    skipped = Skipped() if skipped is None else skipped
    for word in words:
        names = _remote(word, skipped) if is_url(word) else _local(word, skipped)
        yield from names


def check_sources(words: Iterable[str]) -> None:
    """Refuse what `list_images` would refuse, as far as the first image of each word tells.

    Raises:
        UsageError, DataError, MissingExtra: as there.
    """
    for word in words:
        next(list_images([word]))


def decode_url(url: str, contract: Contract, limits: DecodeLimits = USUAL) -> Pixels:
    """Read an object and decode it to the input (H, W, 3) of a model, as `lstn.images.decode` does.

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
    return decode(data, contract.image_hw, name=url, limits=limits, framing=framing_of(contract))


def _local(word: str, skipped: Skipped) -> Iterator[str]:
    path = Path(word)
    try:
        if path.is_dir():
            yield from _some(word, "no image in this folder", map(str, images_below(path, skipped)), skipped)
        elif path.suffix.lower() == _LIST and path.is_file():
            with path.open("rb") as lines:
                yield from _some(word, "no name in this list", _named(word, lines, str(path.parent)))
        elif path.exists():
            yield str(path)
        elif glob.has_magic(word):
            yield from _some(word, "matches no file", _matches(word, skipped))
        else:
            raise UsageError(f"{word}: no such file or folder")
    except OSError as error:
        raise DataError(f"{error.filename or word}: {error.strerror}") from error


def _matches(pattern: str, skipped: Skipped) -> Iterator[str]:
    """Files that a glob matches, sorted, none below a system's folder and none around a loop of links.

    A link that leads nowhere is a file too: an image that is lost is broken, not absent.
    """
    typed = set(Path(pattern).parts)
    for name in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
        path = Path(name)
        system = [part for part in path.parts if part.lower() in SYSTEM_NAMES and part not in typed]
        if system:
            skipped.hidden[system[0]] += 1
        elif (path.is_file() or (path.is_symlink() and not path.exists())) and not _looped(absolute(str(path.parent))):
            yield name


@lru_cache(maxsize=1024)
def _looped(folder: str) -> bool:
    """Say whether a path goes through one folder twice, by a link to what it lies in."""
    passed = [os.path.realpath(each) for each in (folder, *map(str, Path(folder).parents))]
    return len(set(passed)) < len(passed)


def _named(listed: str, lines: IO[bytes], folder: str) -> Iterator[str]:
    """Names in the lines of a list; relative ones start at `folder`, a path or a URL."""
    for line in _decoded(listed, lines):
        if not (name := line.strip("\r\n")):
            continue
        if is_url(name):
            yield name
        else:
            yield f"{folder}/{name}" if is_url(folder) else os.path.normpath(os.path.join(folder, name))  # noqa: PTH118


def _decoded(listed: str, lines: IO[bytes]) -> Iterator[str]:
    """Lines of a text file: UTF-8, with a byte order mark or without, or UTF-16 with one, as Windows writes them.

    Bytes that are not UTF-8 stay what they are, for they can name files.

    Raises:
        DataError: a zero byte, which no name has, in the first line.
    """
    first = lines.readline()
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = first + lines.read(_MAX_LIST)
        yield from data.decode("utf-16", errors="replace").splitlines()
        return
    if b"\0" in first:
        raise DataError(
            f"{listed}: not a list in UTF-8 (zero bytes in its first line; UTF-16 without a byte order mark has these)",
            hint="save it as UTF-8",
        )
    yield os.fsdecode(first.removeprefix(codecs.BOM_UTF8))
    yield from map(os.fsdecode, lines)


def _remote(url: str, skipped: Skipped) -> Iterator[str]:
    with _storage(url) as (files, path):
        suffix = PurePosixPath(path).suffix.lower()
        if glob.has_magic(path) and not files.exists(path):
            names = (name for name in sorted(files.glob(path)) if files.isfile(name))
            yield from _some(url, "matches no object", map(files.unstrip_protocol, names))
        elif files.isdir(path):
            found = map(files.unstrip_protocol, _walk_remote(files, path, skipped))
            yield from _some(url, "no image in this folder", found, skipped)
        elif not files.exists(path):
            raise UsageError(f"{url}: no such object or folder")
        elif suffix == _LIST:
            with files.open(path, "rb") as lines:
                yield from _some(url, "no name in this list", _named(url, lines, url.rpartition("/")[0]))
        else:
            yield files.unstrip_protocol(path)


def _walk_remote(files: Any, path: str, skipped: Skipped) -> Iterator[str]:
    for root, folders, names in files.walk(path, on_error="raise"):
        if isinstance(folders, list):  # what is left in it is walked into
            folders[:] = [name for name in sorted(folders) if not skipped.hides(name)]
        else:
            for name in [name for name in folders if skipped.hides(name)]:
                del folders[name]
        yield from (f"{root}/{name}" for name in sorted(names) if not skipped.hides(name) and skipped.reads(name))


def _some(word: str, complaint: str, names: Iterable[str], skipped: Skipped | None = None) -> Iterator[str]:
    """Yield `names`, or complain that there is none."""
    name = None
    for name in names:
        yield name
    if name is None:
        raise UsageError(f"{word}: {complaint}", hint=skipped.describe() if skipped else "")


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
