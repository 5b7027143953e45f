"""The same noise through PyTorch and through the file of a generator: how far apart are the pictures?"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import LABEL, NOISE, PIXELS, THETA, Contract, Loc
from lstn.errors import ArtifactError, DeviceError, VerificationError
from lstn.formats.onnx_session import OnnxSession
from lstn.imports import require
from lstn.warps.warp import drift_px

if TYPE_CHECKING:
    from lstn.nn.generation.generator import Generator

PICTURES = 64
"""How many are compared, as many of each class as of another."""

TOLERANCE = 1e-4
"""Largest difference of a pixel before it is rounded to a gray level, on the 0..1 scale."""

DRIFT_TOLERANCE_PX = 0.01
"""Largest drift of theta, in pixels."""

_BATCHES = (1, 2, 7, 16)
"""Several sizes, since a graph that took its example's batch for a constant runs at that one alone."""

BEFORE_ROUNDING = "before_rounding"
"""Name of the output that a graph is compared by, which no file has: pixels (N, H, W, 3) float32, 0..255."""

NamedInputs: TypeAlias = Mapping[str, npt.NDArray[Any]]
Runner: TypeAlias = Callable[[NamedInputs], Mapping[str, npt.NDArray[Any]]]
"""Runs a graph: the arrays of its inputs by name -> those of its outputs."""


@dataclass(frozen=True, slots=True)
class GeneratorAgreement:
    """How two forms of a generator compare.

    images:     how many pictures were compared
    difference: the largest of a pixel before rounding, on the 0..1 scale
    same_bytes: share of the bytes of the pictures that are equal, 0..1
    drift_px:   the largest drift of theta, in pixels; None of loc `none`
    """

    images: int
    difference: float
    same_bytes: float
    drift_px: float | None

    def __str__(self) -> str:
        """Return the figures as part of a sentence."""
        drift = "" if self.drift_px is None else f", drift {self.drift_px:.1e} px"
        return f"largest difference of a pixel {self.difference:.1e}, equal bytes {100 * self.same_bytes:.4f} %{drift}"


def verify_generator(path: Path, model: "Generator", contract: Contract) -> GeneratorAgreement:
    """Compare the ONNX file at `path`, in ONNX Runtime on the CPU, with `model`, in evaluation mode on the CPU.

    Raises:
        VerificationError: pictures or theta differ by more than the tolerance, or the file doesn't run.
    """
    try:
        found = compare_pictures(onnx_runner(path), of_torch(model), contract)
    except (ArtifactError, DeviceError) as error:
        raise VerificationError(f"ONNX Runtime can't run the exported model: {error.message}") from error
    return close_enough(found, "the exported model differs from PyTorch")


def close_enough(found: GeneratorAgreement, otherwise: str) -> GeneratorAgreement:
    """Return an agreement that is close enough; `otherwise` says what is wrong if it isn't.

    Raises:
        VerificationError: it isn't.
    """
    # Said so that a number that is not one fails.
    if not (found.difference <= TOLERANCE and (found.drift_px or 0.0) <= DRIFT_TOLERANCE_PX):
        raise VerificationError(f"{otherwise}: {found}")
    return found


def with_unrounded(path: Path) -> bytes:
    """Return the graph of a generator's file with one output more: its pixels before rounding, (N, H, W, 3), 0..255.

    Raises:
        VerificationError: it does not round, or more than once.
    """
    onnx = require("onnx", extra="export")  # here, for other OpenVINO models are made of ONNX files without it
    proto = onnx.load(path)
    rounding = [node for node in proto.graph.node if node.op_type == "Round"]
    if len(rounding) != 1:
        raise VerificationError(f"the exported graph rounds {len(rounding)} times, expected once")
    copy = onnx.helper.make_node("Identity", [rounding[0].input[0]], [BEFORE_ROUNDING])
    proto.graph.node.append(copy)
    proto.graph.output.append(onnx.helper.make_tensor_value_info(BEFORE_ROUNDING, onnx.TensorProto.FLOAT, None))
    buffer = io.BytesIO()
    onnx.save(proto, buffer)
    return buffer.getvalue()


def onnx_runner(path: Path) -> Runner:
    """Return what runs a generator's file in ONNX Runtime on the CPU, with the output BEFORE_ROUNDING.

    Raises:
        ArtifactError, DeviceError: ONNX Runtime can't; the latter when it runs.
    """
    session = OnnxSession(with_unrounded(path))
    return lambda feeds: dict(zip(session.outputs, session.run(feeds), strict=True))


def of_torch(model: "Generator") -> Runner:
    """Return what runs a model in PyTorch as if it were a graph of `with_unrounded`."""
    import torch

    @torch.inference_mode()
    def run(feeds: NamedInputs) -> Mapping[str, npt.NDArray[Any]]:
        inputs = torch.from_numpy(feeds[NOISE]), torch.from_numpy(feeds[LABEL])
        answer = model(*inputs)
        named = dict(zip((PIXELS, THETA), answer if isinstance(answer, tuple) else (answer,), strict=False))
        named[BEFORE_ROUNDING] = 255 * model.paint(*inputs).pictures.permute(0, 2, 3, 1)
        return {name: tensor.numpy() for name, tensor in named.items()}

    return run


def compare_pictures(
    found: Runner, expected: Runner, contract: Contract, *, count: int = PICTURES
) -> GeneratorAgreement:
    """Compare what two forms of a generator paint, each with the output BEFORE_ROUNDING."""
    noise = np.random.default_rng(0).standard_normal((count, contract.noise), np.float32)
    labels = np.arange(count, dtype=np.int64) % len(contract.labels)
    difference, equal, drift = np.float64(0), 0.0, np.float64(0)  # whose maximum with what is no number is none
    for part in _parts(count):
        one, other = (run({NOISE: noise[part], LABEL: labels[part]}) for run in (found, expected))
        difference = np.maximum(difference, np.abs(one[BEFORE_ROUNDING] - other[BEFORE_ROUNDING]).max() / 255)
        equal += float((one[PIXELS] == other[PIXELS]).mean()) * len(labels[part])
        if contract.loc is not Loc.NONE:
            drift = np.maximum(drift, drift_px(one[THETA], other[THETA], contract.image_hw).max())
    placed = None if contract.loc is Loc.NONE else float(drift)
    return GeneratorAgreement(count, float(difference), equal / count, placed)


def _parts(count: int) -> Sequence[slice]:
    """Cut pictures into batches of several sizes."""
    parts: list[slice] = []
    start = 0
    while start < count:
        size = _BATCHES[min(len(parts), len(_BATCHES) - 1)]
        parts.append(slice(start, min(start + size, count)))
        start += size
    return parts
