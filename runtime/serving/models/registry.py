"""Registry shared by HTTP and gRPC: the models by name, authentication, running requests, and the counters."""

import asyncio
from collections.abc import Mapping

from lstn.errors import LstnError
from lstn.runtime.serving.models.metrics import Metrics
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.requests.access import Guard
from lstn.runtime.serving.requests.limits import MAX_HELD_BYTES
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import VERSION, Output, Request
from lstn.terminal import warn

SERVER = "lstn"
EXTENSIONS = ("classification", "model_configuration", "statistics", "binary_tensor_data")
"""Triton's names of what is here beyond the protocol."""


class ModelRegistry:
    """What is served. For the event loop's thread only."""

    def __init__(self, models: Mapping[str, ServedModel], guard: Guard, metrics: Metrics) -> None:
        self.models = models
        self.guard = guard
        self.draining = False
        self._metrics = metrics
        self._answering = 0
        self._held = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        """Whether every model has answered its warm-up batch, and the server isn't stopping."""
        return not self.draining and all(model.generation is not None for model in self.models.values())

    def model_ready(self, name: str, version: str) -> bool:
        """Whether this model has.

        Raises:
            Refusal: there is no such model.
        """
        return self.find(name, version).generation is not None and not self.draining

    def find(self, name: str, version: str) -> ServedModel:
        """Return a model.

        Raises:
            Refusal: there is none of this name or version.
        """
        model = self.models.get(name)
        if model is None or version not in ("", VERSION):
            raise Refusal(Reason.NOT_FOUND, "no such model")
        return model

    def some(self, name: str, version: str) -> list[ServedModel]:
        """Return a model, or all of them if the name is empty.

        Raises:
            Refusal: there is none of this name or version.
        """
        return [self.find(name, version)] if name else list(self.models.values())

    async def answer(self, name: str, version: str, protocol: str, request: Request) -> list[Output]:
        """Answer one request, and count it by what became of it.

        Raises:
            Refusal: why not.
        """
        model = self.find(name, version)
        if self.draining:
            self._metrics.request(name, protocol, Reason.UNAVAILABLE.outcome)
            raise Refusal(Reason.UNAVAILABLE, "the server is stopping")
        self._answering += 1
        self._idle.clear()
        outcome = "left"  # nothing else is raised when the client is gone
        try:
            outputs = await model.answer(request)
            outcome = "answered"
            return outputs
        except Refusal as refusal:
            outcome = refusal.reason.outcome
            if refusal.__cause__ is not None and refusal.reason is Reason.FAILED:
                warn(f"{name}: {refusal.__cause__}")
            raise
        except Exception:
            outcome = Reason.FAILED.outcome
            raise
        finally:
            self._metrics.request(name, protocol, outcome)
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    def hold(self, count: int) -> None:
        """Count bytes of a body that is in memory now; negative when it no longer is.

        Raises:
            Refusal: all bodies together would be too large.
        """
        if count > 0 and self._held + count > MAX_HELD_BYTES:
            raise Refusal(Reason.OVERLOADED, "too many requests are being read; try again later")
        self._held += count

    def metrics_page(self) -> tuple[bytes, str]:
        """Return the metrics and their content type."""
        waiting = {
            name: model.generation.batcher.waiting
            for name, model in self.models.items()
            if model.generation is not None
        }
        return self._metrics.page(waiting)

    async def load(self) -> None:
        """Open every model.

        Raises:
            LstnError: one can't be opened.
        """
        await asyncio.gather(*(model.load() for model in self.models.values()))

    async def reload(self) -> list[str]:
        """Open the models whose files have changed, and return their names; one that can't be opened stays."""
        changed = []
        for name, model in self.models.items():
            try:
                if await model.load():
                    changed.append(name)
            except LstnError as error:
                warn(f"{name} is not reloaded: {error.message}")
            except Exception as error:
                warn(f"{name} is not reloaded: {type(error).__name__}: {error}")
        return changed

    async def drain(self) -> None:
        """Be not ready, accept nothing more, and wait until what was accepted is answered. No batch waits for more."""
        self.draining = True
        for model in self.models.values():
            model.close()
        await self._idle.wait()
