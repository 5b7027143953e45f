"""OpenVINO on the CPU, from model.xml or the same model.onnx as ONNX Runtime, computing in float32 where the file does.

Left to itself, or asked for bfloat16, OpenVINO computes a float32 model in bfloat16 on a CPU that has it, theta too:
that moved the corners by 0.3 px in a trained model at 64 x 64, and by far more in an untrained one. Marks on single
operators change nothing (`precise` and `disable_fp16_compression`, tried with 2026.4). A file whose backbone is
bfloat16 is computed so under the f32 hint too, and its theta in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc, check_sees
from lstn.errors import ArtifactError, DeviceError, closed_engine
from lstn.formats.described import check_tensors
from lstn.formats.openvino_file import CPU_SETTINGS, read_pair
from lstn.images import Pixels
from lstn.imports import require
from lstn.machine.signal_stack import signal_stack_kept
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.onnxruntime_engine import MAX_BATCH, check_onnx
from lstn.runtime.engines.prediction import Prediction, check_pixels, check_prediction, check_rows
from lstn.runtime.engines.slots import SLOTS, Slots, open_slots


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
        return self._prediction(self._graph.run({PIXELS: pixels}), len(pixels))

    def slots(self, rows: int, *, most: int = SLOTS) -> AbstractContextManager[Slots]:
        """Open slots; see `Engine.slots`. Each has requests of its own, which wait in OpenVINO's queue."""
        check_rows(rows, self.max_batch)
        return open_slots(
            lambda: _OpenVinoSlot((rows, *self.contract.image_hw, 3), self._graph, self._prediction), most=most
        )

    def _prediction(self, answers: dict[str, npt.NDArray[np.float32]], count: int) -> Prediction:
        theta = None if self.contract.loc is Loc.NONE else answers[THETA]
        return check_prediction(Prediction(answers[LOGITS], theta), self.contract, count, source=str(self._path))


class _OpenVinoSlot:
    """`lstn.runtime.engines.slots.SlotWork` of a graph."""

    def __init__(
        self,
        shape: tuple[int, ...],
        graph: "OpenVinoGraph",
        prediction: Callable[[dict[str, npt.NDArray[np.float32]], int], Prediction],
    ) -> None:
        self.pixels: Pixels = np.zeros(shape, np.uint8)
        self._graph = graph
        self._prediction = prediction
        self._requests: dict[int, GraphRequest] = {}
        self._under_way: GraphRequest | None = None

    def start(self, count: int) -> None:
        """See `SlotWork`."""
        if count not in self._requests:
            self._requests[count] = self._graph.request({PIXELS: self.pixels[:count]})
        self._requests[count].start()
        self._under_way = self._requests[count]

    def finish(self, count: int) -> Prediction:
        """See `SlotWork`."""
        return self._prediction(self._requests[count].answers(), count)

    def cancel(self) -> None:
        """See `SlotWork`. OpenVINO doesn't stop in the middle of a batch."""
        with suppress(DeviceError):
            if self._under_way is not None:
                self._under_way.answers()

    def close(self) -> None:
        """See `SlotWork`."""
        self._under_way = None
        self._requests.clear()


class OpenVinoGraph:
    """Any graph that OpenVINO reads, with a contract or without."""

    def __init__(self, path: Path, *, threads: int | None) -> None:
        ov = require("openvino", extra="openvino")
        self._path = path
        self._core: Any = ov.Core()
        self._settings = dict(CPU_SETTINGS)
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = str(threads)
        self._tensor: Any = ov.Tensor
        self._compiled: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}
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
        self._refuse_closed()
        with _telling(self._path):
            if shapes not in self._requests:
                self._requests[shapes] = self._compiled_for(feeds).create_infer_request()
            request = self._requests[shapes]
            request.infer(feeds, share_inputs=True)
            return _outputs_of(request)

    def request(self, feeds: dict[str, npt.NDArray[Any]]) -> "GraphRequest":
        """Return a request that reads its inputs from these arrays, C-contiguous, whenever it is started.

        Raises:
            DeviceError: OpenVINO can't compile the graph for these shapes.
        """
        self._refuse_closed()
        with _telling(self._path):
            request = self._compiled_for(feeds).create_infer_request()
            for name, array in feeds.items():
                request.set_tensor(name, self._tensor(array, shared_memory=True))
        return GraphRequest(self._path, request)

    def close(self) -> None:
        """Free what was compiled."""
        self._requests.clear()
        self._compiled.clear()
        self._model = None

    def _refuse_closed(self) -> None:
        if self._model is None:
            raise closed_engine(self._path)

    def _compiled_for(self, feeds: dict[str, npt.NDArray[Any]]) -> Any:
        shapes = tuple(array.shape for array in feeds.values())
        if shapes not in self._compiled:
            model = self._model.clone()
            model.reshape({name: list(array.shape) for name, array in feeds.items()})
            with signal_stack_kept():
                self._compiled[shapes] = self._core.compile_model(model, "CPU", self._settings)
        return self._compiled[shapes]


class GraphRequest:
    """One request of a graph, with inputs of its own: started, and asked for its answers later."""

    def __init__(self, path: Path, request: Any) -> None:
        self._path = path
        self._request = request

    def start(self) -> None:
        """Start to compute, after whatever the graph computes already.

        Raises:
            DeviceError: OpenVINO refuses.
        """
        with _telling(self._path):
            self._request.start_async()

    def answers(self) -> dict[str, npt.NDArray[np.float32]]:
        """Wait, and return name -> array for every output; the arrays are the caller's to keep.

        Raises:
            DeviceError: OpenVINO failed.
        """
        with _telling(self._path):
            self._request.wait()
            return _outputs_of(self._request)


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
    with _opened(path, check_xml(path), threads) as engine:
        yield engine


def check_xml(path: Path) -> Contract:
    """Return the contract of an .xml whose inputs and outputs are those that it describes, with its own weights.

    Raises:
        ArtifactError: what `read_pair` refuses, or other inputs and outputs.
    """
    record, file = read_pair(path)
    check_tensors(path, record.contract, file.inputs, file.outputs)
    return record.contract


@contextmanager
def _opened(path: Path, contract: Contract, threads: int | None) -> Iterator[Engine]:
    check_sees(contract.task, path)
    graph = OpenVinoGraph(path, threads=threads)
    try:
        yield OpenVinoEngine(path, contract, graph)
    finally:
        graph.close()


def _outputs_of(request: Any) -> dict[str, npt.NDArray[np.float32]]:
    answers = [(port.get_names(), request.get_tensor(port).data.copy()) for port in request.model_outputs]
    return {name: data for names, data in answers for name in names}  # one behind a Cast has two names


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Make OpenVINO's errors ours."""
    try:
        yield
    except Exception as error:
        raise DeviceError(f"{path}: OpenVINO failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Leave out the lines that say where in its own source OpenVINO threw."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(told)[:300] or type(error).__name__
