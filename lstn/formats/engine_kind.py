"""Kinds of engines, and samplers, as the options `--engine` and `--sampler` name them."""

from enum import Enum

from lstn.formats.plan_file import Flavour


class EngineKind(str, Enum):
    """What an engine is a file for, as `--engine` calls it: what to make in `lstn export`, what to run elsewhere."""

    ONNX = "onnx"
    TRT = Flavour.TRT.value
    TRT_RTX = Flavour.TRT_RTX.value
    OPENVINO = "openvino"

    @property
    def flavour(self) -> Flavour | None:
        """The TensorRT that builds it; None: none does."""
        return None if self in (EngineKind.ONNX, EngineKind.OPENVINO) else Flavour(self.value)


class Sampler(str, Enum):
    """How the sampler is written into model.onnx. The names are of whoever computes it."""

    NATIVE = "native"
    FUSED = "fused"
