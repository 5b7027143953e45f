"""One model that is served: the thread that owns its engine, its queue, and its replacement by a newer file."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstn.contract import PIXELS, Contract
from lstn.errors import ArtifactError, DeviceError, LstnError, UsageError
from lstn.formats.openvino_file import bin_path
from lstn.formats.plan_file import sidecar_path
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine, Prediction
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.serving.batcher import Batcher, BatchShare, FairLock, Reservation, deliver, fail, pixels_of
from lstn.runtime.serving.metrics import Metrics
from lstn.runtime.serving.refusal import Refusal, Why
from lstn.runtime.serving.request import (
    Input,
    Output,
    Request,
    answer_from,
    check_sizes,
    decode_file,
    files_from,
    only_input,
    pixels_from,
    wanted_outputs,
)

PLATFORMS = {".onnx": "onnxruntime_onnx", ".plan": "tensorrt_plan", ".xml": "openvino"}
"""A file's suffix -> the name of what runs it, as Triton spells it."""

_DEFAULT_BATCH = 32
_DEFAULT_BYTES = 64 << 20
"""Of one batch of pixels."""

Open = Callable[[Path], AbstractContextManager[Engine]]


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


class ServedModel:
    """A model under its name. `answer` is for the event loop's thread, as is whatever replaces its generation."""

    def __init__(
        self,
        name: str,
        path: Path,
        batching: Batching,
        *,
        turns: FairLock,
        metrics: Metrics,
        decoders: Executor,
        opener: Open | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.platform = PLATFORMS.get(path.suffix.lower(), "")
        self._batching = batching
        self._turns = turns
        self._metrics = metrics
        self._decoders = decoders
        self._open: Open = opener or (lambda path: open_engine(path, spin=False))
        self._generation: Generation | None = None
        self._stamp: object = None

    @property
    def generation(self) -> Generation | None:
        """What answers now; None before the first engine is warm."""
        return self._generation

    async def load(self) -> bool:
        """Open the file and warm it up, then let it answer in place of the one before; False if it hasn't changed.

        Requests go on meanwhile; those that the older engine has are answered by it.

        Raises:
            LstnError: the file can't be opened or run; what answered before still does.
        """
        stamp = _stamp_of(self.path)
        if stamp == self._stamp and self._generation is not None:
            return False
        opened: Future[Generation] = Future()
        threading.Thread(target=self._own, args=(opened,), name=f"engine-{self.name}", daemon=True).start()
        generation = await asyncio.wrap_future(opened)
        older, self._generation, self._stamp = self._generation, generation, stamp
        if older is not None:
            older.batcher.close()
        return True

    async def answer(self, request: Request) -> list[Output]:
        """Answer one request.

        Raises:
            Refusal: why not.
        """
        generation = self._generation
        if generation is None:
            raise Refusal(Why.UNAVAILABLE, "the model is not ready")
        contract = generation.contract
        wanted = wanted_outputs(request, contract)
        given = only_input(request, contract)
        place = generation.batcher.admit(given.shape[0])
        expires_at = time.monotonic() + (float("inf") if request.timeout_s is None else request.timeout_s)
        try:
            prediction = await asyncio.wait_for(self._predict(place, given, contract, expires_at), request.timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refusal(Why.EXPIRED, "the deadline passed before the answer") from error
        finally:
            place.give_up()  # a client that left, a bad image: whatever is still in the queue leaves it
        return answer_from(prediction, wanted, contract.labels)

    async def _predict(self, place: Reservation, given: Input, contract: Contract, expires_at: float) -> Prediction:
        if given.name == PIXELS:
            pixels = pixels_from(given)
        else:
            files = files_from(given)
            loop = asyncio.get_running_loop()
            pixels = await loop.run_in_executor(self._decoders, _decode, files, contract.image_hw, place)
        return await asyncio.wrap_future(place.submit(pixels, expires_at=expires_at))

    def _own(self, opened: "Future[Generation]") -> None:
        """Open the engine, warm it up, and run batches until its queue is closed and empty. The thread's whole life."""
        generation = None
        try:
            with self._open(self.path) as engine:
                batch = self._batch_size(engine)
                with self._turns:
                    warm_up(engine, batch)
                batcher = Batcher(
                    max_batch=batch, max_wait_s=self._batching.max_wait_s, max_queue=self._batching.max_queue
                )
                generation = Generation(engine.contract, batcher)
                opened.set_result(generation)
                while batcher.wait():
                    with self._turns:
                        self._run(engine, batcher.take())
        except Exception as error:
            if generation is not None:
                raise
            opened.set_exception(error)
        finally:
            if generation is not None:
                generation.ended.set()

    def _run(self, engine: Engine, parts: list[BatchShare]) -> None:
        if not parts:
            return
        started = time.perf_counter()
        try:
            pixels = pixels_of(parts)
            prediction = engine.infer(pixels)
        except Exception as error:
            self._metrics.engine_error(self.name)
            refusal = Refusal(Why.FAILED, "the engine failed")
            refusal.__cause__ = error
            for part in parts:
                fail(part.place, refusal)
            return
        took = time.perf_counter() - started
        deliver(parts, prediction)
        self._metrics.batch(self.name, len(pixels), [part.waited_s for part in parts], took)

    def _batch_size(self, engine: Engine) -> int:
        wanted = self._batching.max_batch
        if wanted is not None and wanted > engine.max_batch:
            raise UsageError(f"--max-batch {wanted}: {self.path} takes {engine.max_batch} images at most")
        height, width = engine.contract.image_hw
        return wanted or min(engine.max_batch, _DEFAULT_BATCH, max(1, _DEFAULT_BYTES // (height * width * 3)))


def warm_up(engine: Engine, batch: int) -> None:
    """Run one image and a full batch, whose answers must be numbers: a model that can't answer is never ready.

    Raises:
        LstnError: the engine fails, or doesn't answer with numbers.
    """
    for count in sorted({1, batch}):
        try:
            prediction = engine.infer(np.zeros((count, *engine.contract.image_hw, 3), np.uint8))
        except LstnError:
            raise
        except Exception as error:
            raise DeviceError(f"the engine failed on its first batch: {error}") from error
        if not np.isfinite(prediction.logits).all():
            raise ArtifactError("the model answers a black image with something that is no number")


def _decode(files: list[bytes], image_hw: tuple[int, int], place: Reservation) -> Pixels:
    """Decode the files of one request, in a decoder's thread; nothing more once nobody waits for them."""
    check_sizes(files)
    pixels = np.empty((len(files), *image_hw, 3), np.uint8)
    for number, data in enumerate(files):
        if place.given_up:
            raise Refusal(Why.EXPIRED, "given up")
        pixels[number] = decode_file(data, image_hw, number)
    return pixels


def _stamp_of(path: Path) -> object:
    """What changes when the file, or what stands beside it, does."""
    stamps = []
    for file in (path, sidecar_path(path), bin_path(path)):
        try:
            stat = file.stat()
        except OSError:
            continue
        stamps.append((file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return stamps
