"""Kinds of files that `lstn export` can make, as its options name them."""

from enum import Enum

from lstn.formats.plan_file import Flavour


class ExportFormat(str, Enum):
    """What to make of a checkpoint."""

    ONNX = "onnx"
    TRT = Flavour.TRT.value
    TRT_RTX = Flavour.TRT_RTX.value
    OPENVINO = "openvino"

    @property
    def flavour(self) -> Flavour | None:
        """The TensorRT that builds it; None: none does."""
        return None if self in (ExportFormat.ONNX, ExportFormat.OPENVINO) else Flavour(self.value)


class Sampler(str, Enum):
    """How the sampler is written into model.onnx. The names are of whoever computes it."""

    NATIVE = "native"
    FUSED = "fused"
