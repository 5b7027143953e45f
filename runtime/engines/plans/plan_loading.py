"""Loading of plans: from a plan's bytes to an engine of TensorRT or TensorRT for RTX that fits its contract.

Both libraries log and return None or False where others raise; here every such answer becomes an error.
"""

import threading
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import ArtifactError
from lstn.formats.plan_file import Flavour, Sidecar
from lstn.machine.tensorrt_objects import start
from lstn.runtime.engines.plans.preflight import rebuild


@dataclass(frozen=True, slots=True)
class Profile:
    """An optimization profile of an engine: its number, and the batch sizes that it was built for."""

    index: int
    smallest: int
    best: int
    largest: int


def load_engine(path: Path, sidecar: Sidecar, trt: Any, log: "Log") -> Any:
    """Return the ICudaEngine of a plan; it keeps its runtime alive.

    Raises:
        ArtifactError: TensorRT refuses it, or its inputs and outputs are not those of the contract.
        DeviceError: TensorRT doesn't start, such as under a driver that is too old for it.
    """
    runtime = start(lambda: trt.Runtime(log), log, sidecar.flavour, str(trt.__version__))
    if sidecar.flavour is Flavour.TRT:  # TensorRT for RTX has no plugins
        trt.init_libnvinfer_plugins(log, "")
    if sidecar.version_compatible:
        runtime.engine_host_code_allowed = True  # such a plan brings the part of TensorRT that runs it
    if sidecar.dla_core is not None:
        runtime.DLA_core = sidecar.dla_core
    data = path.read_bytes()
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        why = ", ".join(_diagnoses(trt, runtime, data)) or log.text()
        raise ArtifactError(
            f"{path}: {sidecar.flavour.product} {trt.__version__} can't load it: {why}",
            hint=f"rebuild it with: {rebuild(sidecar.flavour)}",
        )
    _check_tensors(path, engine, sidecar.contract)
    return engine


def outputs_of(contract: Contract) -> dict[str, tuple[int, ...]]:
    """Return name -> shape without the batch of what a model of this contract answers, all float32."""
    logits: dict[str, tuple[int, ...]] = {LOGITS: contract.logits_shape}
    return logits if contract.loc is Loc.NONE else logits | {THETA: contract.theta_shape}


def profiles_of(engine: Any) -> tuple[Profile, ...]:
    """Return the engine's profiles, one at least."""
    return tuple(
        Profile(index, *(int(shape[0]) for shape in engine.get_tensor_profile_shape(PIXELS, index)))
        for index in range(engine.num_optimization_profiles)
    )


def choose(profiles: tuple[Profile, ...], count: int) -> tuple[int, int]:
    """Return the profile for `count` images, at most the largest of all, and how many it has to compute.

    Of those that hold the count it is the one with the smallest maximum, then that with the nearest optimum. Where none
    does, the next larger one computes its minimum.
    """
    holding = [profile for profile in profiles if profile.smallest <= count <= profile.largest]
    if holding:
        return min(holding, key=lambda profile: (profile.largest, abs(profile.best - count))).index, count
    larger = min((profile for profile in profiles if profile.smallest > count), key=lambda profile: profile.smallest)
    return larger.index, larger.smallest


def _diagnoses(trt: Any, runtime: Any, data: bytes) -> list[str]:
    """Only TensorRT for RTX can say why it refuses a plan."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, reasons = runtime.get_engine_validity(data)
    named = trt.EngineInvalidityDiagnostics.__members__
    return [name.lower().replace("_", " ") for name, bit in named.items() if int(reasons) & int(bit)]


def _check_tensors(path: Path, engine: Any, contract: Contract) -> None:
    height, width = contract.image_hw
    wanted: dict[str, tuple[str, str, tuple[int, ...]]] = {PIXELS: ("INPUT", "UINT8", (height, width, 3))}
    wanted |= {name: ("OUTPUT", "FLOAT", shape) for name, shape in outputs_of(contract).items()}
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        mode, dtype = engine.get_tensor_mode(name), engine.get_tensor_dtype(name)
        found[name] = (mode.name, dtype.name, tuple(engine.get_tensor_shape(name))[1:])
    if found != wanted:
        raise ArtifactError(
            f"{path}: its inputs and outputs are {found}; its contract says {wanted}",
            hint="rebuild it with: lstn export",
        )


@cache
def log_of(trt: Any) -> "Log":
    """Return the logger of a TensorRT module. One for the process: TensorRT keeps the first and warns of any other."""

    class Logger(Log, trt.ILogger):  # type: ignore[misc]  # of a package that may be missing
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            Log.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.ERROR):
                self.lines.append(" ".join(message.split()))

    return Logger()


class Log:
    """The last errors that TensorRT told, oldest first; to each thread its own, so that no runner tells another's."""

    def __init__(self) -> None:
        self._heard = threading.local()

    @property
    def lines(self) -> deque[str]:
        """What this thread heard since it last cleared them."""
        if not hasattr(self._heard, "lines"):
            self._heard.lines = deque(maxlen=20)
        lines: deque[str] = self._heard.lines
        return lines

    def text(self) -> str:
        """All of them on one line, each once."""
        return "; ".join(dict.fromkeys(self.lines))[:600] or "it gave no reason"
