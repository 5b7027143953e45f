"""The wheel holds what the tree holds: a package missing from pyproject.toml vanishes without a warning."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
STAGES = ("train", "export", "calibration", "runtime")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy: what an earlier build left in the tree would end in the wheel."""
    copy, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("lstn", *STAGES):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy)],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def in_tree() -> set[str]:
    files = set()
    for folder in ("lstn", *STAGES):
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            packed = (".py", ".cu", ".html", ".css", ".js", ".onnx"), ("py.typed", "digits.npz", "paper.json")
            wanted = path.suffix in packed[0] or path.name in packed[1] or path.with_suffix(".onnx").exists()
            if wanted and inside.parts[:2] not in {("lstn", stage) for stage in STAGES}:
                files.add(str(inside if folder == "lstn" else Path("lstn") / inside))
    return files


def test_the_wheel_is_the_tree(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == in_tree()


def test_the_wheel_names_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    read = {
        name.split(".dist-info/")[1]: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name
    }
    assert "License-Expression: Apache-2.0" in read["METADATA"]
    assert "lstn = lstn.__main__:main" in read["entry_points.txt"]
    assert "Apache License" in read["licenses/LICENSE"]


def test_a_plain_install_asks_for_nothing_heavy(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    required = [
        line.split()[1] for line in wheel.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")
    ]
    plain = [
        line
        for line in wheel.read(metadata).decode().splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert len(plain) == 5
    assert {"msgspec", "numpy", "pillow", "rich", "typer"} == {line.split()[1].split(">")[0] for line in plain}
    assert any(name.startswith("tensorrt<") or name.startswith("tensorrt>") for name in required)


@pytest.mark.parametrize(
    ("python", "cuda", "cublas"),
    [("3.10", (">=1.22", "<1.27"), "nvidia-cublas-cu12"), ("3.12", (">=1.28",), "nvidia-cublas")],
)
def test_an_onnx_runtime_for_gpus_comes_with_the_cuda_that_it_was_built_for(
    python: str, cuda: tuple[str, ...], cublas: str
) -> None:
    """The wheel holds no CUDA library. Up to 1.26 it wants those of CUDA 12, from 1.28 on those of 13."""
    asked = {each.name: each for each in required("gpu", python)}
    runtime = asked["onnxruntime-gpu"]
    assert runtime.extras == {"cuda", "cudnn"}
    assert {str(each) for each in runtime.specifier} == set(cuda)
    assert [name for name in asked if "cublas" in name] == [cublas]


@pytest.mark.parametrize("extra", ["gpu", "trt", "trt-rtx"])
def test_the_extras_for_cuda_12_hold_nothing_of_cuda_13(extra: str) -> None:
    asked = {each.name: each for each in required(f"{extra}-cu12", "3.12")}
    assert not asked["cuda-python"].specifier.contains("13.0.0")
    assert not any("cu13" in name or name in ("tensorrt", "nvidia-cublas") for name in asked)
    assert len(asked) == len(required(extra, "3.12"))


def required(extra: str, python: str) -> list[Requirement]:
    """Return what an extra asks for under a version of Python."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    asked = [Requirement(line) for line in lines]
    return [each for each in asked if each.marker is None or each.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("stage", STAGES)
def test_the_links_show_the_stages(stage: str) -> None:
    link = ROOT / "lstn" / stage
    assert link.is_symlink()
    assert link.readlink() == Path("..") / stage
