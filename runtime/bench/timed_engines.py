"""Engines against each other on one machine: every batch size, timed in turn, with every sample kept."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lstn.contract import Contract, Task
from lstn.errors import UsageError
from lstn.files import sha256_of
from lstn.images import Pixels
from lstn.interval import Interval
from lstn.machine.environment import Environment
from lstn.machine.gpu import Device
from lstn.runtime.bench.latency import Latency, Milliseconds, measure_latency, ratio, summarize
from lstn.runtime.bench.power import Energy, measure_energy
from lstn.runtime.engines.opening import is_generator, open_engine, open_generator
from lstn.runtime.engines.plans.plan_engine import PlanEngine

VERSION = 1

_GPU_CALLS = 5


@dataclass(frozen=True, slots=True)
class BenchSetup:
    """How engines are timed.

    batches: images a call, one comparison for each
    seconds: about how long each engine is timed at each batch size
    seed:    of the images (random pixels), of the order within a round and of the bootstrap
    device:  where ONNX models run
    threads: of ONNX Runtime; None leaves it the choice
    spin:    whether those threads wait busily; those of several engines would take the cores from the one at work
    """

    batches: tuple[int, ...]
    seconds: float
    seed: int
    device: Device
    threads: int | None
    spin: bool


@dataclass(frozen=True, slots=True, eq=False)
class BenchResult:
    """One engine at one batch size.

    ratio:   of its time to that of the first engine at the same batch size; None for the first itself
    samples: (R,) ms, in the order of the rounds, which all engines of a batch size share
    energy:  measured after the race, alone; None where the machine doesn't count it
    gpu_ms:  of a plan, by the GPU's clock and without copies: the median of some runs after the race, alone
    steps:   of a reader, the symbols that an image has at most: it computes as many, however short the text
    """

    path: Path
    batch: int
    latency: Latency
    ratio: Interval | None
    samples: Milliseconds
    energy: Energy | None = None
    gpu_ms: float | None = None
    steps: int | None = None

    @property
    def symbol_ms(self) -> float | None:
        """Milliseconds of a reader's step, one call after the other; None of other models."""
        return None if self.steps is None else self.latency.p50_ms / (self.batch * self.steps)

    @property
    def images_per_s(self) -> float:
        """Throughput when one call follows the other."""
        return 1000 * self.batch / self.latency.mean_ms


def bench(paths: Sequence[Path], setup: BenchSetup, *, tell: Callable[[str], None]) -> list[BenchResult]:
    """Open all engines at once and time them in turn; return results by batch size, then in the order of `paths`.

    What is timed is `Engine.infer`: pixels in memory -> logits and theta in memory; of a generator
    `GeneratorEngine.generate`: noise and labels -> pixels and theta. `tell` hears what is going on.

    Raises:
        UsageError: an engine doesn't take one of the batch sizes.
        LstnError: an engine can't be opened, or fails.
    """
    with ExitStack() as stack:
        engines = [_opened(path, setup, stack) for path in paths]
        most = max(setup.batches)
        for engine in engines:
            if most > engine.max_batch:
                raise UsageError(f"--batch {most}: {engine.path} takes batches of {engine.max_batch} at most")
        return [result for batch in setup.batches for result in _compare(engines, batch, setup, tell)]


@dataclass(frozen=True, slots=True)
class TimedEngine:
    """An engine that is open.

    call: a batch size, and what draws its input -> one call, which is timed
    plan: where it is one
    """

    path: Path
    contract: Contract
    max_batch: int
    call: Callable[[int, np.random.Generator], Callable[[], object]]
    plan: PlanEngine | None = None


def _opened(path: Path, setup: BenchSetup, stack: ExitStack) -> TimedEngine:
    device = setup.device if path.suffix.lower() == ".onnx" else Device.AUTO  # a plan has no choice
    if is_generator(path):
        painter = stack.enter_context(open_generator(path, device=device, threads=setup.threads, spin=setup.spin))

        def painting(batch: int, random: np.random.Generator) -> Callable[[], object]:
            noise = random.standard_normal((batch, painter.contract.noise), np.float32)
            return partial(painter.generate, noise, random.integers(0, len(painter.contract.labels), batch))

        return TimedEngine(path, painter.contract, painter.max_batch, painting)
    engine = stack.enter_context(open_engine(path, device=device, threads=setup.threads, spin=setup.spin))
    return TimedEngine(
        path,
        engine.contract,
        engine.max_batch,
        lambda batch, random: partial(engine.infer, _images(batch, engine.contract, random)),
        engine if isinstance(engine, PlanEngine) else None,
    )


def _images(batch: int, contract: Contract, random: np.random.Generator) -> Pixels:
    return random.integers(0, 256, (batch, *contract.image_hw, 3), dtype=np.uint8)


def bench_report(results: Sequence[BenchResult], setup: BenchSetup, environment: Environment) -> dict[str, object]:
    """Return all that is known as JSON values: setup, environment, the files' SHA-256, results with raw samples."""
    return {
        "version": VERSION,
        "setup": asdict(setup) | {"device": setup.device.value},
        "environment": asdict(environment),
        "files": {str(path): sha256_of(path) for path in dict.fromkeys(result.path for result in results)},
        "results": [
            {
                "path": str(result.path),
                "batch": result.batch,
                **asdict(result.latency),
                "images_per_s": result.images_per_s,
                "ratio": None if result.ratio is None else asdict(result.ratio),
                "energy": None if result.energy is None else asdict(result.energy),
                "gpu_ms": result.gpu_ms,
                "symbol_ms": result.symbol_ms,
                "samples_ms": result.samples.tolist(),
            }
            for result in results
        ],
    }


def _compare(
    engines: Sequence[TimedEngine], batch: int, setup: BenchSetup, tell: Callable[[str], None]
) -> list[BenchResult]:
    tell(f"timing {len(engines)} at batch {batch}, about {setup.seconds * len(engines):.0f} s")
    random = np.random.default_rng(setup.seed)
    runs = [engine.call(batch, random) for engine in engines]
    samples = measure_latency(runs, seconds=setup.seconds * len(runs), seed=setup.seed)
    results = []
    for index, engine in enumerate(engines):
        own = samples[:, index]
        against = ratio(own, samples[:, 0], seed=setup.seed) if index else None
        on_gpu = engine.path.suffix.lower() == ".plan" or setup.device is Device.CUDA
        energy = measure_energy(runs[index], images=batch, on_gpu=on_gpu)
        gpu_ms = None
        if engine.plan is not None:
            pixels = _images(batch, engine.contract, random)
            gpu_ms = float(np.median([engine.plan.device_ms(pixels) for _ in range(_GPU_CALLS)]))
        steps = engine.contract.warps if engine.contract.task is Task.READ else None
        results.append(BenchResult(engine.path, batch, summarize(own), against, own, energy, gpu_ms, steps))
    return results
