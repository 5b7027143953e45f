"""Load in an open loop: requests come at random moments and at a given rate, however the server is doing.

So come the images of many cameras. Clients that wait for an answer before they ask again would send less to a slow
server, and nobody would measure how long the others wait. Therefore each latency counts from the moment at which the
request was due, also if it could be sent only later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.machine.collector import collector_at_rest

Moments: TypeAlias = npt.NDArray[np.float64]
"""(N,) float64: seconds from the beginning of what is measured; before 0 is the warm-up."""

Ask: TypeAlias = Callable[[int], Awaitable[bool]]
"""Sends request number n, and says whether it was answered; False if the server refused it."""

_PATIENCE_S = 5.0
"""How long the last requests may take; what has no answer then gets none."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenLoad:
    """Requests that were sent to a server. due_s, done_s: (N,) each; infinite without an answer.

    seconds: how long the measured part of the load lasted
    """

    due_s: Moments
    done_s: Moments
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """How a server did under a load.

    requests:       that were due
    unanswered:     those of them that it refused, or didn't answer in time
    answered_per_s: answers a second, while requests came
    p50_ms, p99_ms: of those that were answered, from the moment at which each was due; infinite if none was
    """

    requests: int
    unanswered: int
    answered_per_s: float
    p50_ms: float
    p99_ms: float


def due_moments(rate: float, *, seconds: float, warm_up_s: float, seed: int) -> Moments:
    """Draw when requests are due: a Poisson process of `rate` a second, given the number of its events.

    Given their number, the events are independent and uniform over the time (Ross, Introduction to Probability Models,
    theorem 5.2). So the load has this rate exactly, in the warm-up and in what is measured.
    """
    random = np.random.default_rng(seed)
    before = random.uniform(-warm_up_s, 0.0, round(rate * warm_up_s))
    return np.sort(np.concatenate((before, random.uniform(0.0, seconds, max(1, round(rate * seconds))))))


async def send_openly(ask: Ask, due_s: Moments, *, seconds: float, patience_s: float = _PATIENCE_S) -> OpenLoad:
    """Send each request when it is due, and wait for all answers, but for those that take too long.

    A timer of asyncio is up to a millisecond late, which is in the latency as every other wait is.

    Raises:
        Exception: what `ask` raises.
    """
    loop = asyncio.get_running_loop()
    began = loop.time() - due_s[0]
    done_s = np.full(len(due_s), np.inf)

    async def send(number: int) -> None:
        if await ask(number):
            done_s[number] = loop.time() - began

    sent = []
    with collector_at_rest():
        for number, due in enumerate(due_s):
            await asyncio.sleep(max(0.0, began + due - loop.time()))
            sent.append(asyncio.ensure_future(send(number)))
        finished, late = await asyncio.wait(sent, timeout=patience_s)
    for each in late:
        each.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for each in finished:
        each.result()
    return OpenLoad(due_s, done_s, seconds)


def times_of(load: OpenLoad) -> RequestTimes:
    """Return how a server did under a load, without its warm-up.

    Answers a second are all that came while the load lasted, those to requests of the warm-up among them: as many as
    requests, however long an answer takes, unless the server falls behind.
    """
    measured, answered = load.due_s >= 0, np.isfinite(load.done_s)
    took_ms = 1000 * (load.done_s - load.due_s)[measured & answered]
    p50_ms, p99_ms = np.percentile(took_ms, (50, 99)) if len(took_ms) else (np.inf, np.inf)
    within = (load.done_s >= 0) & (load.done_s < load.seconds)
    return RequestTimes(
        requests=int(measured.sum()),
        unanswered=int((measured & ~answered).sum()),
        answered_per_s=float(within.sum()) / load.seconds,
        p50_ms=float(p50_ms),
        p99_ms=float(p99_ms),
    )


def typical_times(rounds: Sequence[RequestTimes]) -> RequestTimes:
    """Return the median of each figure over rounds, so that one in which the machine did something else says little.

    Requests, and those without an answer, are all that there were.
    """
    return RequestTimes(
        requests=sum(each.requests for each in rounds),
        unanswered=sum(each.unanswered for each in rounds),
        answered_per_s=median(each.answered_per_s for each in rounds),
        p50_ms=median(each.p50_ms for each in rounds),
        p99_ms=median(each.p99_ms for each in rounds),
    )
