"""Check of every image of a split before it is used: which are broken, and what is in the others.

What was found is kept in the user's cache folder: for files whose names, sizes and times of change are the same nothing
is read again, and for contents that were decoded before, wherever they lie now, nothing is decoded again.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import __version__ as pillow_version

from lstn.errors import DataError, ImageError, LstnError
from lstn.files import hashed
from lstn.images import MAX_BYTES, Pixels, decode
from lstn.imaging.framing import STRETCHED, Framing
from lstn.machine.caches import cache_folder, read_cache, write_cache
from lstn.report.wording import agreeing, counted
from lstn.waiting import worked

MAX_BROKEN = 0.05
"""A larger share of images that don't decode is refused."""

KEPT_BYTES = 1 << 30
"""Images that take no more than this as uint8 pixels are kept decoded."""

DIGEST_BYTES = 16

_SETTLED_NS = 2_000_000_000
"""The coarsest clock of a file system, FAT's: what changed later than that ago may change again and look the same."""

_MOST_CONTENTS = 4_000_000
"""Digests that are kept of decodable contents: 64 MB."""

_BROKEN = bytes(DIGEST_BYTES)
"""What stands for the digest of a broken image."""

_Digests: TypeAlias = npt.NDArray[np.bytes_]
"""(N,) S16, sorted."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of one image file: the digest of its contents, or why it is broken."""

    digest: bytes
    broken: str = ""


def check_images(
    paths: Sequence[Path], image_hw: tuple[int, int], what: str, framing: Framing = STRETCHED
) -> tuple[list[Checked], Pixels | None]:
    """Return what is known of each file, and their pixels (N, H, W, 3) where all had to be decoded and fit.

    what: the images, for the progress bar
    """

    def read(path: Path) -> Pixels:
        return decode(path, image_hw, framing=framing)

    kept_at = _kept_at(paths)
    if kept_at is not None and (found := _recalled(kept_at, paths, read)):
        return found, None
    fits = len(paths) * image_hw[0] * image_hw[1] * 3 <= KEPT_BYTES
    known = _known_contents()
    pixels = np.empty((len(paths), *image_hw, 3), np.uint8) if fits and paths else None
    decoded = np.zeros(len(paths), bool)

    def check(index: int) -> Checked:
        def keep(image: Pixels) -> None:
            decoded[index] = True
            if pixels is not None:
                pixels[index] = image

        return _check(paths[index], lambda path: keep(read(path)), known)

    with ThreadPoolExecutor() as pool:
        checked = list(worked(f"checking {what}", pool.map(check, range(len(paths))), len(paths)))
    _remember(kept_at, checked, known)
    whole = all(done or each.broken for done, each in zip(decoded, checked, strict=True))
    return checked, pixels if whole else None


def _check(path: Path, read: Callable[[Path], object], known: _Digests) -> Checked:
    """Decode a file by `read` unless its contents are known to decode."""
    try:
        status = path.stat()
        readable = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES
        digest = _digest_of(path) if readable else b""  # `decode` says what is wrong with the others
        if not _holds(known, digest):
            read(path)
        return Checked(digest)
    except ImageError as error:
        return Checked(b"", error.message)
    except OSError as error:
        return Checked(b"", f"{path}: {error.strerror or error}")


def _holds(known: _Digests, digest: bytes) -> bool:
    place = int(np.searchsorted(known, digest))
    return place < len(known) and bool(known[place] == np.bytes_(digest))


def _digest_of(path: Path) -> bytes:
    return hashed(path, hashlib.blake2b(digest_size=DIGEST_BYTES)).digest()


def _recalled(kept_at: Path, paths: Sequence[Path], read: Callable[[Path], object]) -> list[Checked]:
    """Return what was kept about these files. The broken ones are tried again: a disk may fail once."""
    found = read_cache(kept_at)
    digests = [found[start : start + DIGEST_BYTES] for start in range(0, len(found), DIGEST_BYTES)]
    if len(digests) != len(paths):
        return []
    return [
        _check(path, read, _digests(b"")) if digest == _BROKEN else Checked(digest)
        for path, digest in zip(paths, digests, strict=True)
    ]


def _remember(kept_at: Path | None, checked: Sequence[Checked], known: _Digests) -> None:
    if kept_at is not None:
        write_cache(kept_at, b"".join(each.digest or _BROKEN for each in checked))
    contents = _contents_at()
    new = np.setdiff1d(_digests(b"".join(each.digest for each in checked if not each.broken)), known)
    if len(new) and contents is not None:
        # Read again: another process may have added some since. One that adds at this very moment loses them.
        write_cache(contents, np.union1d(new, _known_contents())[:_MOST_CONTENTS].tobytes())


def _known_contents() -> _Digests:
    """Return the digests of contents that decoded before, with this version of Pillow."""
    contents = _contents_at()
    return _digests(b"" if contents is None else read_cache(contents))


def _digests(data: bytes) -> _Digests:
    return np.sort(np.frombuffer(data[: len(data) // DIGEST_BYTES * DIGEST_BYTES], f"S{DIGEST_BYTES}"))


def _contents_at() -> Path | None:
    try:
        return cache_folder() / "checked" / f"decodable-pillow-{pillow_version}.bin"
    except LstnError:
        return None


def _kept_at(paths: Sequence[Path]) -> Path | None:
    """Where the findings about files in just this state are kept; None where nothing can be, or not yet.

    The time of the last change of any kind is part of the state, since a copy may bring its old time of writing along.
    """
    contents = _contents_at()
    if contents is None:
        return None
    settled = time.time_ns() - _SETTLED_NS
    digest = hashlib.sha256(f"contents 2, Pillow {pillow_version}".encode())  # another one may read more, or less
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            return None
        if status.st_ctime_ns > settled:
            return None
        state = (os.fsencode(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(b"\n%b\0%d %d %d" % state)
    return contents.with_name(f"{digest.hexdigest()[:32]}.bin")


def few_broken(checked: Sequence[Checked], what: str, folder: Path | None = None) -> str:
    """Return which files are broken and left out, in words, or nothing if none is.

    what, folder: what one of the files is called, and where they lie, if that isn't said otherwise

    Raises:
        DataError: they are too many to go on without them.
    """
    broken = [each.broken for each in checked if each.broken]
    if not broken:
        return ""
    told = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
    share = f"{len(broken)} of {counted(len(checked), what)} {agreeing(len(broken), 'are')} broken"
    found = f"{folder}: " * (folder is not None) + share
    if len(broken) > MAX_BROKEN * len(checked):
        raise DataError(f"{found}, more than {MAX_BROKEN:.0%}: {told}", hint="repair or remove them")
    return f"{found} and left out: {told}"
