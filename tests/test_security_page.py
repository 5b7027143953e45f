"""The page on security names bounds; each is the constant that it points to."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/explanation/security.md"
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


def test_there_are_rows() -> None:
    assert len(rows()) >= 10
