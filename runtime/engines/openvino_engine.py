"""OpenVINO on the CPU, from model.xml or the same model.onnx as ONNX Runtime, computing in float32 where the file does.

Left to itself, or asked for bfloat16, OpenVINO computes a float32 model in bfloat16 on a CPU that has it, theta too:
that moved the corners by 0.3 px in a trained model at 64 x 64, and by far more in an untrained one. Marks on single
operators change nothing (`precise` and `disable_fp16_compression`, tried with 2026.4). A file whose backbone is
bfloat16 is computed so under the f32 hint too, and its theta in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import ArtifactError, DeviceError
from lstn.formats.described import check_tensors
from lstn.formats.openvino_file import CPU_SETTINGS, read_pair
from lstn.images import Pixels
from lstn.imports import require
from lstn.machine.signal_stack import signal_stack_kept
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.onnxruntime_engine import MAX_BATCH, check_onnx
from lstn.runtime.engines.prediction import Prediction, check_pixels, check_prediction


class OpenVinoEngine(Engine):
    """A model in OpenVINO, compiled for each batch size that it meets: open shapes cost it time in every call."""

    def __init__(self, path: Path, contract: Contract, graph: "OpenVinoGraph") -> None:
        self.contract = contract
        self.max_batch = MAX_BATCH
        self._path = path
        self._graph = graph

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, …) float32; see `Engine.infer`."""
        check_pixels(pixels, self.contract, self.max_batch)
        answers = self._graph.run({PIXELS: pixels})
        theta = None if self.contract.loc is Loc.NONE else answers[THETA]
        return check_prediction(Prediction(answers[LOGITS], theta), self.contract, len(pixels), source=str(self._path))


class OpenVinoGraph:
    """Any graph that OpenVINO reads, with a contract or without."""

    def __init__(self, path: Path, *, threads: int | None) -> None:
        ov = require("openvino", extra="openvino")
        self._path = path
        self._core: Any = ov.Core()
        self._settings = dict(CPU_SETTINGS)
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = str(threads)
        self._compiled: dict[tuple[tuple[int, ...], ...], Any] = {}
        try:
            self._model: Any = self._core.read_model(path)
        except Exception as error:  # one RuntimeError for everything, with pages of where it was thrown
            raise ArtifactError(f"{path}: OpenVINO can't read it: {_told(error)}") from error

    def run(self, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Name -> array for every input, and likewise for every output; the arrays are the caller's to keep.

        Raises:
            DeviceError: OpenVINO can't compile the graph for these shapes, or fails to run it.
        """
        shapes = tuple(array.shape for array in feeds.values())
        try:
            if shapes not in self._compiled:
                model = self._model.clone()
                model.reshape({name: list(array.shape) for name, array in feeds.items()})
                with signal_stack_kept():
                    compiled = self._core.compile_model(model, "CPU", self._settings)
                self._compiled[shapes] = compiled.create_infer_request()
            request = self._compiled[shapes]
            request.infer(feeds, share_inputs=True)
            answers = [(port.get_names(), request.get_tensor(port).data.copy()) for port in request.model_outputs]
            return {name: data for names, data in answers for name in names}  # one behind a Cast has two names
        except Exception as error:
            raise DeviceError(f"{self._path}: OpenVINO failed: {_told(error)}") from error

    def close(self) -> None:
        """Free what was compiled."""
        self._compiled.clear()


@contextmanager
def open_openvino(path: Path, *, threads: int | None) -> Iterator[Engine]:
    """Open an ONNX file of lstn in OpenVINO, on the CPU.

    Raises:
        ArtifactError: no ONNX file, not one of lstn, or one that OpenVINO can't read.
        MissingExtra: OpenVINO isn't installed.
    """
    with _opened(path, check_onnx(path), threads) as engine:
        yield engine


@contextmanager
def open_xml(path: Path, *, threads: int | None) -> Iterator[Engine]:
    """Open an .xml of lstn, and the .bin beside it, on the CPU.

    Raises:
        ArtifactError: no OpenVINO model, not one of lstn, not with its own weights, or one that OpenVINO can't read.
        MissingExtra: OpenVINO isn't installed.
    """
    record, file = read_pair(path)
    check_tensors(path, record.contract, file.inputs, file.outputs)
    with _opened(path, record.contract, threads) as engine:
        yield engine


@contextmanager
def _opened(path: Path, contract: Contract, threads: int | None) -> Iterator[Engine]:
    graph = OpenVinoGraph(path, threads=threads)
    try:
        yield OpenVinoEngine(path, contract, graph)
    finally:
        graph.close()


def _told(error: Exception) -> str:
    """Leave out the lines that say where in its own source OpenVINO threw."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(told)[:300] or type(error).__name__
