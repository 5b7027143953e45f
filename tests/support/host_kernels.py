"""The fused sampler's kernels on the CPU, and PyTorch's answer in float64 to compare them with."""

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lstn.export.plugin.kernel import BLOCK, count_blocks

ROOT = Path(__file__).parents[2]

RunKernel = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""(kernel, images (N, C, H, W), theta (N, 2, 3) float32) -> warped, as images."""


def build_kernels(folder: Path) -> RunKernel:
    """Compile the source with the host's compiler, and return what runs a kernel as TensorRT would launch it."""
    library = folder / "host_kernels.so"
    command = ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += ["-I", str(ROOT / "export" / "plugin"), str(Path(__file__).with_name("host_shim.cpp"))]
    subprocess.run([*command, "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))

    def run(kernel: str, images: np.ndarray, theta: np.ndarray) -> np.ndarray:
        batch, channels, height, width = images.shape
        memory = _to_memory(kernel, images)
        guarded = np.full(memory.size + 64, 77, memory.dtype)  # what isn't written, and what is beyond the end
        loaded[f"host_{kernel}"](
            ctypes.c_uint(count_blocks(kernel, batch, height, width)),
            ctypes.c_uint(BLOCK),
            memory.ctypes.data_as(ctypes.c_void_p),
            np.ascontiguousarray(theta).ctypes.data_as(ctypes.c_void_p),
            (ctypes.c_int * 4)(*images.shape),
            guarded.ctypes.data_as(ctypes.c_void_p),
        )
        assert (guarded[memory.size :] == 77).all(), "written beyond the end"
        return _from_memory(kernel, guarded[: memory.size].reshape(memory.shape), channels)

    return run


def _to_memory(kernel: str, images: np.ndarray) -> np.ndarray:
    """NCHW, NHWC, or NHWC with channels padded to a multiple of eight, by what can't be right if it is read."""
    if "nchw" in kernel:
        return np.ascontiguousarray(images)
    last = images.transpose(0, 2, 3, 1)
    padding = -last.shape[-1] % 8 if "nhwc8" in kernel else 0
    return np.ascontiguousarray(np.pad(last, ((0, 0), (0, 0), (0, 0), (0, padding)), constant_values=np.nan))


def _from_memory(kernel: str, memory: np.ndarray, channels: int) -> np.ndarray:
    return memory if "nchw" in kernel else memory[..., :channels].transpose(0, 3, 1, 2)


def torch_answer(images: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return what PyTorch computes in float64 on the CPU, of the very numbers that the kernel gets."""
    exact = torch.from_numpy(images.astype(np.float64))
    grid = F.affine_grid(torch.from_numpy(theta.astype(np.float64)), list(images.shape), align_corners=False)
    return F.grid_sample(exact, grid, mode="bilinear", padding_mode="zeros", align_corners=False).numpy()
