"""Files of results, for every benchmark: the figures as JSON, and a page of Markdown next to them."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lstn.machine.environment import describe_environment


def machine_of(libraries: Sequence[str]) -> dict[str, Any]:
    """Return what a result says of the machine: its CPU, and the versions of those libraries that are installed."""
    environment = describe_environment()
    found = {name: environment.libraries[name] for name in libraries if name in environment.libraries}
    return {"cpu": environment.cpu, "libraries": found}


def versions_of(result: Mapping[str, Any]) -> str:
    """Name the libraries of a result; those that weren't installed are left out."""
    return ", ".join(f"{name} {version}" for name, version in result["libraries"].items() if version)


def spread(values: Sequence[float], places: int) -> str:
    """Return the median, and from where to where the values go, with so many decimals."""
    return f"{statistics.median(values):.{places}f} ({min(values):.{places}f} to {max(values):.{places}f})"


def page_of_models(head: str, models: Iterable[Iterable[str]], foot: str) -> str:
    """Return a page: what was measured, each model's lines, and the machine."""
    return "\n".join([head, *chain.from_iterable(models), foot, ""])


def write_result(out: Path, result: Mapping[str, Any], page: str) -> None:
    """Write the figures to `out`, a JSON file, and the page beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))
    out.with_suffix(".md").write_text(page)
