"""What a pipe hears of long work; a terminal's bar is rich's own."""

import re
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lstn import waiting
from lstn.waiting import duration, worked, working


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about 1 s"), (89, "about 89 s"), (91, "about 2 min"), (5000, "about 83 min"), (5400, "about 1.5 h"),
        (36_000, "about 10 h"), (300_000, "about 3 days"),
    ],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_pipe_hears_what_begins_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "EVERY_S", 0.2)
    with working("counting", 1000) as advance:
        assert capsys.readouterr().err == "counting\n"
        time.sleep(0.3)
        advance(250)
        time.sleep(0.5)
    first, *later = capsys.readouterr().err.splitlines()
    assert first == "counting: about 1 s so far"
    assert later
    assert all(line.startswith("counting: 250 of 1,000, about ") and line.endswith(" left") for line in later)


def test_nobody_talks_after_the_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "EVERY_S", 0.05)
    with pytest.raises(ZeroDivisionError), working("dividing"):
        raise ZeroDivisionError
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_items_come_through() -> None:
    assert list(worked("reading", "abc", 3)) == ["a", "b", "c"]


def test_a_terminal_gets_a_bar_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    monkeypatch.setattr(waiting, "EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "messages", lambda: terminal)
    with working("count [red]ing", 4) as advance:
        advance(1)
        time.sleep(0.3)
    assert isinstance(terminal.file, StringIO)
    shown = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", terminal.file.getvalue())
    assert "count [red]ing" in shown
    assert "1/4" in shown
    assert "so far" not in shown
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["train", "--model", "nothing"], ["study", "--model", "nothing"]])
def test_the_first_word_comes_before_pytorch_is_loaded(command: list[str], tmp_path: Path) -> None:
    program = f"""
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch", file=sys.stderr)
            raise SystemExit(0)
sys.meta_path.insert(0, Finder())
sys.argv = ["lstn", *{command!r}]
from lstn.cli.app import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    first, second = ran.stderr.splitlines()
    assert first.endswith("digits: loading PyTorch")
    assert second == "torch"
