"""What every engine is, whatever runs it; and the one place where a file's kind picks the library."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import Contract, Loc
from lstn.cores import core_quota
from lstn.errors import ArtifactError, UsageError
from lstn.gpu import Device
from lstn.images import Pixels
from lstn.runtime.preflight import instead
from lstn.warp import Theta

Logits: TypeAlias = npt.NDArray[np.float32]
"""(N, K) float32, one column per label, before softmax."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an engine answers: logits (N, K) float32, and theta (N, 2, 3) float32 or None for a model without one."""

    logits: Logits
    theta: Theta | None


class Engine(Protocol):
    """A model that is ready to run. Not for several threads at once: let one own it.

    max_batch: images that it computes at once
    """

    contract: Contract
    max_batch: int

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB with 1 <= N <= max_batch -> logits (N, K) float32, theta (N, 2, 3) float32 or None.

        The arrays returned are the caller's to keep. A plan takes more images too, and computes them in pieces.

        Raises:
            UsageError: pixels of another dtype or shape.
            ArtifactError: the model answers with shapes that its contract doesn't describe.
            DeviceError: the library or the GPU failed.
        """


def open_engine(
    path: Path, *, device: Device = Device.AUTO, threads: int | None = None, spin: bool = True
) -> AbstractContextManager[Engine]:
    """Open `.onnx` with ONNX Runtime, `.plan` with the TensorRT that built it, `.xml` with OpenVINO; for a `with`.

    device:  where an ONNX model runs; a plan runs on the GPU or not at all, an .xml on the CPU
    threads: of ONNX Runtime or OpenVINO within one operator; None for what a container's
             quota allows, or, without one, the library's choice, one for each physical core
    spin:    whether ONNX Runtime's threads wait busily between operators: faster when alone, and costly to whoever
             shares the cores, so no for every engine of several

    Raises:
        UsageError: no such file, or no kind of file that an engine reads.
        ArtifactError, DeviceError, MissingExtra: on entering the `with`: the file, the machine or the installation.
    """
    if not path.exists():
        unbuilt = path.suffix.lower() == ".plan" and path.with_suffix(".onnx").is_file()
        raise UsageError(f"{path}: no such file", hint=instead(path) if unbuilt else "make a model with: lstn export")
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: this path is not text in UTF-8, as engines want it", hint="rename it") from error
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None or not path.is_file():
        export = f"lstn export {path}" if path.suffix == ".safetensors" else "lstn export"
        raise UsageError(
            f"{path}: no engine; wanted {' or '.join(f'a {suffix} file' for suffix in _OPENERS)}",
            hint=f"make one with: {export}",
        )
    return opener(path, device, threads or core_quota(), spin)  # the libraries see cores, and no quota


def _open_onnx(path: Path, device: Device, threads: int | None, spin: bool) -> AbstractContextManager[Engine]:
    from lstn.runtime.onnxruntime import open_onnx

    return open_onnx(path, device=device, threads=threads, spin=spin)


def _open_plan(path: Path, device: Device, threads: int | None, spin: bool) -> AbstractContextManager[Engine]:
    from lstn.runtime.tensorrt import open_plan

    if device is Device.CPU:
        raise UsageError(f"{path}: a TensorRT plan runs on an NVIDIA GPU only", hint=f"on the CPU, {instead(path)}")
    return open_plan(path)


def _open_xml(path: Path, device: Device, threads: int | None, spin: bool) -> AbstractContextManager[Engine]:
    from lstn.runtime.openvino import open_xml

    if device is Device.CUDA:
        raise UsageError(f"{path}: OpenVINO runs on the CPU only", hint="leave out --device")
    return open_xml(path, threads=threads)


_OPENERS: dict[str, Callable[[Path, Device, int | None, bool], AbstractContextManager[Engine]]] = {
    ".onnx": _open_onnx,
    ".plan": _open_plan,
    ".xml": _open_xml,
}


def check_pixels(pixels: Pixels, contract: Contract, max_batch: int | None) -> None:
    """Refuse pixels that are not (N, H, W, 3) uint8 with 1 <= N <= max_batch; None: any number of them.

    Raises:
        UsageError: they aren't.
    """
    check_shape(str(pixels.dtype), pixels.shape, contract, max_batch)


def check_shape(dtype: str, shape: tuple[int, ...], contract: Contract, max_batch: int | None) -> None:
    """Refuse what `check_pixels` refuses, wherever the pixels are.

    Raises:
        UsageError: as there.
    """
    height, width = contract.image_hw
    fits = dtype == "uint8" and len(shape) == 4 and shape[1:] == (height, width, 3)
    if not fits or not 1 <= shape[0] <= (max_batch or shape[0]):
        most = "of 1 or more" if max_batch is None else f"from 1 to {max_batch}"
        raise UsageError(f"pixels are {dtype} {shape}; wanted uint8 (N, {height}, {width}, 3) with N {most}")


def check_prediction(prediction: Prediction, contract: Contract, count: int, *, source: str) -> Prediction:
    """Return `prediction` if its shapes are those of `count` images by this contract; `source` names the file.

    Raises:
        ArtifactError: the file's contract doesn't describe what the model computes.
    """
    wanted: dict[str, tuple[int, ...]] = {"logits": (count, len(contract.labels))}
    found: dict[str, tuple[int, ...]] = {"logits": prediction.logits.shape}
    if contract.loc is not Loc.NONE:
        wanted["theta"] = (count, 2, 3)
        found["theta"] = () if prediction.theta is None else prediction.theta.shape
    if found != wanted:
        raise ArtifactError(f"{source}: answered {found}, its contract says {wanted}", hint="make it anew: lstn export")
    return prediction
