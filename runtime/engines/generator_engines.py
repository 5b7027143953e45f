"""Engines of generators: noise and classes -> pictures, in ONNX Runtime and in OpenVINO.

A generator looks at no picture, so it is not an `Engine`: nothing that takes one can be handed a generator.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import LABEL, NOISE, PIXELS, THETA, Contract, Loc, Task, meant_for
from lstn.errors import ArtifactError, UsageError
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.machine.gpu import Device
from lstn.runtime.engines.onnxruntime_engine import MAX_BATCH, check_onnx, resolve_device
from lstn.runtime.engines.openvino_engine import OpenVinoGraph, check_xml
from lstn.warps.warp import Theta

NoiseArray: TypeAlias = npt.NDArray[np.float32]
"""(N, Z), where the contract says Z; drawn from the standard normal distribution."""

ClassNumbers: TypeAlias = npt.NDArray[np.int64]
"""(N,), places in the contract's labels."""


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """What a generator answers.

    pixels: (N, H, W, 3) uint8 RGB
    theta:  (N, 2, 3) float32, from the upright object to the picture, as a transformer's; None of loc `none`
    """

    pixels: Pixels
    theta: Theta | None


class GeneratorEngine(Protocol):
    """A generator that is ready to run. Not for several threads at once: let one own it.

    max_batch: pictures that it paints at once
    """

    contract: Contract
    max_batch: int

    def generate(self, noise: NoiseArray, labels: ClassNumbers) -> Generated:
        """(N, Z) float32, (N,) int64 with 1 <= N <= max_batch -> pixels (N, H, W, 3) uint8, theta (N, 2, 3) or None.

        Raises:
            UsageError: arrays of another dtype or shape, or a number that is not a class's.
            ArtifactError: the model answers with shapes that its contract doesn't describe.
            DeviceError: the library or the GPU failed.
        """


class _GraphRunner(Protocol):
    """Runs a graph: the name of each input and its array -> pixels and, but for loc `none`, theta, in this order."""

    def __call__(self, feeds: Mapping[str, npt.NDArray[Any]], /) -> Sequence[npt.NDArray[Any]]: ...


class GraphGenerator:
    """A `GeneratorEngine` whose graph some library runs."""

    def __init__(self, path: Path, contract: Contract, graph: _GraphRunner) -> None:
        self.contract = contract
        self.max_batch = MAX_BATCH
        self._path = path
        self._graph = graph

    def generate(self, noise: NoiseArray, labels: ClassNumbers) -> Generated:
        """See `GeneratorEngine.generate`."""
        check_asked(noise, labels, self.contract, self.max_batch)
        pixels, *theta = self._graph({NOISE: noise, LABEL: labels})
        return self._checked(Generated(pixels, theta[0] if theta else None), len(labels))

    def _checked(self, found: Generated, count: int) -> Generated:
        wanted: list[tuple[int, ...]] = [(count, *self.contract.image_hw, 3)]
        shapes: list[tuple[int, ...]] = [found.pixels.shape]
        if found.theta is not None:
            wanted.append((count, *self.contract.theta_shape))
            shapes.append(found.theta.shape)
        if shapes != wanted:
            raise ArtifactError(
                f"{self._path}: answered {shapes}, its contract says {wanted}", hint="make it again: lstn export"
            )
        return found


def check_asked(noise: NoiseArray, labels: ClassNumbers, contract: Contract, max_batch: int) -> None:
    """Refuse what a generator of this contract can't paint.

    Raises:
        UsageError: arrays of another dtype or shape, or a number that is not a class's.
    """
    count = len(labels) if labels.ndim else 0
    if noise.dtype != np.float32 or noise.shape != (count, contract.noise) or not 1 <= count <= max_batch:
        raise UsageError(
            f"noise is {noise.dtype} {noise.shape} for {count} labels; expected float32 (N, {contract.noise}) with N "
            f"from 1 to {max_batch}"
        )
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise UsageError(f"labels are {labels.dtype} {labels.shape}; expected int64 (N,)")
    if labels.min() < 0 or labels.max() >= len(contract.labels):
        wrong = next(int(each) for each in labels if not 0 <= each < len(contract.labels))
        raise UsageError(f"label {wrong}; expected 0 to {len(contract.labels) - 1}, the model's classes")


@contextmanager
def open_onnx_generator(path: Path, *, device: Device, threads: int | None, spin: bool) -> Iterator[GeneratorEngine]:
    """Open an ONNX file of a generator in ONNX Runtime; the arguments are those of `open_generator`.

    Raises:
        UsageError: it is not a generator's. Else what `open_onnx` raises.
    """
    contract = check_onnx(path)
    check_generator_file(path, contract)
    session = OnnxSession(path, cuda=resolve_device(device) is Device.CUDA, threads=threads, spin=spin)
    if session.cuda_problem is not None and device is Device.CUDA:
        raise session.cuda_problem
    outputs = [PIXELS] if contract.loc is Loc.NONE else [PIXELS, THETA]
    try:
        yield GraphGenerator(path, contract, lambda feeds: session.run(feeds, outputs))
    finally:
        session.close()


@contextmanager
def open_xml_generator(path: Path, *, threads: int | None) -> Iterator[GeneratorEngine]:
    """Open an OpenVINO model of a generator, on the CPU.

    Raises:
        UsageError: it is not a generator's. Else what `open_xml` raises.
    """
    contract = check_xml(path)
    check_generator_file(path, contract)
    graph = OpenVinoGraph(path, threads=threads)
    outputs = [PIXELS] if contract.loc is Loc.NONE else [PIXELS, THETA]

    def run(feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        answers = graph.run(dict(feeds))
        return [answers[name] for name in outputs]

    try:
        yield GraphGenerator(path, contract, run)
    finally:
        graph.close()


def check_generator_file(path: Path, contract: Contract) -> None:
    """Refuse a model that looks at pictures where a generator is wanted.

    Raises:
        UsageError: it does.
    """
    if contract.task is not Task.GENERATE:
        raise UsageError(
            f"{path}: {meant_for(Task.GENERATE, contract.task, 'painting pictures')}",
            hint="name a model of lstn train --task generate, or leave out --count and name images",
        )
