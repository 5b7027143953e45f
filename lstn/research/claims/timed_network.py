"""A network that is timed: a model in memory, its files in a folder, and ways to open them on every engine."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lstn.errors import MissingExtra
from lstn.images import Pixels
from lstn.machine.gpu import Device
from lstn.research.claims.claims_request import ON_GPU, ClaimsRequest, ComparedEngine

if TYPE_CHECKING:
    from lstn.nn.classifier import Classifier
    from lstn.runtime.bench.race import TimedCall

    Open: TypeAlias = Callable[[], AbstractContextManager[TimedCall]]


@dataclass(frozen=True, slots=True, eq=False)
class TimedNetwork:
    """A model to be timed whole. Its files are made when they are first needed.

    model: in evaluation mode
    file:  of its ONNX file, which need not be there yet
    tell:  hears what is going on
    """

    model: "Classifier"
    file: Path
    setup: ClaimsRequest
    tell: Callable[[str], None]

    def opening(self, engine: ComparedEngine, pixels: Pixels) -> "Open":
        """Return what opens it on an engine, to infer `pixels` again and again."""
        if engine is ComparedEngine.TORCH:
            return self.in_torch(pixels, compiled=False)
        if engine in ON_GPU:
            return engine_run(self._plan(engine), pixels, None)
        if engine is ComparedEngine.OPENVINO:
            return openvino_run(self._onnx(), pixels, self.setup.threads)
        return engine_run(self._onnx(), pixels, self.setup.threads)

    def in_torch(self, pixels: Pixels, *, compiled: bool) -> "Open":
        """Return what runs it in PyTorch, eager or through `torch.compile`."""
        return torch_run(self.model, (pixels,), self.setup.threads, compiled=compiled)

    def _onnx(self) -> Path:
        from lstn.export.onnx.to_onnx import write_onnx
        from lstn.export.onnx.verify_onnx import sample_images

        if not self.file.exists():
            contract = self.model.contract
            self.tell(f"{contract.backbone}: exporting {contract.loc.value}")
            write_onnx(self.model, self.file, contract, sample_images("digits", contract.image_hw, seed=0, count=3))
        return self.file

    def _plan(self, engine: ComparedEngine) -> Path:
        from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
        from lstn.export.tensorrt.targets import choose_targets
        from lstn.export.tensorrt.to_plan import write_plan
        from lstn.formats.plan_file import Flavour

        onnx_file, flavour, batches = self._onnx(), Flavour(engine.value), self.setup.batches
        path = onnx_file.with_suffix(".plan")
        if not path.exists():
            profile = BatchRange(min(batches), max(batches), max(batches))
            targets = choose_targets(flavour, ())
            write_plan(onnx_file, path, BuildSettings(flavour=flavour, profiles=(profile,), targets=targets))
        return path


def random_pixels(batch: int, image_hw: tuple[int, int], seed: int) -> Pixels:
    """(N, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (batch, *image_hw, 3), dtype=np.uint8)


def torch_run(module: Any, inputs: tuple[Any, ...], threads: int | None, *, compiled: bool) -> "Open":
    """Return what runs a module in PyTorch. Every sitting uses the one that was compiled: again takes a minute."""
    from lstn.nn.costs.taken_apart import runner

    run = runner(module, inputs, compiled=compiled, threads=threads)
    return lambda: nullcontext(run)


def engine_run(path: Path, pixels: Pixels, threads: int | None) -> "Open":
    """Return what opens an engine file, an ONNX file on the CPU, to infer `pixels` again and again."""
    return partial(_engine_run, path, pixels, threads)


def openvino_run(path: Path, pixels: Pixels, threads: int | None) -> "Open":
    """Return what opens an ONNX file in OpenVINO, to infer `pixels` again and again."""
    return partial(_openvino_run, path, pixels, threads)


@contextmanager
def _engine_run(path: Path, pixels: Pixels, threads: int | None) -> "Iterator[TimedCall]":
    from lstn.runtime.engines.opening import open_engine

    device = Device.CPU if path.suffix == ".onnx" else Device.AUTO
    with open_engine(path, device=device, threads=threads, spin=False) as engine:
        yield partial(engine.infer, pixels)


@contextmanager
def _openvino_run(path: Path, pixels: Pixels, threads: int | None) -> "Iterator[TimedCall]":
    from lstn.runtime.engines.openvino_engine import open_openvino

    with open_openvino(path, threads=threads) as engine:
        yield partial(engine.infer, pixels)


def has_openvino(tell: Callable[[str], None]) -> bool:
    """Return whether OpenVINO is installed, and `tell` if it isn't."""
    from lstn.imports import require

    try:
        require("openvino", extra="openvino")
    except MissingExtra as error:
        tell(f"left out: {error.message}; {error.hint}")
        return False
    return True
