"""Loaded plan: an engine of TensorRT with what all of its slots share."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstn.contract import Contract
from lstn.errors import DeviceError
from lstn.runtime.engines.cuda.cuda_seam import Cuda
from lstn.runtime.engines.plans.kernels import KernelCache
from lstn.runtime.engines.plans.plan_loading import Log, Profile, choose


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """An ICudaEngine, and whatever belongs to it and to no single slot.

    lock: held while a context is made
    """

    path: Path
    contract: Contract
    trt: Any
    engine: Any
    profiles: tuple[Profile, ...]
    cuda: Cuda
    log: Log
    kernels: KernelCache
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def max_batch(self) -> int:
        """The largest batch of any profile."""
        return max(profile.largest for profile in self.profiles)

    @property
    def captures_itself(self) -> bool:
        """Whether this TensorRT makes CUDA graphs by itself, as that for RTX does."""
        return hasattr(self.trt, "CudaGraphStrategy")

    @property
    def prepared(self) -> tuple[int, ...]:
        """Batch sizes that get a context and a graph of their own: 1, 2, 4 … max, and what a profile was tuned for."""
        if not (self.captures_itself or self.cuda.graphs):
            return ()
        most = self.max_batch
        powers = (1 << exponent for exponent in range(most.bit_length()))
        return tuple(sorted({*powers, most, *(profile.best for profile in self.profiles)}))

    def computed(self, count: int) -> int:
        """Return how many images are computed at most for `count` of them."""
        padded = next((size for size in self.prepared if size >= count), count)
        return max(choose(self.profiles, padded)[1], choose(self.profiles, count)[1])

    def failed(self, what: str, *, hint: str = "") -> DeviceError:
        """Return an error that says what TensorRT said in this thread."""
        return DeviceError(f"{self.path}: TensorRT {what}: {self.log.text()}", hint=hint)
