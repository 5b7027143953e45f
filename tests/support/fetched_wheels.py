"""NVIDIA's genuine wheels, fetched with pip, once; and what stands in for the libraries that their bindings load."""

import subprocess
import sys
import zipfile
from pathlib import Path

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
NEEDED = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def fetched(folder: Path, package: str, version: str) -> Path:
    """Return the wheel for this Python, from `folder` or, the first time, from the package index."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    name = f"{package.replace('-', '_')}-{version}"
    patterns = (f"{name}-{tag}-*.whl", f"{name}-py*-none-*.whl")
    if not any(list(folder.glob(pattern)) for pattern in patterns):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", str(folder), f"{package}=={version}"], check=True)
    (wheel,) = (wheel for pattern in patterns for wheel in folder.glob(pattern))
    return wheel


def unpack(wheel: Path, folder: Path) -> None:
    """`tensorrt_bindings` is the whole of the package `tensorrt`, under another name."""
    zipfile.ZipFile(wheel).extractall(folder)
    (folder / "tensorrt_bindings").rename(folder / "tensorrt")


def write_libraries(folder: Path, major: str) -> None:
    source = folder / "nothing.c"
    source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in NEEDED))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)], check=True
        )
