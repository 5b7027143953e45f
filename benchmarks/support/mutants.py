"""Mutants of a module: its source with one operator, number, condition, result or call changed, in every place."""

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip

_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_WORDS = 80


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module: the line, the function, class or name that it is in, what stood there and stands there now."""

    line: int
    place: str
    before: str
    after: str
    _whole: ast.Module
    _node: ast.AST
    _changed: ast.AST

    def tree(self) -> ast.Module:
        """Return all of it; its nodes are in the order of the source's."""
        number = next(number for number, each in enumerate(ast.walk(self._whole)) if each is self._node)
        copied = copy.deepcopy(self._whole)
        target, changed = list(ast.walk(copied))[number], self._changed

        class Replacing(ast.NodeTransformer):
            def visit(self, each: ast.AST) -> Any:
                return ast.copy_location(copy.deepcopy(changed), each) if each is target else self.generic_visit(each)

        return ast.fix_missing_locations(Replacing().visit(copied))


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a source, in the order of its lines.

    Docstrings, texts, annotations, decorators and imports stay: no test should hold the wording of an error.
    """
    tree = ast.parse(source)
    kept = {id(node) for part in _for_readers(tree) for node in ast.walk(part)}
    places = [node for node in ast.walk(tree) if hasattr(node, "lineno") and id(node) not in kept]
    named = dict(_named_places(tree))
    for node in sorted(places, key=lambda node: (node.lineno, node.col_offset)):
        for changed in _changes(node):
            where = max((first for first, last in named if first <= node.lineno <= last), default=0)
            place = next((name for (first, _), name in named.items() if first == where), "the module")
            yield Mutant(node.lineno, place, _text(node), _text(changed), tree, node, changed)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node may become."""
    match node:
        case ast.Compare(ops=operators):
            for at, operator in enumerate(operators):
                yield _with(node, ops=[*operators[:at], _OPERATORS[type(operator)](), *operators[at + 1 :]])
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            yield _with(node, op=_OPERATORS[type(operator)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield _with(node, value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield _with(node, value=value + 1)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield _with(node, value=ast.Constant(None))
        case ast.Name(id=name, ctx=ast.Load()) if name in _FUNCTIONS:
            yield _with(node, id=_FUNCTIONS[name])
        case ast.Raise() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _for_readers(tree: ast.Module) -> list[ast.AST]:
    """Return annotations, decorators, imports and formatted texts, which aren't changed."""
    found: list[ast.AST | None] = []
    for node in ast.walk(tree):
        found += [getattr(node, name, None) for name in ("annotation", "returns")]
        found += getattr(node, "decorator_list", [])
        found += [node] if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr) else []
    return [node for node in found if node is not None]


def _named_places(tree: ast.Module) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield the first and the last line of each function, class and assignment to a module's name, and the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield (node.lineno, node.end_lineno or node.lineno), node.name
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield (node.lineno, node.end_lineno or node.lineno), _text(target)


def _text(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    return text.splitlines()[0][:_WORDS]


class MutatedImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a mutant in place of its file, once it is in `sys.meta_path`."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        self._name = name
        self._path = path
        self._code = compile(tree, path, "exec")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the one module."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant as the module."""
        exec(self._code, module.__dict__)
