"""Who may import whom (CONTRIBUTING.md), read from the source: an import that only some path reaches counts too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("train", "export", "calibration", "runtime")
HEAVY = {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "pycuda"}

MAY_IMPORT = {
    "lstn": set(),
    "train": {"torch", "torchvision"},
    "export": {"torch", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx"},
    "calibration": {"onnx", "onnxruntime"},
    "runtime": {"onnxruntime", "tensorrt", "tensorrt_rtx", "cuda"},
}
"""Which heavy packages a folder may import; anything else is free."""

NAMED_EDGES = {("export", "lstn.nn.checkpoint")}
"""The only imports of one stage by another."""


def sources() -> Iterator[tuple[str, Path]]:
    for folder in MAY_IMPORT:
        for path in sorted((ROOT / folder).glob("**/*.py")):
            if folder != "lstn" or path.relative_to(ROOT / "lstn").parts[0] not in STAGES:
                yield folder, path


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, at module level) of every import; those for type checkers alone don't count."""
    tree = ast.parse(path.read_text())
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)
    }
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test):
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield from ((f"{module}.{alias.name}", id(node) not in inside) for alias in node.names)


def stage_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "lstn" and len(parts) > 1 and parts[1] in STAGES else None


CASES = [pytest.param(folder, path, id=str(path.relative_to(ROOT))) for folder, path in sources()]


@pytest.mark.parametrize(("folder", "path"), CASES)
def test_heavy_packages_stay_in_their_stage(folder: str, path: Path) -> None:
    found = {module.split(".")[0] for module, _ in imports(path)} & HEAVY
    assert found <= MAY_IMPORT[folder]


@pytest.mark.parametrize(("folder", "path"), CASES)
def test_a_stage_never_imports_another(folder: str, path: Path) -> None:
    for module, at_top in imports(path):
        stage = stage_of(module)
        if stage is None or stage == folder:
            continue
        if folder == "lstn":
            assert not at_top, f"{module}: a command imports its stage inside its function"
        else:
            assert any(folder == who and module.startswith(what) for who, what in NAMED_EDGES), module


@pytest.mark.parametrize(("folder", "path"), CASES)
def test_tensorrt_is_imported_only_where_it_is_needed(folder: str, path: Path) -> None:
    at_top = {module.split(".")[0] for module, top in imports(path) if top}
    assert not at_top & {"tensorrt", "tensorrt_rtx", "cuda", "pycuda"}


def test_there_is_something_to_check() -> None:
    assert {folder for folder, _ in sources()} >= {"lstn", "train", "export", "runtime"}
