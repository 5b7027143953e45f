import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lstn.errors import LstnError
from lstn.files import replacing, sha256_of, what_is, write_bytes


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


def test_what_stands_where_a_file_is_wanted_is_said_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "stray").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    assert what_is(tmp_path) == "a folder"
    assert what_is(tmp_path / "pipe") == "not a regular file"
    assert what_is(tmp_path / "loop") == what_is(tmp_path / "stray") == "a link that leads nowhere"
    assert what_is(tmp_path / "nothing") == "no such file"
