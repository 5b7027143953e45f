"""Functions are short: commands above all, which are options, help, one call into a stage and one that draws."""

import pytest
from structure import body_lengths, body_lines, command_of, lengths, percentile_90

from lstn.cli.commands import COMMANDS

COMMAND_LINES, CLI_P90, LONGEST = 25, 30, 60
"""Lines of a command beyond its options and help; the 90th percentile of bodies in lstn/cli; a whole function."""


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_thin(name: str) -> None:
    assert body_lines(command_of(name), with_help=False) <= COMMAND_LINES


def test_most_functions_of_the_command_line_are_short() -> None:
    assert percentile_90(found := body_lengths("cli")) <= CLI_P90
    assert len(found) > 50


def test_no_function_is_long() -> None:
    """Signature and docstring included; the options of a command are a signature of another kind."""
    assert {name: length for name, length in lengths().items() if length > LONGEST} == {}
