"""Mutants of benchmarks/mutations.py: which changes of a source there are, and whether a failing test is noticed."""

import ast
import importlib.util
from pathlib import Path

import pytest

from benchmarks.mutations import MODULES, ROOT, killed
from benchmarks.support.explained_mutants import EXPLAINED
from benchmarks.support.mutants import mutants_of

SOURCE = '''\
"""A module."""

LIMIT: int = 3


def clipped(value: int) -> int:
    """Return at most LIMIT."""
    if not 0 < value < LIMIT and True:
        print(value)
        return LIMIT * 2
    return max(value, -1)
'''


def test_each_place_is_changed_once() -> None:
    found = list(mutants_of(SOURCE))
    assert [(each.line, each.before, each.after) for each in found] == [
        (3, "3", "4"),
        (8, "if not 0 < value < LIMIT and True:", "if not (not 0 < value < LIMIT and True):"),
        (8, "not 0 < value < LIMIT and True", "not 0 < value < LIMIT or True"),
        (8, "not 0 < value < LIMIT", "0 < value < LIMIT"),
        (8, "0 < value < LIMIT", "0 <= value < LIMIT"),
        (8, "0 < value < LIMIT", "0 < value <= LIMIT"),
        (8, "0", "1"),
        (8, "True", "False"),
        (9, "print(value)", "pass"),
        (10, "return LIMIT * 2", "return None"),
        (10, "LIMIT * 2", "LIMIT / 2"),
        (10, "2", "3"),
        (11, "return max(value, -1)", "return None"),
        (11, "max", "min"),
        (11, "-1", "1"),
        (11, "1", "2"),
    ]
    assert [each.place for each in found] == ["LIMIT", *["clipped"] * 15]
    texts = {ast.unparse(each.tree()) for each in found}
    assert len(texts) == len(found)
    assert ast.unparse(ast.parse(SOURCE)) not in texts


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_its_tests_and_what_is_explained_is_one_of_its_mutants(name: str) -> None:
    assert all((ROOT / "tests" / test).is_file() for test in MODULES[name].split())
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    if explained := set(EXPLAINED.get(name, {})):
        found = {(each.place, each.before, each.after) for each in mutants_of(Path(spec.origin).read_text())}
        assert explained <= found


def test_a_mutant_is_killed_by_a_test_that_fails_and_by_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, test = tmp_path / "clipping.py", tmp_path / "test_clipping.py"
    module.write_text(SOURCE)
    test.write_text("import clipping\n\ndef test_small() -> None:\n    assert clipping.clipped(2) == 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    by_change = {each.after: each for each in mutants_of(SOURCE)}
    assert killed("clipping", str(module), by_change["0 < value < LIMIT"], [str(test)])
    assert not killed("clipping", str(module), by_change["0 < value <= LIMIT"], [str(test)])
    assert not killed("clipping", str(module), None, [str(test)])
