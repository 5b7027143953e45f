"""Generation of a model: one opening of its file, how its requests become batches, and its first batch."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstn.contract import Contract, Task
from lstn.errors import ArtifactError, DeviceError, LstnError, UsageError
from lstn.machine.memory import batch_of
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.slots import Slots
from lstn.runtime.serving.models.batcher import Batcher

_DEFAULT_BATCH = 32


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests become batches; see `Batcher`. max_batch: None for 32, or what the engine takes."""

    max_batch: int | None
    max_wait_s: float
    max_queue: int


class Generation:
    """One opening of a model's file: its contract, its queue, and the thread that owns the engine until it ends."""

    def __init__(self, contract: Contract, batcher: Batcher) -> None:
        self.contract = contract
        self.batcher = batcher
        self.ended = threading.Event()


def check_served(contract: Contract, path: Path) -> None:
    """Check that a model is of a task that is served. A generator is not an `Engine`, so it never gets here.

    Raises:
        UsageError: it isn't.
    """
    if contract.task is Task.ALIGN:
        raise UsageError(f"{path}: a model that aligns is not served", hint="use: lstn infer --sentence")


def served_batch_size(engine: Engine, wanted: int | None, path: Path) -> int:
    """Return the images that a batch may hold: `wanted`, or what suits the engine.

    Raises:
        UsageError: the engine takes fewer than are wanted.
    """
    if wanted is not None and wanted > engine.max_batch:
        raise UsageError(f"--max-batch {wanted}: {path} takes batches of {engine.max_batch} at most")
    return wanted or batch_of(engine.contract.image_hw, min(engine.max_batch, _DEFAULT_BATCH))


def warm_up(engine: Engine, slots: Slots, batch: int) -> None:
    """Run one image and a full batch, whose answers must be numbers: a model that can't answer is never ready.

    An engine that prepares batch sizes, such as a plan with its graphs, prepares them now in every slot, and not amid
    requests.

    Raises:
        LstnError: the engine fails, or doesn't answer with numbers.
    """
    sizes = sorted({min(size, batch) for size in engine.prepared}, reverse=True) or sorted({1, batch})
    for count in sizes:
        for _ in range(2 * slots.count if engine.prepared else 1):  # the slots come in turn
            _try_out(slots, count)


def _try_out(slots: Slots, count: int) -> None:
    with slots.acquire() as slot:
        slot.pixels[:count] = 0
        try:
            slot.submit(count)
            prediction = slot.result()
        except LstnError:
            raise
        except Exception as error:
            raise DeviceError(f"the engine failed on its first batch: {error}") from error
    if not np.isfinite(prediction.logits).all():
        raise ArtifactError("the model answers a black image with something that is not a number")
