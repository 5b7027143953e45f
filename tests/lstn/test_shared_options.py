"""Options that several commands have mean one thing everywhere: docs/reference/options.md says what, and is true."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from command import RunLstn

from lstn.cli.app import app
from lstn.formats.engine_kind import EngineKind

PAGE = Path(__file__).parents[2] / "docs/reference/options.md"
TREE: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
KINDS = {each.value for each in EngineKind}
SAID_ALIKE = ("--device", "--json", "--html")
"""Whose help is the same, because they are declared once."""


def options(name: str) -> dict[str, Any]:
    """Each command that shows an option of this name, with the option."""
    shown = ((command, each) for command in TREE for each in TREE[command].params if not each.hidden)
    return {command: each for command, each in shown if name in each.opts}


def rows() -> list[tuple[str, set[str], set[str]]]:
    """Option, values and commands of each row of the page."""
    found = re.findall(r"^\| `(--[\w-]+)` ([A-Z][^|]*) \| .* In (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return [(name, set(values.split(", ")), set(re.findall(r"`(\w+)`", commands))) for name, values, commands in found]


@pytest.mark.parametrize(("name", "values", "commands"), rows(), ids=lambda each: each if isinstance(each, str) else "")
def test_an_option_takes_the_same_in_every_command(name: str, values: set[str], commands: set[str]) -> None:
    found = options(name)
    assert set(found) == commands
    for each in found.values():
        words = set((each.metavar or "").replace(",…", "").split("|")) - KINDS - {"torch", ""}
        assert words <= values


@pytest.mark.parametrize("name", SAID_ALIKE)
def test_an_option_that_is_declared_once_is_said_alike(name: str) -> None:
    assert len({each.help for each in options(name).values()}) == 1


def test_what_three_commands_have_is_on_the_page() -> None:
    listed = {name for name, _, _ in rows()}
    names = {name for command in TREE.values() for each in command.params for name in each.opts if name[:2] == "--"}
    own = {"--install-completion", "--show-completion", "--help"}
    assert {name for name in names - own if len(options(name)) > 2} <= listed


@pytest.mark.parametrize("command", sorted(options("--device")))
def test_every_command_knows_the_same_devices(command: str, run_lstn: RunLstn) -> None:
    needed = ["x" for each in TREE[command].params if each.param_type_name == "argument" and each.required]
    for wrong in ("gpu", "cuda:x"):
        ran = run_lstn(command, *needed, "--device", wrong)
        said = f"error: unknown device '{wrong}'\n  use auto, cpu, cuda or cuda:N\n"
        assert (ran.code, ran.err) == (2, said)


@pytest.mark.parametrize("command", ["bench", "compare", "evaluate", "infer"])
def test_an_engine_runs_on_the_gpu_that_it_is_shown(command: str, run_lstn: RunLstn) -> None:
    words = {"infer": ("x.png", "--engine", "zoo:digits"), "compare": ("zoo:digits", "zoo:digits")}
    ran = run_lstn(command, *words.get(command, ("zoo:digits",)), "--device", "cuda:1")
    assert (ran.code, "set CUDA_VISIBLE_DEVICES=1" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("export", "zoo:digits", "--batch", "1,2,4"), "--batch is spelt --batch-profile now"),
        (("infer", "--count", 1, "--output", "new", "--engine", "gone"), "--output is spelt --out with --count now"),
    ],
)
def test_an_old_spelling_says_the_new_one(
    old: tuple[object, ...], new: str, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_lstn(*old)
    assert (ran.code, new in ran.err) == (2, True)
