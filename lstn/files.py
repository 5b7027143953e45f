"""Files that are whole or absent."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

from lstn.errors import LstnError, UsageError


class Hashing(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None:
        """Read some more bytes."""


HashT = TypeVar("HashT", bound=Hashing)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_MANY = 100
"""Files that are written out one by one; of more, the whole system's are, which is faster."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    The parent folder is made. Whatever goes wrong, a file that stood at `path` before still does. A link stays, and
    what it leads to is replaced.

    Raises:
        LstnError: `path` is a folder or a device, its folder can't be made, or the file can't be written (no space, no
            permission).
    """
    try:
        final = link_target(path)
        temporary = temporary_beside(final)
        try:
            lost = final.is_symlink()  # a loop of links
            # A rename over /dev/null would take it from the whole machine.
            if lost or (path.exists() and not path.is_file()):
                raise LstnError(f"cannot write {path}: it is not a regular file", hint="name a file")
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(final)
        finally:
            with suppress(OSError):
                temporary.unlink()
    except OSError as error:
        cure = "free some space there, or choose another place" if error.errno in _FULL else "choose another place"
        raise LstnError(f"cannot write {path}: {error.strerror or error}", hint=cure) from error


def link_target(path: Path) -> Path:
    """Return the file that a link leads to, which need not be there; of what is no link, the path itself.

    A rename over a link would leave the old file where it leads to, and take /dev/stdout from the whole machine.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; rename it to `folder` when the block ends well, remove it otherwise.

    Parent folders are made. All that is in it is on the disk before it gets its name.

    Raises:
        OSError: it can't be made or written out, or there is something in `folder` by then.
    """
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _flush_all_to_disk(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = "lstn-") -> Iterator[Path]:
    """Yield a new folder, and remove it; if it can't be removed it stays, so that no result is lost for it.

    parent: where it lies; by default the system's place for temporary files

    Raises:
        OSError: it can't be made.
    """
    with TemporaryDirectory(dir=parent, prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def what_is(path: Path) -> str:
    """Say what stands at `path` where a regular file is wanted and none is."""
    if path.is_dir():
        return "a folder"
    if path.exists():
        return "not a regular file"
    return "a link that leads nowhere" if path.is_symlink() else "no such file"


def check_utf8(path: Path, readers: str) -> None:
    """Check that a path is text, as libraries that are not Python's take it. readers: who does, for the error

    Raises:
        UsageError: it is not text in UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: this path is not text in UTF-8, which {readers} need", hint="rename it") from error


def temporary_beside(path: Path) -> Path:
    """Return a name that nothing has yet, hidden, in the folder of `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def leftovers(folder: Path, of: str = "*") -> list[Path]:
    """Return what stands in `folder` under names of `temporary_beside`: left by killed processes, if nobody writes.

    of: the name that it was to get, escaped as for a glob pattern
    """
    return list(folder.glob(f".{of}.{'[0-9a-f]' * 8}.tmp"))


def remove_leftovers(folder: Path, of: str = "*") -> None:
    """Remove `leftovers`, files and folders; what can't be found or removed stays."""
    with suppress(OSError):
        for path in leftovers(folder, of):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary name."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` through a temporary name, as `as_utf8` encodes it."""
    write_bytes(path, as_utf8(text))


def as_utf8(text: str) -> bytes:
    """Return text as UTF-8.

    What isn't text, a byte of a file's name that no UTF-8 has, is escaped as JSON and Python read it: `\\udce9`.
    """
    return text.encode(errors="backslashreplace")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    return hashed(path, hashlib.sha256()).hexdigest()


def hashed(path: Path, digest: HashT) -> HashT:
    """Return `digest`, of `hashlib`, after it has read a file in pieces."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest


def _flush_all_to_disk(folder: Path) -> None:
    inside = list(folder.rglob("*"))
    if len(inside) > _MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in inside:
        _flush_to_disk(path)


def _flush_to_disk(path: Path) -> None:
    """Without this, a power cut can leave the new name on an empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
