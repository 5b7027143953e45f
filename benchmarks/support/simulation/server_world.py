"""One seed of a simulated `lstn serve`: the whole server runs on it, from its start to its end, amid faults.

The server's own code runs: `lstn.runtime.serving.server`, its registry, batcher, feeders, HTTP and gRPC. Simulated are
threads and locks, the clock, the network, the engines, the pool that decodes, and who sends signals.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.support.simulation.calls import SimulatedCalls
from benchmarks.support.simulation.clients import Asked, Clients
from benchmarks.support.simulation.engines import EngineFaults, version_of, write_model
from benchmarks.support.simulation.event_loop import SimulatedLoop
from benchmarks.support.simulation.network import Network
from benchmarks.support.simulation.scheduler import Scheduler, StuckError
from benchmarks.support.simulation.server_verdict import Turns, WatchedQueues, slow_stop, wrong_answers
from benchmarks.support.simulation.simulated_modules import simulated_modules
from lstn.errors import LstnError
from lstn.runtime.serving import server
from lstn.runtime.serving.models.generation import Batching
from lstn.runtime.serving.models.registry import ModelRegistry
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.requests.access import Guard
from lstn.runtime.serving.server import ServerSettings

_LAST_WORDS_S = 2.0
_SETTLED_S = 60.0
"""A model that was loading when the server stopped has ended by then."""


@dataclass
class ServedSeed:
    """What happened in one seed. wrong: what must not have; met: faults, by name, how often"""

    wrong: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    asked: list[Asked] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    trace: int = 0


class ServerWorld:
    """One simulated server, with its clients."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.scheduler = Scheduler(seed)
        self.chance = chance = self.scheduler.chance
        self.met: Counter[str] = Counter()
        self.network = Network(self.scheduler)
        self.loop = SimulatedLoop(self.scheduler, self.network)
        self.said: list[str] = []
        self.logged: list[str] = []
        self.models: dict[str, ServedModel] = {}
        self.registries: list[ModelRegistry] = []
        self.files = {f"m{number}": folder / f"m{number}.onnx" for number in range(chance.choice((1, 1, 2, 3)))}
        self.versions = dict.fromkeys(self.files, 1)
        self.max_queue = chance.choice((1, 4, 16, 64))
        batching = Batching(chance.choice((1, 2, 4, 8)), chance.choice((0.0, 0.002, 0.05)), self.max_queue)
        self.settings = ServerSettings("127.0.0.1", 1, 2, batching, Guard(), None, chance.choice((5.0, 20.0)))
        rarely = chance.choice((0.0, 0.0, 0.05, 0.3))
        self.faults = EngineFaults(
            chance.choice((0.001, 0.01, 0.05, 0.5)),
            chance.random() < 0.4,
            rarely,
            chance.choice((0.0, 0.0, 0.1)),
            chance.choice((0.0,) * 9 + (0.02,)),
        )
        self.stopped_at = float("inf")
        self.late = False
        self.calls: SimulatedCalls | None = None
        self.turns = Turns(self.scheduler)

    @property
    def hung(self) -> bool:
        """Whether an engine never answers."""
        return self.met["an engine that hangs"] > 0

    @property
    def slow(self) -> bool:
        """Whether full queues may hold more work than the server has time for at its end."""
        return 4 * self.faults.batch_s * self.max_queue * len(self.files) > self.settings.drain_s

    def new_calls(self, **options: Any) -> SimulatedCalls:
        """Return the gRPC server."""
        self.calls = SimulatedCalls(self.network, **options)
        return self.calls

    def new_registry(self, *given: Any) -> ModelRegistry:
        """Return the registry, and remember it."""
        self.registries.append(ModelRegistry(*given))
        return self.registries[-1]

    def version_now(self, model: int) -> int:
        """Return the version that answers for a model, 0 for none yet."""
        served = self.models.get(f"m{model}")
        return 0 if served is None or served.generation is None else version_of(served.generation.contract)

    @contextmanager
    def calling(self, on_stop: Callable[[], None]) -> Iterator[None]:
        """Stand in for `StopSignals`."""
        self.loop.add_signal_handler(signal.SIGTERM, on_stop)
        yield
        self.loop.remove_signal_handler(signal.SIGTERM)

    def run(self) -> ServedSeed:
        """Run it to its end."""
        found = ServedSeed()
        for path in self.files.values():
            write_model(path, 1, broken=False)
        with simulated_modules(self):
            self.scheduler.watch = WatchedQueues(self.models, self.max_queue, found.wrong)
            try:
                self.loop.run_until_complete(self._life(found))
            except StuckError as error:
                found.wrong.append(str(error))
            except Exception as error:
                found.wrong.append(f"{type(error).__name__}: {error}")
            found.wrong += [f"{name}'s thread died: {error!r}" for name, error in self.scheduler.crashes]
            found.wrong += self._left_over() if not found.wrong else []
            self.scheduler.end()
            self.loop.end()
        found.wrong += [*self.turns.wrong, *self.loop.defects, *self.logged]
        found.wrong += [line for line in self.said if line.startswith(("http:", "grpc:"))]
        self.met["a thread that stalls"] = self.scheduler.stalls
        found.met = +self.met
        found.seconds, found.steps, found.trace = self.scheduler.now, self.scheduler.steps, self.scheduler.trace
        return found

    async def _life(self, found: ServedSeed) -> None:
        signals: Any = SimpleNamespace(calling=self.calling)
        serving = asyncio.ensure_future(server._serve(self.files, self.settings, self.models, signals))
        await asyncio.sleep(0)
        assert self.calls is not None
        clients = Clients(self.network, self.calls, len(self.files), self.met)
        found.asked = clients.asked
        users = [
            asyncio.ensure_future(clients.one(self.chance.randint(1, 10), self.version_now))
            for _ in range(self.chance.choice((1, 2, 4, 12)))
        ]
        operator = asyncio.ensure_future(self._operate(users))
        try:
            await serving
        except LstnError as error:
            self.late = "not everything was answered" in error.message
            never_ready = any(model.generation is None for model in self.models.values())
            if not (self.late and (self.hung or self.slow)) and not (never_ready and error.message.endswith("damaged")):
                found.wrong.append(f"the server ended with: {error.message}")
        stopped_at = self.loop.time()
        await asyncio.gather(operator, *users)
        found.wrong += slow_stop(self, clients.asked, stopped_at)
        for model in self.models.values():
            for thread in model.threads:
                thread.join(_LAST_WORDS_S)
        await asyncio.sleep(_SETTLED_S)
        found.wrong += wrong_answers(self, clients.asked)

    async def _operate(self, users: list["asyncio.Future[None]"]) -> None:
        """Replace models while the server runs, and stop it under load or after it."""
        chance = self.chance
        for _ in range(chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(chance.expovariate(3))
            name = chance.choice(list(self.files))
            broken = chance.random() < 0.2
            self.versions[name] += 1
            write_model(self.files[name], self.versions[name], broken=broken)
            self.met["a reload"] += self.loop.send_signal(signal.SIGHUP)
        if chance.random() < 0.6:
            await asyncio.sleep(chance.expovariate(chance.choice((1.5, 0.4))))
            self.met["a stop under load"] += 1
        else:
            await asyncio.wait(users)
        self.stopped_at = self.loop.time()
        self.loop.send_signal(signal.SIGTERM)

    def _left_over(self) -> Iterator[str]:
        """Yield what a server that has ended must not have."""
        if self.hung:
            return
        for each in self.registries:
            if each._answering or each._held:
                yield f"{each._answering} requests and {each._held} bytes are left in the registry"
        for name, model in self.models.items():
            if model.generation is not None and model.generation.batcher.waiting:
                yield f"{model.generation.batcher.waiting} images are left in the queue of {name}"
        if self.scheduler.running:
            yield f"threads that never end: {', '.join(self.scheduler.running)}"


def served(seed: int, folder: Path) -> ServedSeed:
    """Run one seed; its files lie in `folder` meanwhile."""
    return ServerWorld(seed, folder).run()
