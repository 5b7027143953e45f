"""A TensorRT plan on disk: the header of the engine itself, and the sidecar that carries the contract."""

import json
import struct
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from lstn.contract import Contract
from lstn.errors import ArtifactError
from lstn.files import sha256_of
from lstn.formats.training_record import Training, unfolded
from lstn.untrusted.checked_json import Count, checked, damaged, parsed, read_bytes

_HEADER_BYTES = 64
_MAX_SIDECAR = 8 << 20
_MAX_DLA_CORES = 16


class Flavour(str, Enum):
    """Which TensorRT built a plan; the value is what `--engine` calls it."""

    TRT = "trt"
    TRT_RTX = "trt-rtx"

    @property
    def product(self) -> str:
        """The product's name, for messages."""
        return {Flavour.TRT: "TensorRT", Flavour.TRT_RTX: "TensorRT for RTX"}[self]

    @property
    def module(self) -> str:
        """The name to import it by."""
        return {Flavour.TRT: "tensorrt", Flavour.TRT_RTX: "tensorrt_rtx"}[self]


RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""Compute capabilities that TensorRT for RTX 1.7 builds for, with or without a GPU."""

MAGIC = {b"ftrt": Flavour.TRT, b"vtrt": Flavour.TRT_RTX}
"""A plan's first four bytes -> who built it."""


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """The first bytes of a plan: who built it, with which version, and how many bytes follow."""

    flavour: Flavour
    version: str
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the engine sees it; -1 stands for the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What stands in `model.plan.json`.

    targets:             compute capabilities, such as `sm89`, that the plan was built for
    profiles:            minimum, optimum and maximum batch of each profile, in the engine's order
    gpu:                 name of the GPU whose kernels TensorRT timed; empty for TensorRT for RTX, which times none
    hardware_compatible: runs on other GPUs from Ampere on too
    version_compatible:  runs with newer versions of TensorRT too; such a plan holds code for the host
    dla_core:            the DLA that runs part of it, or None
    training:            what the model was trained on, or None
    compared_images:     how many the plan and its ONNX file answered alike before it got its name; 0 where its GPU
                         wasn't there for it
    tf32:                float32 is multiplied in TF32
    """

    contract: Contract
    plan_sha256: str
    onnx_sha256: str
    flavour: Flavour
    version: str
    targets: tuple[str, ...]
    profiles: Annotated[tuple[tuple[Count, Count, Count], ...], Meta(min_length=1)]
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gpu: str = ""
    hardware_compatible: bool = False
    version_compatible: bool = False
    dla_core: Annotated[int, Meta(ge=0, lt=_MAX_DLA_CORES)] | None = None
    training: Training | None = None
    compared_images: Annotated[int, Meta(ge=0)] = 0
    tf32: bool = False

    @property
    def batch(self) -> tuple[int, int, int]:
        """The smallest and the largest batch of all profiles; between them, what the profile of the largest is for."""
        lows, optima, highs = zip(*self.profiles, strict=True)
        return min(lows), optima[highs.index(max(highs))], max(highs)

    @property
    def batches(self) -> str:
        """The profiles as a person reads them, such as `1 to 32, fastest at 8`."""
        return "; ".join(
            f"{low}" if low == high else f"{low} to {high}, fastest at {optimum}"
            for low, optimum, high in self.profiles
        )

    def to_json(self) -> str:
        """Return the sidecar as indented JSON; contract and training stay the strings that they are everywhere."""
        texts = {"contract": self.contract.to_json(), "training": self.training and self.training.to_json()}
        return json.dumps(asdict(self) | texts | {"flavour": self.flavour.value}, indent=1)


_REQUIRED = {each.name for each in fields(Sidecar)} - {"training", "compared_images", "tf32"}
"""Sidecars of lstn 0.1 have neither."""


def runs_compatible_plans(target: str) -> bool:
    """Whether a hardware-compatible plan of TensorRT (AMPERE_PLUS) runs on GPUs of this compute capability.

    NVIDIA's documentation excludes JetPack and DRIVE OS: Orin is sm87; Thor sm101, which CUDA 13 calls sm110.
    """
    return int(target.removeprefix("sm")) >= 80 and target not in ("sm87", "sm101", "sm110")


def sidecar_path(plan: Path) -> Path:
    """`model.plan` -> `model.plan.json`."""
    return plan.with_name(plan.name + ".json")


def read_header(plan: Path) -> PlanHeader:
    """Read a plan's header and check it against the file's size.

    Raises:
        ArtifactError: unreadable, not a plan, or cut off.
    """
    try:
        with plan.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        size = plan.stat().st_size
    except OSError as error:
        raise ArtifactError(f"{plan}: {error.strerror or error}") from error
    flavour = MAGIC.get(head[:4])
    if flavour is None or len(head) < _HEADER_BYTES:
        raise ArtifactError(f"{plan}: not a TensorRT plan", hint="make one with: lstn export --engine trt")
    (payload,) = struct.unpack_from("<Q", head, 16)
    if flavour is Flavour.TRT_RTX and size < payload:
        raise ArtifactError(
            f"{plan}: cut off, {size} of at least {payload} bytes are there",
            hint=f"copy it again, or rebuild it with: lstn export --engine {flavour.value}",
        )
    return PlanHeader(flavour, ".".join(str(byte) for byte in head[24:28]), payload)


def read_sidecar(plan: Path) -> Sidecar:
    """Read `plan`'s sidecar and check that it belongs to this plan, byte for byte.

    Raises:
        ArtifactError: no sidecar, a damaged one, or one that describes other bytes.
    """
    path = sidecar_path(plan)
    if not path.exists():
        raise ArtifactError(f"{path}: missing, and it says what {plan.name} is", hint="keep the two files together")
    sidecar = _parse(read_bytes(path, most=_MAX_SIDECAR, what="a sidecar"), path)
    if sidecar.plan_sha256 != sha256_of(plan):
        raise ArtifactError(
            f"{path}: describes another plan, or {plan.name} is damaged (its SHA-256 differs)",
            hint=f"rebuild both with: lstn export --engine {sidecar.flavour.value}",
        )
    return sidecar


def _parse(data: bytes, path: Path) -> Sidecar:
    try:
        sidecar = checked(unfolded(parsed(data), source=str(path)), Sidecar, required=_REQUIRED)
        for low, optimum, high in sidecar.profiles:
            if not low <= optimum <= high:
                raise ValueError(f"profiles: expected sizes in ascending order, found {low}, {optimum}, {high}")
    except ValueError as error:
        raise damaged(path, "sidecar", error, hint="rebuild the plan with: lstn export") from error
    return sidecar
