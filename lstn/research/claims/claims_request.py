"""Request of `lstn claims`: what to time, and the names of what is timed."""

from dataclasses import dataclass
from enum import Enum

EAGER, COMPILED = "PyTorch", "torch.compile"
ORT, ORT_DEFAULT = "ONNX Runtime", "ONNX Runtime, default export"
OPENVINO, OPENVINO_DEFAULT = "OpenVINO", "OpenVINO, default export"
"""What runs an entrant, as a reader knows it."""

LABELS = tuple("0123456789")
"""Ten classes, as in the paper's Table 5."""


class ComparedEngine(str, Enum):
    """What the localizers are compared on: a kind of engine, as `--engine` calls it everywhere, or PyTorch itself."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH = "torch"
    TRT = "trt"
    TRT_RTX = "trt-rtx"

    @property
    def shown(self) -> str:
        """Its name for a reader."""
        return _TITLES[self]


_TITLES = {
    ComparedEngine.ONNX: ORT,
    ComparedEngine.OPENVINO: OPENVINO,
    ComparedEngine.TORCH: EAGER,
    ComparedEngine.TRT: "TensorRT",
    ComparedEngine.TRT_RTX: "TensorRT for RTX",
}
ON_GPU = (ComparedEngine.TRT, ComparedEngine.TRT_RTX)


@dataclass(frozen=True, slots=True)
class ClaimsRequest:
    """What is timed, and how.

    models:     backbones
    image_size: side of the input in pixels; None takes each backbone's own
    batches:    images a call
    threads:    of every library, within one operator; None leaves each its choice
    peers:      whether PyTorch, torch.compile, OpenVINO and the default exports run in the same races
    seconds:    about how long each entrant is timed at each batch size
    """

    models: tuple[str, ...] = ("resnet-18",)
    image_size: int | None = None
    batches: tuple[int, ...] = (1,)
    threads: int | None = 1
    engine: ComparedEngine = ComparedEngine.ONNX
    peers: bool = True
    seconds: float = 6.0
    seed: int = 0
