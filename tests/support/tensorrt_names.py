"""Names of TensorRT's Python interface that the code uses, read from its source."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in ("export/tensorrt/*.py", "runtime/engines/plans/*.py", "runtime/bench/profilers.py")
    for path in ROOT.glob(pattern)
)

CLASSES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
}
"""What a variable is called, in every function that handles an object of TensorRT -> its class there."""

ELSEWHERE = {
    "export/tensorrt/builder.py": {"error": "ParserError", "pixels": "ITensor", "tensor": "ITensor"},
    "export/tensorrt/timings.py": {"cache": "ITimingCache"},
    "export/tensorrt/builder_flags.py": {"profile": ""},
    "runtime/engines/plans/kernels.py": {"config": "IRuntimeConfig", "cache": "IRuntimeCache"},
    "runtime/engines/plans/plan_launch.py": {"config": "IRuntimeConfig", "profile": ""},
    "runtime/engines/plans/plan_loading.py": {"profile": ""},
    "runtime/engines/plans/loaded_plan.py": {"profile": ""},
}
"""Files in which a variable is something else; empty: nothing of TensorRT."""

OURS = {("ICudaEngine", name) for name in ("context_to_profile", "infer", "device_ms", "contract")}
"""Of `PlanEngine`, which a profiler calls an engine."""


CAST = {("ILayer", name): ("IGridSampleLayer", name) for name in ("align_corners", "interpolation_mode", "sample_mode")}
"""Of a layer whose class was changed."""


def used() -> set[tuple[str, str]]:
    """Return (class, or empty for the module; name) of all that the source uses."""
    found = {name for path in FILES for name in _used_in(path)}
    return {CAST.get(name, name) for name in found - OURS}


def missing(trt: object) -> set[str]:
    """Return what a module, of whichever version, lacks of it, as `Class.name`."""
    lacking = {
        (owner, name) for owner, name in used() if not hasattr(getattr(trt, owner, None) if owner else trt, name)
    }
    return {f"{owner}.{name}".removeprefix(".") for owner, name in lacking}


def _used_in(path: Path) -> Iterator[tuple[str, str]]:
    classes = CLASSES | ELSEWHERE.get(str(path.relative_to(ROOT)), {})
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and _called(node.func) == "having":
            owner, name = (argument.value for argument in node.args[1:3] if isinstance(argument, ast.Constant))
            yield str(owner), str(name)
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        if _called(owner) == "trt":
            yield "", node.attr
        elif isinstance(owner, ast.Attribute) and _called(owner.value) == "trt":
            yield owner.attr, node.attr
        elif classes.get(_called(owner)) and not node.attr.startswith("__"):
            yield classes[_called(owner)], node.attr


def _called(node: ast.expr) -> str:
    """`engine`, `self._engine` and `lane.engine` are all called engine."""
    if isinstance(node, ast.Name):
        return node.id.removeprefix("_")
    return node.attr.removeprefix("_") if isinstance(node, ast.Attribute) else ""


if __name__ == "__main__":
    import json
    import sys
    from importlib import import_module

    Path(sys.argv[2]).write_text(json.dumps(sorted(missing(import_module(sys.argv[1])))))
