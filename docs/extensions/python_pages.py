"""Reference of the Python interface: the names that the public modules list in `__all__`, by autodoc."""

import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from sphinx.application import Sphinx
from sphinx.config import Config

PAGE = Path(__file__).parents[1] / "reference" / "python.md"
PUBLIC = ("lstn", "lstn.nn", "lstn.testing")
HEAD = """# Python

What is listed here is public: its names and meanings stay the same within a minor version. Everything else may move.
"""


def write_page(_app: Sphinx, _config: Config) -> None:
    """Write docs/reference/python.md; a class or function is described once, where it is named first."""
    parts, seen = [HEAD], set[int]()
    for name in PUBLIC:
        module = importlib.import_module(name)
        found = {public: getattr(module, public) for public in public_names(module)}
        new = {public: value for public, value in found.items() if id(value) not in seen}
        seen |= {id(value) for value in new.values()}
        if new:
            parts += [f"## {name}\n", *(directive(f"{name}.{public}", value) for public, value in new.items())]
    text = "\n".join(parts)
    if not PAGE.is_file() or PAGE.read_text() != text:
        PAGE.write_text(text)


def public_names(module: Any) -> list[str]:
    """Return `__all__`, or else the classes and functions that the module itself defines."""
    if hasattr(module, "__all__"):
        named = [name for name in module.__all__ if not name.startswith("__")]
        return [name for name in named if not inspect.ismodule(getattr(module, name))]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def directive(path: str, value: Any) -> str:
    """Return autodoc's directive for one name; of a table, its keys."""
    if isinstance(value, Mapping):
        keys = ", ".join(f"``{getattr(key, 'value', key)}``" for key in value)
        return f"```{{eval-rst}}\n.. py:data:: {path}\n\n   A table with the keys {keys}.\n```\n"
    kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
    kind = "exception" if inspect.isclass(value) and issubclass(value, Exception) else kind
    members = "   :members:\n" if kind == "class" else ""
    return f"```{{eval-rst}}\n.. auto{kind}:: {path}\n{members}```\n"


def list_fields(_app: Sphinx, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """Turn a paragraph of lines `name: meaning` into a definition list, and leave all other paragraphs."""
    paragraphs = [part.split("\n") for part in "\n".join(lines).strip().split("\n\n")]
    lines[:] = [*"\n\n".join("\n".join(defined(part)) for part in paragraphs).split("\n"), ""]


def defined(paragraph: list[str]) -> list[str]:
    """Return a paragraph, as a definition list if every line that is not indented begins with a name and a colon."""
    lines = [(re.match(r"(\w+(?:, \w+)*):\s+(?=\S)", line), line) for line in paragraph]
    if not lines[0][0] or any(not start and not line.startswith("  ") for start, line in lines):
        return paragraph
    found: list[str] = []
    for start, line in lines:
        found += [f"``{start[1]}``", f"    {line[start.end() :]}"] if start else [f"    {line.strip()}"]
    return found


def leave_out_bounds(_app: Sphinx, obj: Any, _bound_method: bool) -> None:
    """Show `Annotated[str, bounds]` as str in a signature: the bounds are for the readers of files."""
    if any("Annotated" in repr(hint) for hint in getattr(obj, "__annotations__", {}).values()):
        obj.__annotations__ = get_type_hints(obj)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", write_page, priority=100)
    app.connect("autodoc-process-docstring", list_fields)
    app.connect("autodoc-before-process-signature", leave_out_bounds)
    return {"parallel_read_safe": True}
