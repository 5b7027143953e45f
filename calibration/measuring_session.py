"""A model in ONNX Runtime on the CPU, for measuring; its errors become ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from lstn.errors import ArtifactError

Arrays: TypeAlias = list[npt.NDArray[np.float32]]

_FATAL = 4


class Session:
    """Runs one model, which errors call `name`."""

    def __init__(self, model: Path | onnx.ModelProto, name: str) -> None:
        self._name = name
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL
        try:
            source = str(model) if isinstance(model, Path) else model.SerializeToString()
            self._session: Any = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's classes have no base of their own
            raise ArtifactError(f"{name}: ONNX Runtime can't open it on the CPU: {_told(error)}") from error

    def run(self, outputs: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Return these outputs.

        Raises:
            ArtifactError: ONNX Runtime can't compute them.
        """
        try:
            found: Arrays = self._session.run(list(outputs), dict(inputs))
        except Exception as error:
            raise ArtifactError(f"{self._name}: ONNX Runtime failed on it: {_told(error)}") from error
        return found


def _told(error: Exception) -> str:
    """`[ONNXRuntimeError] : 1 : FAIL : what happened` -> what happened, on one line."""
    return " ".join(str(error).split()).split(" : ", 3)[-1][:300]
