"""Our plugin through the real front end of TensorRT, as a process of its own, since two TensorRT can't share one.

    python front_end.py FILE      writes as JSON what TensorRT was told

Real: the package `tensorrt`, native module included, with its checks of names, signatures, annotations and returned
types, its plugin and creator classes, and the order in which a builder calls them. Stood in for, since they come from
the library that no test machine has: the plugin registry, and a builder's expressions of shapes, which here know their
number and show it to nobody but this file.
"""

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt as trt

SHAPES = [(1, 3, 224, 224), (32, 3, 224, 224), (5, 8, 33, 47)]
PAIRS = [("FLOAT", "LINEAR"), ("HALF", "LINEAR"), ("FLOAT", "HWC"), ("HALF", "HWC8")]


class Expression:
    """A size that the builder doesn't know yet."""

    def __init__(self, size: int) -> None:
        self._size = size

    def is_constant(self) -> bool:
        return False

    def get_constant_value(self) -> int:
        raise AssertionError("asked for a size that is open until the plan runs")


class Expressions:
    """An IExprBuilder."""

    def constant(self, value: int) -> Expression:
        return Expression(value)

    def operation(self, operation: Any, first: Expression, second: Expression) -> Expression:
        a, b = first._size, second._size
        return Expression({"SUM": a + b, "PROD": a * b, "FLOOR_DIV": a // b if b else 0}[operation.name])


class SymbolicArgument:
    """An ISymExpr, whose native form takes native expressions alone."""


class Arguments(dict[int, Any]):
    """ISymExprs."""

    nbSymExprs = 0  # noqa: N815 - TensorRT's name


class Registry:
    """Keeps what is registered."""

    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> None:
        assert isinstance(creator, trt.IPluginCreatorV3Quick)
        key = creator.name, creator.plugin_version, namespace
        assert key not in self.creators, "registered twice"
        self.creators[key] = creator

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return next(iter(self.creators.values()))


REGISTRY = Registry()
trt.IDimensionExpr, trt.DimsExprs, trt.ISymExpr = Expression, lambda count: [None] * count, SymbolicArgument
trt.get_plugin_registry = lambda: REGISTRY


def main() -> None:
    from lstn.export.plugin.aot import register_plugin

    told: dict[str, Any] = {"version": trt.__version__, "registered": [register_plugin(), register_plugin()]}
    print("what stands here are results")  # noqa: T201 - that nothing else does, and that this still arrives
    ((key, creator),) = REGISTRY.creators.items()
    told["creator"] = [*key, creator.name]
    told["plans"] = [build(creator, dtype, layout, shape) for dtype, layout in PAIRS for shape in SHAPES]
    Path(sys.argv[1]).write_text(json.dumps(told))


def build(creator: Any, dtype: str, layout: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Ask a plugin what a builder asks of it, in the builder's order."""
    name, namespace = "AffineGridSample", "lstn"
    fields = trt.PluginFieldCollection([])
    request = trt.QuickPluginCreationRequest.STRICT_AOT  # what `aot` in the ONNX node comes to
    plugin = creator.create_plugin(name, namespace, fields, trt.TensorRTPhase.BUILD, request)
    assert isinstance(plugin, trt.IPluginV3QuickAOTBuild)
    data, single = getattr(trt.DataType, dtype), trt.DataType.FLOAT
    types = plugin.get_output_data_types([data, single], [4, 3])
    expressions, batch = Expressions(), shape[0]
    inputs = [[Expression(size) for size in sizes] for sizes in (shape, (batch, 2, 3))]
    (output,) = plugin.get_output_shapes(inputs, [], expressions)
    described = [described_as(shape, data, layout), described_as((batch, 2, 3), single, "LINEAR")]
    described.append(described_as(shape, data, layout))
    offered = plugin.get_supported_format_combinations(described, 2)
    plugin.configure_plugin(described[:2], described[2:])
    plugin.set_tactic(0)
    launch, arguments = trt_launch(), Arguments()
    plugin.get_launch_params(inputs, described, 2, launch, arguments, expressions)
    kernel, ptx = plugin.clone().get_kernel([each.desc for each in described[:2]], [described[2].desc])
    return {
        "asked": [dtype, layout, list(shape)],
        "types": [each.name for each in types],
        "output": [size._size for size in output],
        "offered": [[each.type.name, each.format.name] for each in offered],
        "tactics": plugin.get_valid_tactics(),
        "launch": {axis: value.expr._size for axis, value in vars(launch).items()},
        "scalars": [[arguments[i].dtype.name, arguments[i].expr._size] for i in range(arguments.nbSymExprs)],
        "kernel": kernel,
        "entry": f".visible .entry {kernel}(" in ptx.decode(),
    }


def trt_launch() -> Any:
    """Make a KernelLaunchParams, which a builder passes in to be filled."""
    return type("KernelLaunchParams", (), {})()


def described_as(shape: tuple[int, ...], dtype: Any, layout: str) -> Any:
    tensor = trt.DynamicPluginTensorDesc()
    tensor.desc.dims, tensor.desc.type, tensor.desc.format = shape, dtype, getattr(trt.TensorFormat, layout)
    tensor.min = tensor.opt = tensor.max = shape
    return tensor


if __name__ == "__main__":
    main()
