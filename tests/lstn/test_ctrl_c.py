"""Ctrl-C and SIGTERM in a run, at the moments where Python would drop or repeat them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from lstn.cli.steps.ctrl_c import stopping

BOTH = (signal.SIGINT, signal.SIGTERM)


class Closing:
    """As a loader's iterator, which waits for its processes when it is thrown away."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_within_a_destructor_is_neither_lost_nor_a_traceback(
    number: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        with stopping(tmp_path / "run", "the same command"):
            Closing(number)
            time.sleep(60)

    with pytest.raises(typer.Exit) as ended:
        work()
    assert ended.value.exit_code == 130
    assert capfd.readouterr().err == "stopped before training began\n"


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_an_impatient_second_signal_does_not_disturb_the_cleaning_up(
    first: signal.Signals, second: signal.Signals, tmp_path: Path
) -> None:
    cleaned = []

    def work() -> None:
        with stopping(tmp_path / "run", "the same command"):
            try:
                signal.raise_signal(first)
            finally:
                signal.raise_signal(second)
                cleaned.append(second)

    with pytest.raises(typer.Exit):
        work()
    assert cleaned == [second]


class Failing:
    """As a loader's iterator, whose processes were ended by the same signal."""

    def __del__(self) -> None:
        raise RuntimeError("a worker is killed by signal: Terminated")


def test_only_after_a_signal_may_a_destructor_fail_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # pytest has one of its own

    def work() -> None:
        with stopping(tmp_path / "run", "the same command"):
            Failing()
            assert "Traceback" in capfd.readouterr().err
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                Failing()

    with pytest.raises(typer.Exit):
        work()
    assert capfd.readouterr().err == "stopped before training began\n"


def test_handlers_and_hook_are_as_before(tmp_path: Path) -> None:
    before = [*map(signal.getsignal, BOTH), sys.unraisablehook]
    with pytest.raises(typer.Exit), stopping(tmp_path / "run", "the same command"):
        signal.raise_signal(signal.SIGINT)
    assert [*map(signal.getsignal, BOTH), sys.unraisablehook] == before


def test_a_process_in_the_background_of_a_shell_still_ignores_ctrl_c() -> None:
    code = """
import signal
from pathlib import Path
from lstn.cli.steps.ctrl_c import stopping
with stopping(Path("run"), "the same command"):
    signal.raise_signal(signal.SIGINT)
    print("went on")
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        check=True,
    )
    assert ran.stdout == b"went on\n"
