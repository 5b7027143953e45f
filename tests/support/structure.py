"""Structure of the package in figures: modules, circles, imports upwards, lengths, names. `make structure` prints."""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator

from module_graph import (
    ROOT,
    STAGES,
    circles,
    edges,
    imports_of,
    inner_room_of,
    module_named,
    modules,
    outer_room_of,
    room_edges,
    storey_of,
)

from lstn.cli.commands import COMMANDS

BELOW: dict[str, set[str]] = {
    "ground": set(),
    "nn": {"ground"},
    **{stage: {"ground", "nn"} for stage in ("train", "export")},
    **{stage: {"ground"} for stage in ("calibration", "runtime")},
    "research": {"ground", "nn", *STAGES},
    "front door": {"ground", "nn", *STAGES},
    "cli": {"ground", "nn", *STAGES, "research"},
}
"""What each storey may import beside itself. Calibration and runtime work without the network, and so without torch."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def upward_arrows(module: str) -> set[str]:
    """Return the modules of storeys that a module's own may not import, and that it imports."""
    here = storey_of(module)
    targets = {target for i in imports_of(module) if (target := module_named(i.name)) is not None}
    return {target for target in targets if storey_of(target) not in BELOW[here] | {here}}


def flat_modules() -> list[str]:
    """Return the modules that stand directly on the ground."""
    return [name for name, path in modules().items() if name.count(".") == 1 and path.name != "__init__.py"]


def names_twice() -> dict[str, list[str]]:
    """Return each name of modules, classes, type aliases and public functions that is defined twice, and where.

    A command's function is called as what it calls: `lstn bench` and `lstn.runtime.bench.timed_engines.bench`.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        tree = ast.parse(path.read_text())
        if path.name not in ("__init__.py", "__main__.py"):
            places[f"module {path.stem}"].append(name)
            for node in tree.body:
                if isinstance(node, Function) and node.name[0] != "_" and name != f"lstn.cli.{node.name}":
                    places[f"{node.name}()"].append(name)
        nested = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node not in tree.body]
        for node in (*tree.body, *nested):
            for defined in _named_as_a_class(node):
                places[defined].append(name)
    return {what: where for what, where in places.items() if len(where) > 1}


def _named_as_a_class(node: ast.stmt) -> list[str]:
    """`class Name`, and `Name = ...` or `Name: TypeAlias = ...` where the name is written as a class's is."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [t.id for t in targets if isinstance(t, ast.Name) and t.id[:1].isupper() and not t.id.isupper()]


def functions_of(module: str) -> Iterator[Function]:
    """Yield every function of a module, methods and inner ones too."""
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, Function):
            yield node


def command_of(name: str) -> Function:
    """Return the function of a command."""
    (command,) = [each for each in functions_of(f"lstn.cli.{name}") if each.name == name]
    return command


def body_lines(function: Function, *, with_help: bool) -> int:
    """Return how many lines come after the signature."""
    said = ast.get_docstring(function) is not None and not with_help
    first = function.body[1 if said and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


def body_lengths(storey: str) -> list[int]:
    """Return the lengths of a storey's functions without their signatures, the shortest first."""
    found = (each for name in modules() if storey_of(name) == storey for each in functions_of(name))
    return sorted(body_lines(each, with_help=True) for each in found)


def lengths() -> dict[str, int]:
    """Return how long each function is, signature and docstring included, but commands: their signature is options."""
    return {
        f"{name}.{each.name}": (each.end_lineno or 0) - each.lineno + 1
        for name in modules()
        for each in functions_of(name)
        if not (storey_of(name) == "cli" and each.name in COMMANDS)
    }


def percentile_90(ordered: list[int]) -> int:
    """Return what nine of ten don't exceed."""
    return ordered[len(ordered) * 9 // 10]


def _circles_of(room_of: Callable[[str], str]) -> int:
    return len(circles(room_edges(room_of)))


def main() -> None:
    """Print the figures, one a line."""
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    longest, largest = max(lengths().items(), key=lambda item: item[1]), max(lines.items(), key=lambda item: item[1])
    fullest = max({path.parent for path in modules().values()}, key=lambda folder: len(list(folder.glob("*.py"))))
    arrows = sum(map(len, edges().values()))
    twice = names_twice()
    for what, figure in {
        "modules": len(lines),
        "modules directly in lstn/": len(flat_modules()),
        "packages": sum(path.name == "__init__.py" for path in modules().values()),
        "imports between modules": arrows,
        "circles of modules": len(circles(edges())),
        "circles of rooms, inner and outer": f"{_circles_of(inner_room_of)} and {_circles_of(outer_room_of)}",
        "imports upwards": sum(len(upward_arrows(name)) for name in modules()),
        "names used twice": f"{len(twice)} {', '.join(twice)}".strip(),
        "longest function": f"{longest[1]} lines, {longest[0]}",
        "longest command beyond its options": max(body_lines(command_of(name), with_help=False) for name in COMMANDS),
        "90th percentile in lstn/cli/": percentile_90(body_lengths("cli")),
        "longest module": f"{largest[1]} lines, {largest[0]}",
        "fullest folder": f"{len(list(fullest.glob('*.py')))} modules, {fullest.relative_to(ROOT)}",
    }.items():
        print(f"{what:36} {figure}")


if __name__ == "__main__":
    main()
