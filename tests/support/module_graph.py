"""The package's modules and who imports whom, read from the source: an import inside a function counts too."""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGES = ("train", "export", "calibration", "runtime")
FRONT_DOOR = ("lstn", "lstn.testing")
"""What programs import: names of every storey below the command line, each from where it lives."""


@dataclass(frozen=True)
class Import:
    """One import: what is imported, whether that happens when the module is, and whether only type checkers see it."""

    name: str
    at_top: bool
    for_types: bool


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name; the stages by their real folders, not by the links."""
    found = {}
    for folder in ("lstn", *STAGES):
        for path in sorted((ROOT / folder).glob("**/*.py")):
            inside = path.relative_to(ROOT)
            if inside.parts[:2] in {("lstn", stage) for stage in STAGES}:
                continue
            parts = inside.with_suffix("").parts if folder == "lstn" else ("lstn", *inside.with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def storey_of(module: str) -> str:
    """`lstn.runtime.engines.base` -> `runtime`; `lstn.data.folders` -> `ground`."""
    if module in FRONT_DOOR:
        return "front door"
    part = module.split(".")[1] if "." in module else ""
    if part == "__main__":
        return "cli"
    return part if part in (*STAGES, "nn", "research", "cli") else "ground"


def outer_room_of(module: str) -> str:
    """`lstn.runtime.engines.base` -> `lstn.runtime.engines`; a room within a room belongs to the outer one."""
    if module in FRONT_DOOR or (modules()[module].parent == ROOT / "lstn" and storey_of(module) == "ground"):
        return module  # what stands directly on the ground is a room of its own
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    if module == "lstn.__main__":
        return "lstn.cli"
    return ".".join(package.split(".")[: 3 if storey_of(module) in (*STAGES, "research", "cli") else 2])


def inner_room_of(module: str) -> str:
    """`lstn.data.folders.boxes` -> `lstn.data.folders`; a module that stands next to rooms is a room of its own.

    A package that has rooms is not one of them: `lstn.data.splits`, which all rooms of `lstn.data` use, stands below
    them, and `lstn.data.dataset`, which opens what they read, stands above.
    """
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    package = module if module in packages else module.rpartition(".")[0]
    return module if any(name.rpartition(".")[0] == package for name in packages) else package


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Return every import of a module."""
    return tuple(_imports(ast.parse(modules()[module].read_text()), module))


def required_by(module: str) -> set[str]:
    """Return the packages that a module asks `lstn.imports.require` for by names that are written there.

    Others come from tables: of TensorRT's flavours, and of what the server needs.
    """
    calls = [node for node in ast.walk(ast.parse(modules()[module].read_text())) if isinstance(node, ast.Call)]
    asked = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "require"]
    names = [each.value for each in asked if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return {name.partition(".")[0] for name in names}


def module_named(name: str) -> str | None:
    """`lstn.data.folders.Folder` -> `lstn.data.folders`; None for what is not of this package."""
    while name.startswith("lstn"):
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


def edges() -> dict[str, set[str]]:
    """Return which modules each module imports."""
    graph = {}
    for module in modules():
        targets = {target for i in imports_of(module) if (target := module_named(i.name)) is not None}
        graph[module] = targets - {module}
    return graph


def room_edges(room_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Return which rooms each room imports from; `room_of` says where a module is."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, targets in edges().items():
        graph[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return dict(graph)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return every group of nodes that reach one another, without those of one node."""
    reach = {node: _reachable(graph, node) for node in graph}
    groups = {tuple(sorted(other for other in reach[node] if node in reach.get(other, ()))) for node in graph}
    return sorted(list(group) for group in groups if group)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph.get(node, ())
    return seen


def _imports(tree: ast.Module, module: str) -> Iterator[Import]:
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(n) for f in functions for n in ast.walk(f)}
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    typed = {id(n) for guard in guards for child in guard.body for n in ast.walk(child)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, id(node) not in inside and id(node) not in typed, id(node) in typed)
