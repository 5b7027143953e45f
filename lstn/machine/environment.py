"""The machine and the libraries that a number was measured with."""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lstn.errors import LstnError
from lstn.machine.cores import usable_cores
from lstn.machine.gpu import Gpu, find_gpus
from lstn.nvidia_driver import driver_version
from lstn.zoo.named_models import model_path

LIBRARIES = {
    "lstn": ("lstn",),
    "numpy": ("numpy",),
    "pillow": ("pillow",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "safetensors": ("safetensors",),
    "matplotlib": ("matplotlib",),
    "onnx": ("onnx",),
    "onnxscript": ("onnxscript",),
    "onnxconverter-common": ("onnxconverter-common",),
    "onnxruntime": ("onnxruntime",),
    "onnxruntime-gpu": ("onnxruntime-gpu",),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13-bindings"),
    "cuda-python": ("cuda-python", "cuda-bindings"),
    "pycuda": ("pycuda",),
    **{
        name: (name,)
        for name in (
            *("uvicorn", "httptools", "grpcio", "protobuf", "prometheus-client"),
            *(
                "ray",
                "fsspec",
                "mlcommons-loadgen",
                "tensorboard",
                "wandb",
                "mlflow-skinny",
                "captum",
                "timm",
                "optuna",
            ),
        )
    },
}
"""What a library is called here -> the distributions that may bring it, the usual one first."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where something ran.

    cores:     logical CPUs that this process may use
    load:      processes that wanted a CPU over the last minute; None where the system doesn't say
    driver:    version of the NVIDIA driver, or None
    libraries: name -> version of those that are installed
    """

    cpu: str
    cores: int
    load: float | None
    gpus: tuple[Gpu, ...]
    driver: str | None
    system: str
    python: str
    libraries: dict[str, str]


def describe_environment() -> Environment:
    """Look at this machine. Never raises: what can't be found out is left out."""
    return Environment(
        cpu=_cpu(),
        cores=usable_cores(),
        load=_load(),
        gpus=find_gpus(),
        driver=driver_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries=installed(),
    )


def installed() -> dict[str, str]:
    """Return name -> version of the libraries that lstn may use and that are installed. Imports none of them."""
    versions = {}
    for name, distributions in LIBRARIES.items():
        for distribution in distributions:
            with suppress(Exception):  # not installed, or with metadata that is damaged in one of many ways
                versions[name] = str(version(distribution))
                break
    return versions


def find_providers() -> tuple[list[str], str]:
    """Return ONNX Runtime's execution providers, and what is wrong with it if it is there and doesn't load.

    This and the next function import what they ask about: only ONNX Runtime itself knows.
    """
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers()), ""
    except ModuleNotFoundError:
        return [], ""
    except Exception as error:  # two wheels in one folder fail in many ways
        return [], f"onnxruntime is installed but doesn't load ({' '.join(str(error).split()):.200})"


def find_cuda_problem() -> LstnError | None:
    """Return why ONNX Runtime doesn't run on this machine's GPU, or None if it does, by loading a small model there.

    To be asked where there is a GPU, of an ONNX Runtime that was built with CUDA: its list of providers says only that.
    """
    from lstn.formats.onnx_session import OnnxSession

    try:
        return OnnxSession(model_path("zoo:digits"), cuda=True).cuda_problem
    except LstnError as error:
        return error


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    with suppress(OSError):  # Jetson and Raspberry Pi name the board, not the CPU
        return Path("/proc/device-tree/model").read_text(errors="replace").strip("\0\n ")
    return platform.processor() or platform.machine()


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
