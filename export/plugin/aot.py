"""The fused sampler as a plugin of TensorRT 10.9 and later, compiled ahead of time.

TensorRT asks this module while it builds a plan: which types and formats the plugin takes, how its kernel is launched,
and for the kernel's PTX, which becomes part of the plan. Whoever runs the plan needs neither this nor Python.

TensorRT for RTX ends the process when it meets a plugin, so nothing here is for it: there the node's function is read.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import GenericAlias
from typing import Any

from lstn.export.plugin import DOMAIN, FUSED, OPERATOR
from lstn.export.plugin.kernel import BLOCK, KERNELS, compile_ptx, count_blocks
from lstn.imports import require

_FIRST_VERSION = (10, 9)


def register_plugin() -> bool:
    """Tell TensorRT, in this process, of the plugin, once; return whether this TensorRT has such plugins.

    An older one reads the function that comes with the node, and samples with its own layer.

    Raises:
        MissingExtra: TensorRT, cuda-python or NVIDIA's run-time compiler isn't installed.
    """
    trt: Any = require("tensorrt", extra="trt")
    major, minor = str(trt.__version__).split(".")[:2]
    if (int(major), int(minor)) < _FIRST_VERSION:
        return False
    ptx = compile_ptx()
    with _no_results():
        plugins: Any = require("tensorrt.plugin", extra="trt", package="tensorrt")
    if not hasattr(getattr(plugins.op, DOMAIN, None), OPERATOR):
        _declare(plugins, ptx)
    return True


@contextmanager
def _no_results() -> Iterator[None]:
    """Lead standard output, which is for results, to standard error.

    `tensorrt.plugin` warns, when it is imported, that it is experimental: in C++, past `contextlib.redirect_stdout`.
    """
    sys.stdout.flush()
    results = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(results, 1)
        os.close(results)


def _declare(plugins: Any, ptx: bytes) -> None:
    tensor = plugins.TensorDesc
    inputs, several = {"images": tensor, "theta": tensor}, GenericAlias(tuple, tensor)

    def describe(images: Any, theta: Any) -> Any:
        return images.like()

    def formats(images: Any, theta: Any, outputs: Any) -> Any:
        types = {"FLOAT": "FP32", "HALF": "FP16"}
        return [
            plugins.AutoTuneCombination(f"{types[dtype]}, FP32, {types[dtype]}", f"{layout}, LINEAR, {layout}")
            for dtype, layout in KERNELS
        ]

    def implement(images: Any, theta: Any, outputs: Any, tactic: int) -> Any:
        kernel = KERNELS[images.dtype.name, images.format.name]
        batch, channels, height, width = (images.shape_expr[axis] for axis in range(4))
        launch = plugins.KernelLaunchParams(grid_x=count_blocks(kernel, batch, height, width), block_x=BLOCK)
        scalars = tuple(plugins.SymInt32(size) for size in (batch, channels, height, width))
        return kernel, ptx, launch, plugins.SymIntExprs.from_tuple(scalars)

    # TensorRT reads what a function is from its annotations, which have to be its own classes and not their names.
    describe.__annotations__ = {**inputs, "return": tensor}
    formats.__annotations__ = {**inputs, "outputs": several, "return": GenericAlias(list, plugins.AutoTuneCombination)}
    returned = GenericAlias(tuple, (str, bytes, plugins.KernelLaunchParams, plugins.SymExprs))
    implement.__annotations__ = {**inputs, "outputs": several, "tactic": int, "return": returned}
    plugins.register(FUSED)(describe)
    plugins.autotune(FUSED)(formats)
    plugins.aot_impl(FUSED)(implement)
