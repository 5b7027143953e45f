"""ONNX graphs of single parts of a model, which have no contract and inputs of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.imports import require
from lstn.machine.gpu import Device
from lstn.runtime.engines.onnxruntime_engine import new_session
from lstn.runtime.engines.openvino_engine import OpenVinoGraph

Feeds: TypeAlias = dict[str, npt.NDArray[Any]]
"""Input name -> array."""

RunGraph: TypeAlias = Callable[[Feeds], dict[str, npt.NDArray[np.float32]]]
"""Input name -> array to output name -> array."""


class Library(str, Enum):
    """What runs an ONNX file on a CPU."""

    ONNXRUNTIME = "onnxruntime"
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
    ort = require("onnxruntime", extra="runtime")
    session = new_session(ort, path, device, threads=threads, spin=False)
    names = [output.name for output in session.get_outputs()]
    yield lambda feeds: dict(zip(names, session.run(names, feeds), strict=True))
