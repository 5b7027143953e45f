"""One model that is served: the thread that owns its engine, its queue, and its replacement by a newer file."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import numpy as np

from lstn.contract import PIXELS, Contract
from lstn.formats.openvino_file import bin_path
from lstn.formats.plan_file import sidecar_path
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.serving.models.batcher import Batcher, Reservation, deliver
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.models.feeding import Feeder, FullBatch, refuse
from lstn.runtime.serving.models.generation import Batching, Generation, check_served, served_batch_size, warm_up
from lstn.runtime.serving.models.metrics import Metrics
from lstn.runtime.serving.models.statistics import Phases, Statistics
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import (
    Found,
    Input,
    Output,
    Request,
    TensorSpec,
    answer_from,
    check_finite_answer,
    found_in,
    is_found,
    only_input,
    wanted_outputs,
)
from lstn.runtime.serving.requests.request_images import check_sizes, decode_file, files_from, pixels_from

PLATFORMS = {".onnx": "onnxruntime_onnx", ".plan": "tensorrt_plan", ".xml": "openvino"}
"""A file's suffix -> the name of what runs it, as Triton spells it."""

_ON_GPU_AT_ONCE = 2
"""Batches that a GPU has at once: it copies one while it computes the other, and never waits for the host."""

Open = Callable[[Path], AbstractContextManager[Engine]]


class ServedModel:
    """A model under its name. `answer` is for the event loop's thread, as is whatever replaces its generation."""

    def __init__(
        self,
        name: str,
        path: Path,
        batching: Batching,
        *,
        lock: FairLock,
        metrics: Metrics,
        decoders: Executor,
        opener: Open | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.platform = PLATFORMS.get(path.suffix.lower(), "")
        self._batching = batching
        self._lock = lock
        self._metrics = metrics
        self._decoders = decoders
        self._open: Open = opener or (lambda path: open_engine(path, spin=False))
        self._generation: Generation | None = None
        self._stamp: object = None
        self._closed = False
        self.threads: list[threading.Thread] = []
        self.statistics = Statistics()

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
        owner = threading.Thread(target=self._own, args=(opened,), name=f"engine-{self.name}", daemon=True)
        self.threads = [*(thread for thread in self.threads if thread.is_alive()), owner]
        owner.start()
        generation = await asyncio.wrap_future(opened)
        older, self._generation, self._stamp = self._generation, generation, stamp
        if older is not None:
            older.batcher.close()
        return True

    def close(self) -> None:
        """Admit nothing more. The engine ends once it has answered what was admitted; one that is loading, then."""
        self._closed = True
        if self._generation is not None:
            self._generation.batcher.close()

    async def answer(self, request: Request) -> list[Output]:
        """Answer one request.

        Raises:
            Refusal: why not.
        """
        generation = self._generation
        if generation is None:
            raise Refusal(Reason.UNAVAILABLE, "the model is not ready")
        started = time.perf_counter()
        try:
            outputs, phases = await self._answer(request, generation)
        except BaseException:
            self.statistics.failed(time.perf_counter() - started)
            raise
        self.statistics.succeeded(time.perf_counter() - started, phases)
        return outputs

    async def _answer(self, request: Request, generation: Generation) -> tuple[list[Output], Phases]:
        contract = generation.contract
        wanted = wanted_outputs(request, contract)
        given = only_input(request, contract)
        reservation = generation.batcher.admit(given.shape[0])
        expires_at = time.monotonic() + (float("inf") if request.timeout_s is None else request.timeout_s)
        answering = self._compute(reservation, given, wanted, contract, expires_at)
        try:
            return await asyncio.wait_for(answering, request.timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refusal(Reason.EXPIRED, "the deadline passed before the answer") from error
        finally:
            reservation.give_up()  # a client that left, a bad image: whatever is still in the queue leaves it

    async def _compute(
        self,
        reservation: Reservation,
        given: Input,
        wanted: tuple[TensorSpec, ...],
        contract: Contract,
        expires_at: float,
    ) -> tuple[list[Output], Phases]:
        prediction, prepared_s = await self._predict(reservation, given, contract, expires_at)
        predicted = time.perf_counter()
        check_finite_answer(prediction)
        sought = any(is_found(spec, contract) for spec in wanted)
        found = await self._found(prediction, contract) if sought else ()
        outputs = answer_from(prediction, wanted, contract.labels, found)
        written_s = time.perf_counter() - predicted
        return outputs, Phases(reservation.queued_s, prepared_s, reservation.computed_s, written_s)

    async def _found(self, prediction: Prediction, contract: Contract) -> tuple[Found, ...]:
        """Return what was found in each image, in a decoder's thread: with many regions that is much work.

        Image by image, so that nothing more is done once nobody waits for them.
        """
        run = asyncio.get_running_loop().run_in_executor
        thetas = [None] * len(prediction.logits) if prediction.theta is None else list(prediction.theta)
        both = zip(prediction.logits, thetas, strict=True)
        return tuple([await run(self._decoders, found_in, *each, contract) for each in both])

    async def _predict(
        self, reservation: Reservation, given: Input, contract: Contract, expires_at: float
    ) -> tuple[Prediction, float]:
        """Return the prediction, and the seconds that its pixels took."""
        started = time.perf_counter()
        if given.name == PIXELS:
            pixels = pixels_from(given)
        else:
            files = files_from(given)
            loop = asyncio.get_running_loop()
            pixels = await loop.run_in_executor(self._decoders, _decode, files, contract, reservation)
        prepared_s = time.perf_counter() - started
        return await asyncio.wrap_future(reservation.submit(pixels, expires_at=expires_at)), prepared_s

    def _own(self, opened: "Future[Generation]") -> None:
        """Open the engine, warm it up, and run batches until its queue is closed and empty. The thread's whole life."""
        generation = None
        opened.set_running_or_notify_cancel()  # from here on nobody can cancel it, who has stopped waiting
        try:
            with ExitStack() as stack:
                engine = stack.enter_context(self._open(self.path))
                check_served(engine.contract, self.path)
                batch = served_batch_size(engine, self._batching.max_batch, self.path)
                slots = stack.enter_context(engine.slots(batch))
                with self._turn(engine):
                    warm_up(engine, slots, batch)
                batcher = Batcher(
                    max_batch=batch,
                    max_wait_s=self._batching.max_wait_s,
                    max_queue=self._batching.max_queue,
                    at_once=_ON_GPU_AT_ONCE if engine.on_gpu else 1,
                )
                generation = Generation(engine.contract, batcher)
                opened.set_result(generation)
                if self._closed:
                    batcher.close()
                feeder = stack.enter_context(Feeder(self.name, batcher, slots, submits=engine.on_gpu))
                while (full := feeder.take()) is not None:
                    self._answer_batch(engine, batcher, full)
        except Exception as error:
            if generation is not None:
                raise
            opened.set_exception(error)
        finally:
            if generation is not None:
                generation.ended.set()

    def _turn(self, engine: Engine) -> AbstractContextManager[None]:
        """Engines on the CPU compute one at a time; a GPU shares itself out."""
        return nullcontext() if engine.on_gpu else self._lock

    def _answer_batch(self, engine: Engine, batcher: Batcher, full: FullBatch) -> None:
        began_s = full.began_s
        try:
            with self._turn(engine), full.slot as slot:
                if not engine.on_gpu:
                    began_s = time.perf_counter()
                    slot.submit(full.count)
                prediction = slot.result()
        except Exception as error:
            self._metrics.engine_error(self.name)
            refuse(full.parts, error)
            return
        finally:
            batcher.answered()
        took = time.perf_counter() - began_s
        self._metrics.batch(self.name, full.count, [part.waited_s for part in full.parts], took)
        self.statistics.batch(full.count, took)
        deliver(full.parts, prediction, took)


def _decode(files: list[bytes], contract: Contract, reservation: Reservation) -> Pixels:
    """Decode the files of one request, in a decoder's thread; nothing more once nobody waits for them."""
    check_sizes(files)
    pixels = np.empty((len(files), *contract.image_hw, 3), np.uint8)
    for number, data in enumerate(files):
        if reservation.given_up:
            raise Refusal(Reason.EXPIRED, "given up")
        pixels[number] = decode_file(data, contract, number)
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
