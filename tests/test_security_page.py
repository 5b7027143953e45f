"""The page on security names bounds; each is the constant that it points to, and no reader with a bound is left out."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/explanation/security.md"
READERS = ("read_bytes", "annotation_bytes", "annotation_text")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def rows() -> list[tuple[str, str, str]]:
    """File, bound and constants of each row."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|") and ".py: " in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(name, bound, constants.strip("`")) for name, _, bound, constants in cells]


@pytest.mark.parametrize(("name", "bound", "constants"), rows())
def test_a_bound_is_its_constant(name: str, bound: str, constants: str) -> None:
    path, _, names = constants.partition(": ")
    place = path.removesuffix(".py").replace("/", ".")
    module = importlib.import_module(place if place.startswith("lstn") else f"lstn.{place}")
    found = re.findall(r"(\d[\d,]*\d|\d)(?: (KiB|MiB|GiB))?", bound)
    told = [int(number.replace(",", "")) * UNITS.get(unit, 1) for number, unit in found]
    values = [getattr(module, each) for each in names.split(", ")]
    assert len(told) == len(values), name
    for one, other in zip(told, values, strict=True):
        assert one - other in (0, 1), name  # 2 GiB is one more than the largest signed number


def bounds_in(path: Path) -> Iterator[str]:
    """Yield the constants by which a module bounds what it reads: `most=NAME`, and `read(NAME + 1)`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).rpartition(".")[2]
        given = [word.value for word in node.keywords if word.arg == "most" and called in READERS]
        given += node.args[:1] if called in ("read", "readline") else []
        for value in given:
            name = ast.unparse(value).removesuffix(" + 1")
            if re.fullmatch(r"_?(MAX|MOST)[A-Z_]*", name):
                yield name


def test_every_reader_with_a_bound_is_listed() -> None:
    listed = {(path, name) for _, _, told in rows() for path, names in [told.split(": ")] for name in names.split(", ")}
    found = {
        (str(path.relative_to(ROOT)), name)
        for folder in ("lstn", "train", "export", "calibration", "runtime")
        for path in (ROOT / folder).rglob("*.py")
        if not any(parent.is_symlink() for parent in path.parents)
        for name in bounds_in(path)
    }
    imported = {("runtime/inference/sources.py", "MAX_BYTES")}
    assert len(found) > 15
    assert found - imported - listed == set()


def test_there_are_rows() -> None:
    assert len(rows()) >= 25
