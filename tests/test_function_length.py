"""Functions are short: commands above all, which are options, help, one call into a stage and one that draws."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from module_graph import modules, storey_of

from lstn.cli.commands import COMMANDS

COMMAND_LINES, CLI_P90, LONGEST = 25, 30, 60
"""Lines of a command beyond its options and help; the 90th percentile of bodies in lstn/cli; a whole function."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, *, with_help: bool) -> int:
    """Return how many lines come after the signature."""
    said = ast.get_docstring(function) is not None and not with_help
    first = function.body[1 if said and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_thin(name: str) -> None:
    (command,) = [each for each in functions(modules()[f"lstn.cli.{name}"]) if each.name == name]
    assert body_lines(command, with_help=False) <= COMMAND_LINES


def test_most_functions_of_the_command_line_are_short() -> None:
    lengths = [
        body_lines(each, with_help=True)
        for name, path in modules().items()
        if storey_of(name) == "cli"
        for each in functions(path)
    ]
    assert sorted(lengths)[len(lengths) * 9 // 10] <= CLI_P90
    assert len(lengths) > 50


def test_no_function_is_long() -> None:
    """Signature and docstring included; the options of a command are a signature of another kind."""
    long = {
        f"{name}.{each.name}": length
        for name, path in modules().items()
        for each in functions(path)
        if (length := (each.end_lineno or 0) - each.lineno + 1) > LONGEST
        and not (storey_of(name) == "cli" and each.name in COMMANDS)
    }
    assert long == {}
