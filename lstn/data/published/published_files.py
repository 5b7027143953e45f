"""Files as the makers of a data set publish them, where torchvision's classes would put them, with their checksums."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import DataError
from lstn.files import hashed


@dataclass(frozen=True, slots=True)
class Published:
    """One file to download.

    path: where it lies below the data root; torchvision's classes look there too
    md5:  hexadecimal, as torchvision 0.29 states it
    urls: the first that answers is taken
    """

    path: str
    md5: str
    urls: tuple[str, ...]


def require_files(name: str, files: tuple[Published, ...], root: Path) -> tuple[Path, ...]:
    """Return where the files of set `name` are, in order, all of them there and as they were published.

    Raises:
        DataError: one is missing, or another file.
    """
    if missing := [file for file in files if not (root / file.path).is_file()]:
        raise DataError(
            f"{name}: {len(missing)} of {len(files)} files are missing below {root}",
            hint=f"lstn train --data {name} downloads them; offline, {where_from(missing, root)}",
        )
    for file in files:
        if (found := md5_of(root / file.path)) != file.md5:
            raise DataError(
                f"{root / file.path}: MD5 {found}; the published file has {file.md5}",
                hint="remove it, and let lstn train download it again",
            )
    return tuple(root / file.path for file in files)


def where_from(files: list[Published], root: Path) -> str:
    """Say which file to put where, for a machine that can't download."""
    return "; ".join(f"put {file.urls[0]} at {root / file.path}" for file in files)


def md5_of(path: Path) -> str:
    """Return the hexadecimal MD5 of a file, read in pieces.

    Raises:
        DataError: it can't be read.
    """
    try:
        return hashed(path, hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
