"""Files that are whole or absent."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lstn.errors import LstnError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    The parent folder is made. Whatever goes wrong, a file that stood at `path` before still does.

    Raises:
        LstnError: `path` is a folder or a device, its folder can't be made, or the file can't be written (no space, no
            permission).
    """
    temporary = temporary_beside(path)
    try:
        if path.exists() and not path.is_file():  # a rename over /dev/null would take it from the whole machine
            raise LstnError(f"cannot write {path}: it is not a regular file", hint="name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        cure = "free some space there, or choose another place" if error.errno in _FULL else "choose another place"
        raise LstnError(f"cannot write {path}: {error.strerror or error}", hint=cure) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def what_is(path: Path) -> str:
    """Say what stands at `path` where a regular file is wanted and none is."""
    if path.is_dir():
        return "a folder"
    if path.exists():
        return "not a regular file"
    return "a link that leads nowhere" if path.is_symlink() else "no such file"


def temporary_beside(path: Path) -> Path:
    """Return a name that nothing has yet, hidden, in the folder of `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def leftovers(folder: Path, of: str = "*") -> list[Path]:
    """Return what stands in `folder` under names of `temporary_beside`: left by killed processes, if nobody writes.

    of: the name that it was to get, escaped as for a glob pattern
    """
    return list(folder.glob(f".{of}.{'[0-9a-f]' * 8}.tmp"))


def remove_leftovers(folder: Path, of: str = "*") -> None:
    """Remove `leftovers`, files and folders; what can't be removed stays."""
    for path in leftovers(folder, of):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary name."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 through a temporary name.

    What isn't text, a byte of a file's name that no UTF-8 has, is escaped as JSON and Python read it: `\\udce9`.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush_to_disk(path: Path) -> None:
    """Without this, a power cut can leave the new name on an empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
