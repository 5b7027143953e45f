"""The fused sampler's CUDA source: what its kernels are called, how they are launched, and how they become PTX."""

import re
from functools import cache
from importlib import resources
from typing import Any

from lstn.errors import LstnError, MissingExtra
from lstn.imports import require

KERNELS = {
    ("FLOAT", "LINEAR"): "affine_grid_sample_nchw_f32",
    ("HALF", "LINEAR"): "affine_grid_sample_nchw_f16",
    ("FLOAT", "HWC"): "affine_grid_sample_nhwc_f32",
    ("HALF", "HWC8"): "affine_grid_sample_nhwc8_f16",
}
"""The images' type and format, as TensorRT calls them -> the kernel for them.

Each takes (images, theta, N, C, H, W, warped), pointers and int32; theta is float32 (N, 2, 3).
"""

_OLDEST = 75
"""The compute capability that the source is compiled for: PTX for one runs on every later one. The driver translates it
for the GPU at hand, which gains nothing from newer PTX."""

_ISA = b"6.3"
"""The version of the PTX instruction set that came with sm_75. nvrtc writes its own newest one, which a driver of an
earlier release of CUDA refuses, whatever instructions are used: nvrtc 13.5 writes 9.5, driver 580 knows 9.0."""

BLOCK = 128
"""Threads of a block."""

_PIXELS = 4
"""Neighbours in a row that one thread of a planar kernel computes; PIXELS in the source."""


def count_blocks(kernel: str, batch: Any, height: Any, width: Any) -> Any:
    """Return the launch's grid in x; y and z are 1. The sizes are integers, or all of them TensorRT's expressions."""
    across = (width + (_PIXELS - 1)) // _PIXELS if "nchw" in kernel else width
    return batch * ((height * across + (BLOCK - 1)) // BLOCK)


@cache
def compile_ptx() -> bytes:
    """Compile every kernel to PTX for Turing (sm75) and every later GPU, and for every driver of theirs.

    No GPU is needed.

    Raises:
        MissingExtra: cuda-python or NVIDIA's run-time compiler isn't installed.
        LstnError: this version of the compiler knows Turing no more, or writes PTX in a way of its own.
    """
    nvrtc: Any = require("cuda.bindings.nvrtc", extra="trt", package="cuda-python")
    source = resources.files("lstn.export.plugin").joinpath("affine_grid_sample.cu").read_bytes()
    try:
        _, program = nvrtc.nvrtcCreateProgram(source, b"affine_grid_sample.cu", 0, [], [])
    except RuntimeError as error:  # cuda-python finds the library at the first call
        raise MissingExtra(
            f"cuda-python finds no nvrtc, NVIDIA's run-time compiler ({str(error).strip().partition(chr(10))[0]:.200})",
            hint=f"run: pip install {_nvrtc_package()}; or export the model again with --sampler native",
        ) from error
    try:
        options = [f"--gpu-architecture=compute_{_OLDEST}".encode()]
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = _read(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
            reason = " ".join(log.decode(errors="replace").split()) or result.name
            raise LstnError(f"nvrtc can't compile the sampler for sm{_OLDEST}: {reason:.300}")
        return for_older_drivers(_read(program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX))
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def for_older_drivers(ptx: bytes) -> bytes:
    """Return PTX that says it needs the instruction set of sm75, and no newer one.

    Raises:
        LstnError: there is not exactly one line that says which set it needs.
    """
    lowered, count = re.subn(rb"^\.version [0-9]+\.[0-9]+$", b".version " + _ISA, ptx, flags=re.MULTILINE)
    if count != 1:
        raise LstnError(
            f"nvrtc wrote PTX with {count} lines .version, expected one", hint="export with --sampler native"
        )
    return lowered


def _nvrtc_package() -> str:
    """What pip calls the nvrtc that the installed cuda-python loads; `lstn[trt]` takes CUDA 12 and 13."""
    bindings: Any = require("cuda.bindings", extra="trt", package="cuda-python")
    release = str(bindings.__version__).partition(".")[0]
    return "nvidia-cuda-nvrtc-cu12" if release == "12" else f"'nvidia-cuda-nvrtc=={release}.*'"


def _read(program: Any, size_of: Any, fill: Any) -> bytes:
    """nvrtc's way of returning text: ask for its size, then have a buffer of it filled. Without the final NUL."""
    _, size = size_of(program)
    text: bytes = b"\0" * size
    fill(program, text)
    return text.rstrip(b"\0")
