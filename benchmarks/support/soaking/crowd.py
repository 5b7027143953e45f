"""All the clients of a server at one time, at their random moments, and what becomes of their requests."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from benchmarks.support.soaking.right_clients import ANSWERED, FULL, PLAIN, RightClient
from benchmarks.support.soaking.rude_clients import RUDE, SLOW, WRONG, Meeting
from benchmarks.support.soaking.two_versions import TwoVersions

RATES = {
    PLAIN: 2.5,
    "pixels over HTTP": 1.0,
    "files over HTTP": 1.0,
    "a file alone": 1.0,
    "JSON, v2": 0.5,
    "JSON, v1": 1.0,
    "pixels over gRPC": 1.5,
    "files over gRPC": 1.0,
    "bad requests": 1.0,
    "fuzzed requests": 1.0,
    "clients that leave": 0.5,
    "calls that are cancelled": 0.25,
}
"""Requests a second of each kind of client, at random moments."""

SLOW_AT_ONCE = 4
"""Slow clients of each kind at any time."""


class Crowd:
    """Clients of every kind at one server, each kind in threads of its own, and what is found."""

    def __init__(self, versions: TwoVersions, ports: tuple[int, int], seed: int) -> None:
        self.versions = versions
        self.ports = ports
        self.done = threading.Event()
        self.told: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self._seed = seed
        self._times_ms: list[float] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def count(self, kind: str, told: str, took_s: float = 0.0) -> None:
        """Count what became of a request of this kind."""
        with self._lock:
            fault = told.startswith(WRONG) or (kind not in RUDE and kind not in SLOW and told not in (ANSWERED, FULL))
            self.told[kind]["wrong" if fault else told] += 1
            if fault:
                self.wrong.append(f"{kind}: {told.removeprefix(WRONG)}"[:300])
            if kind == PLAIN and told == ANSWERED:
                self._times_ms.append(1000 * took_s)

    def latency(self) -> dict[str, float]:
        """Return the times of plain requests since it was asked last, in ms."""
        with self._lock:
            times, self._times_ms = self._times_ms, []
        p50, p99 = np.percentile(times or [float("nan")], [50, 99])
        return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "plain": len(times)}

    def start(self) -> None:
        """Start all clients."""
        for number, (kind, rate) in enumerate(RATES.items()):
            self._start(self._pace, kind, rate, number)
        for number, kind in enumerate([kind for kind in SLOW for _ in range(SLOW_AT_ONCE)]):
            self._start(self._pace, kind, 0.5, len(RATES) + number)

    def stop(self, patience_s: float) -> int:
        """Let all clients end; return how many didn't."""
        self.done.set()
        stop = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, stop - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _pace(self, kind: str, rate: float, number: int) -> None:
        """Let clients of one kind come at random moments, one after the other."""
        chance = random.Random(self._seed * 1000 + number)
        meet = self._client(kind, chance)
        moment = time.monotonic()
        while not self.done.wait(max(0.0, moment - time.monotonic())):
            moment = max(moment, time.monotonic() - 1) + chance.expovariate(rate)
            began = time.monotonic()
            try:
                told = meet()
            except Exception as error:
                told = f"{WRONG}{type(error).__name__}: {error}"
            self.count(kind, told, time.monotonic() - began)

    def _client(self, kind: str, chance: random.Random) -> Callable[[], str]:
        met = RUDE.get(kind) or SLOW.get(kind)
        if met is None:
            return RightClient(kind, self.versions, self.ports, chance.randrange(1 << 32)).ask
        meeting = Meeting(self.versions, self.ports, chance)
        return lambda: met(meeting)
