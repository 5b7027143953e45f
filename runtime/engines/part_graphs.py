"""ONNX graphs of single parts of a model, which have no contract and inputs of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.formats.onnx_session import OnnxSession
from lstn.machine.gpu import Device
from lstn.runtime.engines.openvino_engine import OpenVinoGraph

Feeds: TypeAlias = dict[str, npt.NDArray[Any]]
"""Input name -> array."""

RunGraph: TypeAlias = Callable[[Feeds], dict[str, npt.NDArray[np.float32]]]
"""Input name -> array to output name -> array."""


class Library(str, Enum):
    """What runs an ONNX file on a CPU, by the kind of engine that it is for."""

    ONNX = "onnx"
    OPENVINO = "openvino"


@contextmanager
def open_graph(path: Path, library: Library, *, device: Device, threads: int | None) -> Iterator[RunGraph]:
    """Open any ONNX file. device: cpu or cuda, for ONNX Runtime.

    Raises:
        ArtifactError: the library can't open it.
        MissingExtra: the library isn't installed.
    """
    if library is Library.OPENVINO:
        graph = OpenVinoGraph(path, threads=threads)
        try:
            yield graph.run
        finally:
            graph.close()
        return
    session = OnnxSession(path, cuda=device is Device.CUDA, threads=threads, spin=False)
    yield lambda feeds: dict(zip(session.outputs, session.run(feeds), strict=True))
