"""A driver that is too old for TensorRT, which returns nothing then, or an object whose next use ends the process.

The genuine lean runtime of TensorRT runs without a GPU: under no driver it says what it says under one too old. It is
fetched with pip into pytest's cache, once; a machine that can't fetch it fails these tests.
"""

import gc
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fake_machine import L4, MakeMachine, found, rewrite
from fake_tensorrt import Hollow
from fetched_wheels import fetched

from lstn.errors import DeviceError, LstnError, MissingExtra
from lstn.formats.plan_file import Flavour
from lstn.install import install_line
from lstn.machine.gpu import find_gpus
from lstn.nvidia_driver import Driver
from lstn.runtime.engines.opening import open_engine

LEAN = "11.4.0.106"

LOAD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import tensorrt_lean
from lstn.errors import LstnError
from lstn.formats.plan_file import read_sidecar
from lstn.runtime.engines.plans.plan_loading import load_engine, log_of
path = Path(sys.argv[1])
try:
    load_engine(path, read_sidecar(path), tensorrt_lean, log_of(tensorrt_lean))
except LstnError as error:
    print(type(error).__name__, error.message, error.hint, sep="\\n")
"""


@pytest.fixture(scope="module")
def lean(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `tensorrt_lean`, whose wheel calls it `tensorrt_lean_bindings`."""
    kept, folder = Path(request.config.cache.mkdir("tensorrt-lean")), tmp_path_factory.mktemp("lean")
    for package in ("tensorrt-lean-cu13-bindings", "tensorrt-lean-cu13-libs"):
        zipfile.ZipFile(fetched(kept, package, LEAN)).extractall(folder)
    (folder / "tensorrt_lean_bindings").rename(folder / "tensorrt_lean")
    return folder


@pytest.mark.parametrize("version_compatible", [False, True])
def test_the_genuine_runtime_ends_in_our_error(plan: Path, lean: Path, version_compatible: bool) -> None:
    """Not in -11, SIGSEGV, with either of the first things that are done with a Runtime."""
    assert not find_gpus()
    rewrite(plan, flavour=Flavour.TRT, version_compatible=version_compatible)
    ran = subprocess.run([sys.executable, "-c", LOAD, plan, lean], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    kind, message, hint = ran.stdout.splitlines()
    assert kind == "DeviceError"
    assert message.startswith(f"TensorRT {LEAN} doesn't start: this machine shows no NVIDIA driver (")
    assert "error: 35" in message
    assert hint == "install one, then: lstn doctor"


@pytest.mark.parametrize("hollow", [False, True])
@pytest.mark.parametrize("flavour", Flavour)
def test_driver_and_extra_are_named(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, flavour: Flavour, hollow: bool
) -> None:
    machine = make_machine(flavour=flavour)
    machine.trt._hollow = hollow
    machine.trt._says = "CUDA initialization failure with error: 35"
    machine.gpu.fails = lambda index, name: name == "Runtime"
    monkeypatch.setattr("lstn.nvidia_driver.find_driver", lambda: Driver("550.54.15", (12, 4)))
    with pytest.raises(DeviceError) as raised, open_engine(machine.plan):
        pass
    assert "the NVIDIA driver 550.54.15 is too old for it and supports CUDA 12.4" in raised.value.message
    assert raised.value.hint.endswith(install_line(f"{flavour.value}-cu12"))
    del raised
    gc.collect()
    machine.check_all_given_back()
    assert Hollow.freed == 0


def test_what_is_missing_is_named_for_the_driver(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of CUDA 12, for which TensorRT and cuda-python of CUDA 13 would be of no use."""
    found(monkeypatch, L4)
    for module in ("plans.preflight", "cuda.cuda_python"):
        monkeypatch.setattr(f"lstn.runtime.engines.{module}.find_driver", lambda: Driver("550.54.15", (12, 4)))
    for module in ("cuda.bindings.runtime", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra) as raised, open_engine(plan):
            pass
        assert raised.value.hint == f"run: {install_line('trt-rtx-cu12')}"


def test_cuda_python_names_both_too(make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = make_machine()
    machine.gpu.error = (35, b"CUDA driver version is insufficient for CUDA runtime version")
    machine.gpu.fails = lambda index, name: name == "cudaGetDevice"
    monkeypatch.setattr("lstn.nvidia_driver.find_driver", lambda: Driver("535.104.05", (12, 2)))
    with pytest.raises(LstnError) as raised, open_engine(machine.plan):
        pass
    assert raised.value.message.startswith(
        "cuda-python doesn't start: the NVIDIA driver 535.104.05 is too old for it and supports CUDA 12.2 ("
    )
    assert raised.value.hint.endswith(install_line("trt-cu12"))
