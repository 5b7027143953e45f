"""One process at a time writes to a folder; the others say who does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lstn.errors import LstnError, UsageError
from lstn.machine.lock import locked

_HOLD = """
import sys
from pathlib import Path
sys.argv = ["lstn", "train", "--resume", "runs/a"]
from lstn.machine.lock import locked
with locked(Path({folder!r})):
    print("held", flush=True)
    sys.stdin.read()
"""

_FORK = """
import os, sys, time
from pathlib import Path
from lstn.machine.lock import locked
with locked(Path({folder!r})):
    if os.fork() == 0:
        print("held", flush=True)
        time.sleep(30)
        os._exit(0)
    sys.stdin.read()
"""


def holding(folder: Path, script: str = _HOLD) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script.format(folder=str(folder))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        with pytest.raises(UsageError) as refused, locked(tmp_path):
            pass
        assert f"process {process.pid} on " in refused.value.message
        assert "lstn train --resume runs/a" in refused.value.message
        process.communicate()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        process.kill()
        process.wait()
        assert (tmp_path / ".lock").is_file()
        with locked(tmp_path), pytest.raises(UsageError, match=f"process {os.getpid()} on"), locked(tmp_path):
            pass


def test_the_child_of_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    """Such as a process that decodes images, which notices only after seconds that it is alone."""
    with holding(tmp_path, _FORK) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        try:
            with locked(tmp_path):
                pass
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_the_lock_ends_with_the_block_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_folder_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LstnError, match="cannot write in"), locked(tmp_path / "absent"):
        pass
