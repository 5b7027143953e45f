"""Machines that are not as usual: a clock that jumps, a full temporary folder, no home, a strict umask."""

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.support.loads.made_models import write_pictures
from benchmarks.support.loads.measured_run import EndedCommand, LoadRow, answered, run_lstn

NOBODY = 65_534
STRANGER = 54_321
"""A user whom the system doesn't know."""

_TYPED = """
train --data folder:set --model cnn --image-size 32 --epochs 1 --workers 1 --name run
export runs/run
calibrate model.onnx --force --images 16
evaluate model.onnx --json report.json --html report.html
infer set --engine model.onnx --output rows.csv
doctor
doctor runs/run
inspect model.onnx
"""
COMMANDS = tuple(tuple(line.split()) for line in _TYPED.strip().splitlines())
"""From pictures to rows; each needs what those before it wrote."""

How = Mapping[str, Any]


def odd_machines(folder: Path) -> Iterator[LoadRow]:
    """Run all commands on each machine, a folder for each."""
    for name, machine in MACHINES.items():
        here = folder / name.replace(" ", "-").replace("/", "-")
        for label in "ab":
            write_pictures(here / "set" / label, 16)
        with machine(here) as how:
            for words in COMMANDS:
                ended = run_lstn(*words, cwd=here, **how)
                yield _judged(f"{name}: `lstn {words[0]}`", ended)
        if name.startswith("umask"):
            yield _permissions(here, name)


def _judged(what: str, ended: EndedCommand) -> LoadRow:
    """A warning of a library is wrong, too: its words are written for programmers."""
    foreign = [line for line in ended.err.splitlines() if "Warning" in line or "matplotlib" in line.lower()]
    return answered(what, ended, "", foreign[0][:300] if foreign else "")


def _permissions(folder: Path, name: str) -> LoadRow:
    """Every file and folder must have the rights that the umask leaves."""
    mask = int(name.split()[1], 8)
    others = []
    for path in sorted(folder.rglob("*")):
        if "set" in path.relative_to(folder).parts:
            continue
        wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        if (mode := stat.S_IMODE(path.stat().st_mode)) != wanted:
            others.append(f"{path.relative_to(folder)} has {mode:o} instead of {wanted:o}")
    return LoadRow(f"{name}: rights of what was written", 0.0, 0, None, "", "; ".join(others[:5]))


def _variables(**values: str | None) -> Callable[[Path], Any]:
    @contextmanager
    def machine(_: Path) -> Iterator[How]:
        yield {"set_to": values}

    return machine


def _umask(mask: int) -> Callable[[Path], Any]:
    @contextmanager
    def machine(_: Path) -> Iterator[How]:
        yield {"umask": mask}

    return machine


@contextmanager
def _read_only_home(folder: Path) -> Iterator[How]:
    home = folder / "home"
    home.mkdir()
    home.chmod(0o555)
    _give_away(folder, NOBODY, but=home)
    yield {"user": NOBODY, "set_to": {"HOME": str(home), "XDG_CACHE_HOME": None, "MPLCONFIGDIR": None}}


@contextmanager
def _nobody_s_home(folder: Path) -> Iterator[How]:
    _give_away(folder, NOBODY)
    yield {"user": NOBODY, "set_to": {"HOME": None, "XDG_CACHE_HOME": None, "USER": None, "LOGNAME": None}}


@contextmanager
def _stranger(folder: Path) -> Iterator[How]:
    _give_away(folder, STRANGER)
    yield {"user": STRANGER, "set_to": {"HOME": None, "XDG_CACHE_HOME": None, "USER": None, "LOGNAME": None}}


def _give_away(folder: Path, user: int, but: Path | None = None) -> None:
    for path in (folder, *folder.rglob("*")):
        if path != but:
            os.chown(path, user, user)
    for parent in folder.parents:
        if parent != Path("/") and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | 0o011)


@contextmanager
def _full(folder: Path) -> Iterator[How]:
    """A temporary folder of 16 KiB that is full, in memory; needs the right to mount."""
    with _small_disk(folder / "tmp", "16k") as tmp:
        _fill(tmp / "filler")
        yield {"set_to": {"TMPDIR": str(tmp)}}


@contextmanager
def _small_disk(at: Path, size: str) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@contextmanager
def _jumping_clock(folder: Path) -> Iterator[How]:
    """A clock of the wall that leaps by a day each second, forwards and back; needs libfaketime."""
    library = _faketime()
    offset = folder / "offset"
    offset.write_text("+0")
    done = threading.Event()

    def leap() -> None:
        ahead = False
        while not done.wait(0.5):
            ahead = not ahead
            new = offset.with_suffix(".new")
            new.write_text("+86400" if ahead else "-86400")
            new.replace(offset)

    thread = threading.Thread(target=leap, daemon=True)
    thread.start()
    try:
        told = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
        yield {"set_to": told | {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}}
    finally:
        done.set()
        thread.join()


def _faketime() -> str:
    """Return Debian's library, or the one that LIBFAKETIME names.

    Raises:
        FileNotFoundError: there is none.
    """
    known = [os.environ.get("LIBFAKETIME", ""), "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"]
    library = next((path for path in known if path and Path(path).is_file()), None)
    if library is None:
        raise FileNotFoundError(2, "no such library; install libfaketime, or name it in LIBFAKETIME", known[-1])
    return library


MACHINES: Mapping[str, Callable[[Path], Any]] = {
    "LANG=C": _variables(LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    "umask 077": _umask(0o077),
    "a read-only home": _read_only_home,
    "no HOME": _nobody_s_home,
    "no HOME, an unknown user": _stranger,
    "a full temporary folder": _full,
    "a clock that jumps": _jumping_clock,
}
"""A machine -> how commands run there."""
