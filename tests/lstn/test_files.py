import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lstn.errors import LstnError, UsageError
from lstn.files import (
    check_utf8,
    filling,
    hashed,
    leftovers,
    remove_leftovers,
    replacing,
    sha256_of,
    temporary_beside,
    what_is,
    write_bytes,
    write_text,
)


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_bytes(path, b"old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"model.onnx": b"old"}


def test_parents_are_made_and_the_new_bytes_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert sha256_of(path) == hashlib.sha256(b"new").hexdigest()


def test_a_full_disk_is_one_error_and_no_file(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: the kernel refuses the write all the same."""
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from lstn.errors import LstnError\nfrom lstn.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(5000))\n"
        "except LstnError as error: print(error.message)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "big")], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"cannot write {tmp_path / 'big'}: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_only_a_regular_file_is_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    """A device or a pipe would be gone for everybody who uses it."""
    path = tmp_path / "target"
    make(path)
    before = path.stat()
    with pytest.raises(LstnError, match="not a regular file"):
        write_bytes(path, b"rows")
    assert path.stat().st_ino == before.st_ino
    assert [file.name for file in tmp_path.iterdir()] == ["target"]


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(LstnError, match="cannot write"):
        write_bytes(tmp_path / "taken" / "file", b"")


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "made"

    def fill(*, fails: bool, again: bool = False) -> None:
        with filling(folder) as temporary:
            (temporary / "inside").mkdir()
            for number in range(150 if fails else 3):
                (temporary / "inside" / str(number)).write_text("x")
            assert folder.exists() is again
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill(fails=True)
    assert list((tmp_path / "a").iterdir()) == []
    fill(fails=False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["made"]
    assert len(list((folder / "inside").iterdir())) == 3
    with pytest.raises(OSError, match="made"):  # of two that make the same, the second doesn't replace the first
        fill(fails=False, again=True)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["made"]


def test_a_file_is_hashed_by_any_algorithm(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 7)
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    assert (
        hashed(tmp_path / "x", hashlib.blake2b(digest_size=16)).digest()
        == hashlib.blake2b(data, digest_size=16).digest()
    )


def test_what_stands_where_a_file_is_wanted_is_said_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "stray").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    assert what_is(tmp_path) == "a folder"
    assert what_is(tmp_path / "pipe") == "not a regular file"
    assert what_is(tmp_path / "loop") == what_is(tmp_path / "stray") == "a link that leads nowhere"
    assert what_is(tmp_path / "nothing") == "no such file"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is written out to the disk, in order, and of what gets its name then."""
    seen: list[str] = []
    fsync, sync, rename = os.fsync, os.sync, os.rename

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(name_of(descriptor)), fsync(descriptor))[1])
    monkeypatch.setattr(os, "sync", lambda: (seen.append("everything"), sync())[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (seen.append(f"-> {new.name}"), rename(old, new))[1])
    monkeypatch.setattr(os, "rename", lambda old, new: (seen.append(f"-> {new.name}"), rename(old, new))[1])
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, synced: list[str]) -> None:
    write_bytes(tmp_path / "file", b"new")
    assert len(synced) == 2
    assert synced[0].startswith(".file.")
    assert synced[1] == "-> file"


@pytest.mark.parametrize(("count", "written_out"), [(3, 3), (100, 100), (101, 1)])
def test_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, synced: list[str], count: int, written_out: int
) -> None:
    with filling(tmp_path / "made") as temporary:
        for number in range(count):
            (temporary / str(number)).touch()
    assert synced[-1] == "-> made"
    assert len(synced) == written_out + 1
    names = {"everything"} if written_out == 1 else set(map(str, range(count)))
    assert set(synced[:-1]) == names


def test_what_killed_processes_left_is_found_and_removed_and_nothing_else(tmp_path: Path) -> None:
    left = [temporary_beside(tmp_path / name) for name in ("run", "run", "other")]
    left[0].mkdir()
    (left[0] / "inside").touch()
    for path in left[1:]:
        path.touch()
    near = [
        tmp_path / name for name in ("run", ".run.tmp", ".run.0123456.tmp", ".run.0123456g.tmp", ".run.01234567.tmpx")
    ]
    for path in near:
        path.touch()
    assert len({path.name for path in left}) == 3
    assert set(leftovers(tmp_path, "run")) == set(left[:2])
    assert set(leftovers(tmp_path)) == set(left)
    remove_leftovers(tmp_path, "run")
    assert set(tmp_path.iterdir()) == {*near, left[2]}
    remove_leftovers(tmp_path / "nowhere")


def test_a_full_disk_has_another_cure_than_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    def hint_of(number: int) -> str | None:
        with pytest.raises(LstnError) as raised, replacing(tmp_path / "file"):
            raise OSError(number, os.strerror(number))
        return raised.value.hint

    free = "free some space there, or choose another place"
    assert [hint_of(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)] == [free] * 3
    assert hint_of(errno.EACCES) == "choose another place"
    with pytest.raises(LstnError, match=r"cannot write .*file: lost$"), replacing(tmp_path / "file"):
        raise OSError("lost")


def test_a_path_that_is_not_utf8_is_named_for_those_who_cannot_read_it(tmp_path: Path) -> None:
    check_utf8(tmp_path / "grün 猫", "engines")
    with pytest.raises(UsageError, match="is not text in UTF-8, which engines need"):
        check_utf8(tmp_path / "\udce9", "engines")
    write_text(tmp_path / "text", "猫 \udce9")
    assert (tmp_path / "text").read_bytes() == "猫 \\udce9".encode()


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "real").mkdir()
    target, middle, link = tmp_path / "real" / "rows.csv", tmp_path / "middle", tmp_path / "rows.csv"
    if there:
        target.write_text("old")
    middle.symlink_to("real/rows.csv")
    link.symlink_to(middle)
    write_text(link, "new")
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_text() == "new"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["middle", "real", "rows.csv", "rows.csv"]


def test_a_loop_of_links_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(LstnError, match="cannot write"):
        write_text(tmp_path / "loop", "new")
    assert [each.name for each in tmp_path.iterdir()] == ["loop"]


def test_standard_output_by_its_name_keeps_its_name(tmp_path: Path) -> None:
    """As /dev/stdout is: a link to a link of the process, which leads to a file, or to a pipe without a name."""
    link, log = tmp_path / "stdout", tmp_path / "log"
    link.symlink_to("/proc/self/fd/1")
    script = (
        "import sys; from pathlib import Path; from lstn.files import write_text; write_text(Path(sys.argv[1]), 'rows')"
    )
    with log.open("w") as stream:
        subprocess.run([sys.executable, "-c", script, link], stdout=stream, check=True)
    assert link.is_symlink()
    assert log.read_text() == "rows"
    piped = subprocess.run([sys.executable, "-c", script, link], capture_output=True, text=True)
    assert piped.returncode
    assert "it is not a regular file" in piped.stderr
    assert link.is_symlink()


@pytest.mark.parametrize("folder", ["lstn", "train", "export", "calibration", "runtime"])
def test_every_temporary_folder_is_one_whose_removal_may_fail(folder: str) -> None:
    """`tempfile.TemporaryDirectory` by itself raises, and what was made in its block is lost."""
    modules = [path for path in (Path(__file__).parents[2] / folder).rglob("*.py") if path.name != "files.py"]
    assert modules
    assert [path.name for path in modules if "TemporaryDirectory" in path.read_text()] == []
