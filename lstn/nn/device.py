"""The device on which PyTorch computes."""

import os
import shutil

import torch

from lstn.errors import DeviceError
from lstn.machine.gpu import well_named_device


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` -> a device that is there; `auto` is the first NVIDIA GPU, or else the CPU.

    Raises:
        UsageError: another name.
        DeviceError: a GPU that torch doesn't see.
    """
    kind, _, number = well_named_device(name).partition(":")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"no device {name}: torch sees {torch.cuda.device_count()} NVIDIA GPUs", hint="use --device cpu"
        )
    return torch.device(name)


def check_compiler() -> None:
    """Check that torch.compile has what it needs.

    Raises:
        DeviceError: there is no C++ compiler here.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise DeviceError("--compile needs a C++ compiler, and there is none", hint="install g++, or leave it out")
