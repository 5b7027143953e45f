"""Tables by task, by form of theta or by localizer have a row for each of them, so that a new one is missed nowhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from module_graph import modules

from lstn.contract import Loc, Task, ThetaForm

MEMBERS = {enum.__name__: set(enum.__members__) for enum in (Loc, Task, ThetaForm)}
SOME = 4
"""Rows from which a table is about all of them; one of fewer is about those that it names."""


def tables(path: Path) -> Iterator[tuple[str, set[str], str]]:
    """Yield each table of a module: the enum, the members that it has, and what is said behind it."""
    body = ast.parse(path.read_text()).body
    for table, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(table, ast.Assign | ast.AnnAssign) and isinstance(table.value, ast.Dict):
            keys = [ast.unparse(key).split(".") for key in table.value.keys if key is not None]
            if len(keys) >= SOME and all(len(key) == 2 and key[0] == keys[0][0] for key in keys):
                said = ast.unparse(following) if isinstance(following, ast.Expr) else ""
                yield keys[0][0], {member for _, member in keys}, said


FOUND = [
    pytest.param(enum, members, said, id=f"{name} {enum}")
    for name, path in modules().items()
    for enum, members, said in tables(path)
    if enum in MEMBERS
]


@pytest.mark.parametrize(("enum", "members", "said"), FOUND)
def test_a_table_has_a_row_for_each(enum: str, members: set[str], said: str) -> None:
    left_out = re.search(rf"Total over `{enum}`, but ([A-Z]+(?:(?:, | and )[A-Z]+)*)", said)
    assert MEMBERS[enum] - members == (set(re.split(", | and ", left_out[1])) if left_out else set())


def test_there_are_tables() -> None:
    assert len(FOUND) > 12
