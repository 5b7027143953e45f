"""Measure what our affine grid buys: the L-STN transformer in ONNX Runtime, with it and with torch's `F.affine_grid`.

    python benchmarks/grid.py [--image-size 224] [--rounds 300] [--json FILE]

One thread, batch 1, both exported alike. The two engines take turns within one loop, so that whatever else the machine
does hits both; the interval is a bootstrap over stretches of rounds. Times are milliseconds.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
import torch.nn.functional as F
from torch import nn

from lstn.contract import Loc
from lstn.nn.localizers import build_localizer
from lstn.nn.transformer import Transformer, sample
from lstn.runtime.bench.latency import ratio

OURS, TORCHS = "lstn affine_grid", "torch F.affine_grid"
OPSET = 18


class TorchGridTransformer(nn.Module):
    """The same transformer, localizer shared, with torch's grid: (N, 3, H, W) float32 -> warped, theta (N, 2, 3)."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.localizer = transformer.localizer

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Warp as `Transformer` does."""
        theta: torch.Tensor = self.localizer(images)
        return sample(images, F.affine_grid(theta, list(images.shape), align_corners=False)), theta


def main() -> None:
    """Export, check that both agree, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", type=Path, help="write the raw samples to this file")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    side = arguments.image_size
    transformer = Transformer(build_localizer(Loc.LSTN, (side, side)), (side, side)).eval()
    images = torch.rand(1, 3, side, side)
    engines = {OURS: session_of(transformer, images), TORCHS: session_of(TorchGridTransformer(transformer), images)}
    feed = images.numpy()
    difference = np.abs(run(engines[OURS], feed) - run(engines[TORCHS], feed)).max()
    samples = measure(engines, feed, arguments.rounds)
    gain = ratio(samples[TORCHS], samples[OURS], seed=0)

    print(f"L-STN transformer, {side} x {side}, batch 1, one thread, ONNX Runtime {ort.__version__}, opset {OPSET}")
    for name, times in samples.items():
        p50, p90 = np.percentile(times, [50, 90])
        print(f"  {name:<20} p50 {p50:7.3f} ms   p90 {p90:7.3f} ms")
    interval = f"{gain.value:.2f}, 95 % interval {gain.low:.2f} to {gain.high:.2f}"
    print(f"  ratio of medians {interval}; outputs differ by {difference:.1e}")
    if arguments.json:
        machine = {"machine": platform.machine(), "onnxruntime": ort.__version__, "torch": torch.__version__}
        result = {
            "image_size": side,
            "ratio": [gain.value, gain.low, gain.high],
            "samples_ms": {k: v.tolist() for k, v in samples.items()},
        }
        arguments.json.write_text(json.dumps(machine | result))


def session_of(module: nn.Module, images: torch.Tensor) -> ort.InferenceSession:
    """Export with the default (dynamo) exporter, a dynamic batch, and open it on one thread."""
    program = torch.onnx.export(
        module.eval(),
        (images.repeat(2, 1, 1, 1),),  # a batch of one would be taken for a constant
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
    assert program is not None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        program.save(path)
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the warped images."""
    warped: npt.NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: images})[0]
    return warped


def measure(
    engines: dict[str, ort.InferenceSession], images: npt.NDArray[np.float32], rounds: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return milliseconds per engine and round; in each round every engine runs once, in alternating order."""
    samples = {name: np.zeros(rounds) for name in engines}
    for index in range(-20, rounds):  # twenty rounds of warm-up
        for name in list(engines)[:: 1 if index % 2 else -1]:
            start = time.perf_counter()
            run(engines[name], images)
            if index >= 0:
                samples[name][index] = 1000 * (time.perf_counter() - start)
    return samples


if __name__ == "__main__":
    main()
