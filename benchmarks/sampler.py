"""Check and measure the fused sampler on an NVIDIA GPU, against torch's `F.affine_grid` + `F.grid_sample`.

    python -m benchmarks sampler [--image-size 224] [--rounds 200] [--json FILE]

Values first: every kernel, on random images and thetas, against PyTorch in float64. Then time, at batch 1 and 32 and in
every format: called one by one as PyTorch calls (eager), and replayed from a CUDA graph, which leaves the time that the
GPU itself takes. The two take turns within one loop; the interval is a bootstrap over stretches of rounds. Times are
microseconds.

Needs: an NVIDIA GPU.
"""

import ctypes
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.support.arguments import argument_parser
from lstn.errors import DeviceError
from lstn.export.plugin.kernel import BLOCK, KERNELS, compile_ptx, count_blocks
from lstn.runtime.bench.latency import ratio

BATCHES = (1, 32)
CALLS = 20
"""Per round: a single call is too short for a CUDA event."""

TOLERANCE = {"f32": 1e-4, "f16": 1e-4 + 2**-12}
"""Of values in 0..1; in float16 the answer itself is rounded."""

WANTED = 2.0

Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(images (N, C, H, W), theta (N, 2, 3) float32) -> warped, as images; both on the GPU."""


def main(words: Sequence[str]) -> None:
    """Check, measure, print; fail without a GPU, or if a value is wrong."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the raw samples to this file")
    arguments = parser.parse_args(words)
    if not torch.cuda.is_available():
        raise DeviceError("PyTorch sees no NVIDIA GPU here")
    kernels = load_kernels()
    errors = {name: largest_error(name, kernel) for name, kernel in kernels.items()}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name, error in errors.items():
        print(f"  {name:<28} largest error {error:.1e}, allowed {TOLERANCE[name[-3:]]:.1e}")
    results = []
    for batch in BATCHES:
        for name, kernel in kernels.items():
            for how in ("eager", "graph"):
                results.append(compare(name, kernel, batch, arguments.image_size, arguments.rounds, how))
    for result in results:
        low, high = result["interval"]
        fused, torchs = (np.median(result["samples_us"][who]) for who in ("fused", "torch"))
        print(
            f"  {result['kernel']:<28} batch {result['batch']:>2} {result['how']}: fused {fused:7.1f} us, torch "
            f"{torchs:7.1f} us, {result['ratio']:.2f} times faster, 95 % interval {low:.2f} to {high:.2f}"
            f"{'' if low >= WANTED else f', less than {WANTED:.0f}'}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"gpu": torch.cuda.get_device_name(), "errors": errors, "times": results}))
    sys.exit(any(not error <= TOLERANCE[name[-3:]] for name, error in errors.items()))


def load_kernels() -> dict[str, Kernel]:
    """Return name -> kernel, from the PTX that a plan carries, in PyTorch's own CUDA context."""
    from cuda.bindings import driver

    torch.cuda.init()
    torch.zeros(1, device="cuda")  # makes the context current
    module = checked(driver.cuModuleLoadData(compile_ptx() + b"\0"))
    names = KERNELS.values()
    return {name: launcher(driver, checked(driver.cuModuleGetFunction(module, name.encode())), name) for name in names}


def launcher(driver: Any, function: Any, name: str) -> Kernel:
    """Return what launches one kernel on PyTorch's current stream."""

    def call(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = images.shape
        warped = torch.empty_like(images)
        values = (images.data_ptr(), theta.data_ptr(), batch, channels, height, width, warped.data_ptr())
        types = (ctypes.c_void_p,) * 2 + (ctypes.c_int,) * 4 + (ctypes.c_void_p,)
        blocks = count_blocks(name, batch, height, width)
        stream = torch.cuda.current_stream().cuda_stream
        checked(driver.cuLaunchKernel(function, blocks, 1, 1, BLOCK, 1, 1, 0, stream, (values, types), 0))
        return warped

    return call


def checked(answer: tuple[Any, ...]) -> Any:
    """Return what a call of CUDA's driver returned behind its status."""
    status, *rest = answer
    if int(status) != 0:
        raise RuntimeError(f"CUDA: {status.name}")
    return rest[0] if rest else None


def in_memory(name: str, images: torch.Tensor) -> torch.Tensor:
    """Lay images out as a kernel takes them, on the GPU; HWC8 takes eight channels, so three are padded."""
    data = images.to("cuda", torch.float16 if name.endswith("f16") else torch.float32)
    if "nhwc8" in name:
        data = F.pad(data, (0, 0, 0, 0, 0, -data.shape[1] % 8))
    return data.contiguous(memory_format=torch.channels_last if "nhwc" in name else torch.contiguous_format)


def thetas(count: int) -> torch.Tensor:
    """As trained localizers have them: (N, 2, 3) float32 on the CPU."""
    return torch.eye(2, 3) + torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(0)) - 0.5


def largest_error(name: str, kernel: Kernel) -> float:
    """Return how far a kernel is from PyTorch in float64, at 456 pixels and at odd sizes."""
    worst = 0.0
    for shape in ((4, 3, 456, 456), (3, 8, 33, 47), (70, 1, 5, 3)):
        images = in_memory(name, torch.rand(shape, generator=torch.Generator().manual_seed(0)))
        theta = thetas(shape[0])
        found = kernel(images, theta.cuda()).cpu().double()
        grid = F.affine_grid(theta.double(), list(images.shape), align_corners=False)
        wanted = F.grid_sample(images.cpu().double(), grid, "bilinear", "zeros", align_corners=False)
        worst = max(worst, float((found - wanted).abs().max()))
    return worst


def torch_sampler(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Sample as it is usually written; torch wants the grid in the images' type."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), "bilinear", "zeros", align_corners=False)


def compare(name: str, kernel: Kernel, batch: int, side: int, rounds: int, how: str) -> dict[str, Any]:
    """Return microseconds a call of both, round by round, and the ratio of their medians with its interval."""
    images, theta = in_memory(name, torch.rand(batch, 3, side, side)), thetas(batch).cuda()
    calls = {"fused": repeated(kernel, images, theta, how), "torch": repeated(torch_sampler, images, theta, how)}
    samples = {who: np.zeros(rounds) for who in calls}
    for index in range(-10, rounds):  # ten rounds of warm-up
        for who in list(calls)[:: 1 if index % 2 else -1]:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            calls[who]()
            end.record()
            end.synchronize()
            if index >= 0:
                samples[who][index] = 1000 * start.elapsed_time(end) / CALLS
    gain = ratio(samples["torch"], samples["fused"], seed=0)
    kept = {who: values.tolist() for who, values in samples.items()}
    found = {"kernel": name, "batch": batch, "how": how, "samples_us": kept}
    return found | {"ratio": gain.value, "interval": [gain.low, gain.high]}


def repeated(call: Kernel, images: torch.Tensor, theta: torch.Tensor, how: str) -> Callable[[], object]:
    """Return CALLS calls in a row, one by one or as a CUDA graph."""

    def run() -> None:
        for _ in range(CALLS):
            call(images, theta)

    if how == "eager":
        return run
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return cast("Callable[[], object]", graph.replay)
