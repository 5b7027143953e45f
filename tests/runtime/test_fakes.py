"""The fakes know nothing that the real packages don't, as far as those can be asked without a GPU."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorrt_rtx
from cuda.bindings import runtime as cudart
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_pycuda import FakePycuda
from fake_tensorrt import (
    FakeContext,
    FakeEngine,
    FakeRuntime,
    FakeRuntimeCache,
    FakeRuntimeConfig,
    FakeTensorrt,
    GraphStrategy,
    SpecializationStrategy,
    Strategy,
)

from lstn.errors import DeviceError
from lstn.runtime.engines.cuda.cuda_python import CudaPython
from lstn.runtime.engines.cuda.cuda_seam import Cuda
from lstn.runtime.engines.cuda.pycuda_calls import PyCuda

PYCUDA = {
    "init": ["flags"],
    "Device": ["number"],
    "Stream": ["flags"],
    "Event": ["flags"],
    "mem_alloc": ["size"],
    "pagelocked_empty": ["shape", "dtype", "order", "mem_flags"],
    "memcpy_htod_async": ["dest", "src", "stream"],
    "memcpy_dtoh_async": ["dest", "src", "stream"],
    "memcpy_dtod_async": ["dest", "src", "size", "stream"],
}
"""pycuda.driver's functions and their arguments (pycuda 2026.1, doc/driver.rst and src/wrapper/wrap_cudadrv.cpp)."""


def public(kind: object) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_no_name_of_tensorrt_is_invented() -> None:
    module = FakeTensorrt(FakeGpu(), dict, outputs={}, profiles=((1, 1, 1),), version="1", rtx=True)
    engine = FakeEngine(module)
    pairs = [
        (module, tensorrt_rtx),
        (engine, tensorrt_rtx.ICudaEngine),
        (FakeContext(engine, Strategy.USER_MANAGED, captures=True), tensorrt_rtx.IExecutionContext),
        (FakeRuntime(module), tensorrt_rtx.Runtime),
        (FakeRuntimeConfig(module), tensorrt_rtx.IRuntimeConfig),
        (FakeRuntimeCache(module), tensorrt_rtx.IRuntimeCache),
        (Strategy, tensorrt_rtx.ExecutionContextAllocationStrategy),
        (GraphStrategy, tensorrt_rtx.CudaGraphStrategy),
        (SpecializationStrategy, tensorrt_rtx.DynamicShapesKernelSpecializationStrategy),
        (FakeTensorrt.TensorIOMode, tensorrt_rtx.TensorIOMode),
        (FakeTensorrt.DataType, tensorrt_rtx.DataType),
    ]
    for fake, real in pairs:
        assert public(fake)
        assert public(fake) <= public(real)


@pytest.mark.parametrize("fake", [FakeContext, FakeEngine, FakeRuntimeConfig, FakeRuntimeCache])
def test_arguments_are_called_what_tensorrt_calls_them(fake: type) -> None:
    real = {
        FakeContext: tensorrt_rtx.IExecutionContext,
        FakeEngine: tensorrt_rtx.ICudaEngine,
        FakeRuntimeConfig: tensorrt_rtx.IRuntimeConfig,
        FakeRuntimeCache: tensorrt_rtx.IRuntimeCache,
    }[fake]
    for name, method in inspect.getmembers(fake, inspect.isfunction):
        if not name.startswith("_"):
            documented = getattr(real, name).__doc__
            for argument in list(inspect.signature(method).parameters)[1:]:
                assert f"{argument}:" in documented, f"{name}({argument})"


def test_no_name_of_cuda_python_is_invented() -> None:
    functions = {name[1:] for name in vars(FakeCudart) if name.startswith("_cuda")}
    constants = {name for name in vars(FakeCudart) if name.startswith("cuda")}
    assert len(functions) > 20
    assert functions | constants <= set(dir(cudart))
    kinds = {"cudaMemcpyKind", "cudaStreamCaptureMode", "cudaDeviceAttr"}
    for kind in kinds:
        faked = vars(getattr(FakeCudart, kind))
        assert faked == {name: int(getattr(getattr(cudart, kind), name)) for name in faked}
    for name in constants - kinds:
        assert getattr(FakeCudart, name) == getattr(cudart, name)


def call_all() -> None:
    """Without a GPU each call answers with an error; an argument of a wrong type would raise TypeError."""
    cuda = object.__new__(CudaPython)
    cuda._api, cuda.integrated = cudart, False
    calls = [
        lambda: cuda.new_stream(),
        lambda: cuda.synchronize(0x10),
        lambda: cuda.follow(0x10, 0x20),
        lambda: cuda.follow(0x10, None),
        lambda: cuda.allocate(8),
        lambda: cuda.pin(8),
        lambda: cuda.copy_in(0x10, np.zeros(8, np.uint8), 0x10),
        lambda: cuda.copy_out(np.zeros(8, np.uint8), 0x10, 0x10),
        lambda: cuda.copy_over(0x10, 0x20, 8, 0x10),
        lambda: cuda.address_of(np.zeros(8, np.uint8)),
        lambda: cuda.new_event(timed=True),
        lambda: cuda.new_event(timed=False),
        lambda: cuda.wait(cudart.cudaEvent_t()),
        lambda: cuda.record(cudart.cudaEvent_t(), 0x10),
        lambda: cuda.elapsed_ms(cudart.cudaEvent_t(), cudart.cudaEvent_t()),
        lambda: cuda.capture(0x10, lambda: None),
        lambda: cuda.launch(cudart.cudaGraphExec_t(), 0x10),
        lambda: cuda._call("cudaStreamWaitEvent", 0x10, cudart.cudaEvent_t(), 0),
        lambda: cuda._call("cudaStreamEndCapture", 0x10),
        lambda: cuda._call("cudaGraphInstantiate", cudart.cudaGraph_t(), 0),
        lambda: cuda._call("cudaGraphDestroy", cudart.cudaGraph_t()),
        lambda: cuda._call("cudaSetDevice", 0),
        lambda: cuda._call("cudaDeviceGetAttribute", cudart.cudaDeviceAttr.cudaDevAttrIntegrated, 0),
    ]
    for call in calls:
        with pytest.raises(DeviceError, match=r"^cuda[A-Za-z]+ failed: .* \(CUDA error \d+\)$"):
            call()
    cuda.destroy_stream(0x10)
    cuda.free(0x10)
    cuda.unpin(np.zeros(8, np.uint8))
    cuda.destroy_event(cudart.cudaEvent_t())
    cuda.destroy_graph(cudart.cudaGraphExec_t())


def test_every_call_passes_cuda_python_what_it_takes() -> None:
    """In a process that sees no GPU: handles that are none would crash one that does."""
    paths = [str(Path(__file__).parent), *sys.path]
    code = f"import sys; sys.path[:] = {paths!r}; import test_fakes; test_fakes.call_all(); print('all')"
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    ran = subprocess.run([sys.executable, "-c", code], env=hidden, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("all\n", "")


def test_the_fake_of_pycuda_is_what_its_documentation_says() -> None:
    pycuda = FakePycuda(FakeGpu())
    found = {
        name: list(inspect.signature(getattr(pycuda, name)).parameters)
        for name in public(FakePycuda) - {"Error", "MemoryError"}
    }
    assert found == PYCUDA


@pytest.mark.parametrize("kind", [CudaPython, PyCuda])
def test_both_make_the_same_calls(kind: type) -> None:
    for name, method in inspect.getmembers(Cuda, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(getattr(kind, name)).parameters) == list(inspect.signature(method).parameters)
    assert public(kind) == public(Cuda) | {"graphs", "integrated"}
