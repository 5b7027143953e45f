"""The images in a folder, at any depth: one lister for training, inference, Ray and evaluation."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from lstn.errors import DataError
from lstn.images import readable_suffixes
from lstn.imaging.heif import HEIF_SUFFIXES
from lstn.install import install_line
from lstn.report.wording import counted

SYSTEM_NAMES = frozenset(
    {
        "__macosx",  # macOS's archiver
        "icon\r",
        "thumbs.db",  # Windows
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "@eadir",  # thumbnails, snapshots and deleted files of network storage: Synology, QNAP, NetApp
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "@__thumb",
        "~snapshot",
        "lost+found",
        "__pycache__",
    }
)
"""Names, in lower case, that a system makes by itself. What lies below them is not the user's; nor below `.name`."""

_ANNOTATIONS = frozenset({".json", ".txt", ".xml", ".yaml", ".yml"})
"""Suffixes of what tools write beside images: where their objects are, and what these are called. Nobody takes such a
file for an image of another format. Tables, .csv, are counted: those of boxes are read (`lstn.data.folders.boxes`)."""

_NAMED = 4
"""Names or suffixes that one line lists."""


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name, not a path, is hidden or the system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


@dataclass
class Skipped:
    """What a listing leaves out, and why; it fills up while the listing runs.

    hidden:    hidden and system names; nothing below such a folder is looked at
    unread:    suffixes that Pillow does not read, with their files; not those of annotations
    repeated:  linked folders that were listed before
    irregular: pipes, sockets and devices
    lost:      links that lead nowhere, and aren't named like images
    """

    hidden: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    irregular: int = 0
    lost: int = 0

    @cached_property
    def _suffixes(self) -> frozenset[str]:
        return readable_suffixes()

    def hides(self, name: str) -> bool:
        """Say whether a file or folder is left out for its name alone, and count it."""
        if is_hidden(name):
            self.hidden[name] += 1
            return True
        return False

    def reads(self, name: str) -> bool:
        """Say whether a file is an image by its suffix; count it if it is neither that nor annotations."""
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in self._suffixes:
            return True
        if suffix not in _ANNOTATIONS:
            self.unread[suffix or "without a suffix"] += 1
        return False

    def was_read(self, paths: Sequence[Path]) -> None:
        """Take back that these files are not read: something else than an image was expected in them."""
        for suffix in {path.suffix.lower() for path in paths} & set(self.unread):
            self.unread[suffix] -= sum(path.suffix.lower() == suffix for path in paths)
            self.unread += Counter()  # only what is left

    def describe_unread(self) -> str:
        """Return one line about the files that are not read, with what to do; nothing if there are none."""
        if not self.unread:
            return ""
        kinds = _listed([f"{number} {suffix}" for suffix, number in self.unread.most_common()])
        files = counted(self.unread.total(), "file", "are")
        wanted = f"; for HEIC: {install_line('heic')}" if HEIF_SUFFIXES & set(self.unread) else ""
        return f"{files} not read ({kinds}); convert images of other formats to JPEG or PNG{wanted}"

    def describe_rest(self) -> str:
        """Return a few words about what else was left out; nothing if there is nothing."""
        words = []
        if self.hidden:
            names = _listed([name for name, _ in self.hidden.most_common()])
            words.append(f"{counted(self.hidden.total(), 'hidden or system name')} ({names})")
        if self.repeated:
            words.append(f"{counted(self.repeated, 'linked folder', 'are')} listed already")
        if self.irregular:
            words.append(f"{counted(self.irregular, 'special file')} (pipe or device)")
        if self.lost:
            words.append(f"{counted(self.lost, 'link')} to nowhere")
        return f"skipped: {', '.join(words)}" if words else ""

    def describe(self) -> str:
        """Return one line about everything that was left out; nothing if there is nothing."""
        return "; ".join(filter(None, (self.describe_unread(), self.describe_rest())))


def images_below(folder: Path, skipped: Skipped, *, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield every image file below `folder`, sorted, path part by path part, one folder's listing in memory at a time.

    Links to folders are followed. A folder that is reached twice is listed once, so a loop of links ends. A link that
    leads nowhere is yielded like a file, because an image that is lost is broken, not absent.

    above: folders that a link must not lead back to

    Raises:
        DataError: a folder can't be read: half of it must not pass for the whole.
    """
    seen = {os.path.realpath(each) for each in above}
    stack = [_entries(os.fspath(folder), os.path.realpath(folder), seen, skipped)]
    while stack:
        real, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
        elif skipped.hides(entry.name):
            continue
        elif _is_folder(entry):
            inside = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}{os.sep}{entry.name}"
            stack.append(_entries(entry.path, inside, seen, skipped))
        elif _is_lost(entry):
            skipped.lost += 1
        elif skipped.reads(entry.name):
            if _is_special(entry):
                skipped.irregular += 1
            else:
                yield Path(entry.path)


def scan(folder: Path, skipped: Skipped) -> tuple[list[Path], int]:
    """Return the folders directly in `folder`, links to folders too, sorted, and how many images lie beside them.

    Raises:
        DataError: it can't be read.
    """
    entries = [entry for entry in _scanned(os.fspath(folder)) if not skipped.hides(entry.name)]
    folders = [Path(entry.path) for entry in entries if _is_folder(entry)]
    skipped.lost += sum(_is_lost(entry) for entry in entries)
    suffixes = readable_suffixes()
    return folders, sum(entry.is_file() for entry in entries if PurePosixPath(entry.name).suffix.lower() in suffixes)


def _entries(folder: str, real: str, seen: set[str], skipped: Skipped) -> "tuple[str, Iterator[os.DirEntry[str]]]":
    """Return a folder's path without links, and what is in it: nothing if it was seen before."""
    if real in seen:
        skipped.repeated += 1
        return real, iter(())
    seen.add(real)
    return real, iter(_scanned(folder))


def _scanned(folder: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: {error.strerror}", hint="make the folder readable, or remove it"
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or through a folder that can't be read
        return False


def _is_lost(entry: "os.DirEntry[str]") -> bool:
    """A link that leads nowhere, once to a folder or to a file without a suffix."""
    return entry.is_symlink() and not PurePosixPath(entry.name).suffix and not Path(entry.path).exists()


def _is_special(entry: "os.DirEntry[str]") -> bool:
    """A pipe, a socket or a device, which must not be opened; not a lost link, which can be told as broken."""
    try:
        return not entry.is_file() and Path(entry.path).exists()
    except OSError:
        return False


def _listed(words: list[str]) -> str:
    more = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {more} more" if more > 0 else "")
