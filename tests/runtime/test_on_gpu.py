"""Plans and CUDA for real. Only what a borrowed machine has is imported at the top."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny import Tiny

from lstn.formats.plan_file import RTX_TARGETS, Flavour
from lstn.machine.gpu import Device, find_gpus
from lstn.runtime.bench.profilers import profile_engine
from lstn.runtime.bench.timed_engines import BenchSetup
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.cuda.cuda_opening import open_cuda
from lstn.runtime.engines.opening import open_engine


@pytest.fixture
def gpu_plan(tmp_path: Path, tiny: Tiny) -> Path:
    """A plan with two profiles for the GPU that is there."""
    gpus = find_gpus()
    if not gpus:
        pytest.skip("no NVIDIA GPU")
    flavour = Flavour.TRT_RTX if gpus[0].target in RTX_TARGETS else Flavour.TRT
    pytest.importorskip(flavour.module)
    pytest.importorskip("cuda.bindings.runtime")
    from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
    from lstn.export.tensorrt.to_plan import write_plan

    plan = tmp_path / "model.plan"
    profiles = (BatchRange(1, 1, 1), BatchRange(2, 4, 8))
    write_plan(tiny.path, plan, BuildSettings(flavour=flavour, profiles=profiles, targets=(gpus[0].target,)))
    return plan


@pytest.mark.gpu
def test_a_plan_built_for_this_gpu_answers_as_onnx_runtime(gpu_plan: Path, tiny: Tiny) -> None:
    """Graphs, profiles, pieces, images on the GPU, and an engine in each of several threads."""

    def work(seed: int) -> None:
        with open_engine(gpu_plan) as engine:
            for count in (5, 1, 8, 5, 19, 1, 5, 8, 1):
                agrees(engine, tiny, np.random.default_rng(seed + count).integers(0, 256, (count, 8, 8, 3), np.uint8))

    work(0)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))


@pytest.mark.gpu
def test_images_that_pytorch_has_on_the_gpu(gpu_plan: Path, tiny: Tiny) -> None:
    torch = pytest.importorskip("torch")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    with open_engine(gpu_plan) as engine, torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            on_gpu = (torch.from_numpy(pixels).cuda().int() + torch.zeros(1 << 24, device="cuda").sum().int()).byte()
            np.testing.assert_array_equal(engine.infer(on_gpu).logits, engine.infer(pixels).logits)
        assert 0 < engine.device_ms(on_gpu) < 1000
    assert float(torch.ones(3, device="cuda").sum()) == 3  # PyTorch goes on working


def agrees(engine: Engine, tiny: Tiny, pixels: np.ndarray) -> None:
    prediction = engine.infer(pixels)
    np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), atol=1e-4)
    np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), atol=1e-4)


@pytest.mark.gpu
def test_the_layers_of_a_plan_are_timed(gpu_plan: Path) -> None:
    """Every call tells the same layers, and together they take no longer than the call."""
    found = profile_engine(gpu_plan, 3, BenchSetup((3,), 0.1, 0, Device.AUTO, None, True))
    assert len({tuple(span.layer for span in call.spans) for call in found.calls}) == 1
    assert 0 < found.explained < 1


@pytest.mark.gpu
def test_the_seam_on_a_gpu() -> None:
    """What goes in comes out; a graph does it again; and the GPU's clock runs."""
    if not find_gpus():
        pytest.skip("no NVIDIA GPU")
    pytest.importorskip("cuda.bindings.runtime")
    cuda = open_cuda(extra="gpu")
    with cuda.current():
        stream, events = cuda.new_stream(), (cuda.new_event(timed=True), cuda.new_event(timed=True))
        host, device = cuda.pin(1 << 20), [cuda.allocate(1 << 20) for _ in range(2)]
        host[:] = 7
        cuda.copy_in(device[0], host, stream)
        cuda.synchronize(stream)
        copy = cuda.capture(stream, lambda: cuda.copy_over(device[1], device[0], 1 << 20, stream))
        host[:] = 0
        cuda.record(events[0], stream)
        cuda.launch(copy, stream)
        cuda.record(events[1], stream)
        cuda.follow(stream, 1)
        cuda.copy_out(host, device[1], stream)
        cuda.synchronize(stream)
        assert (host == 7).all()
        assert cuda.elapsed_ms(*events) > 0
        cuda.destroy_graph(copy)
        cuda.unpin(host)
        for address in device:
            cuda.free(address)
        for event in events:
            cuda.destroy_event(event)
        cuda.destroy_stream(stream)
