"""Clients of a simulated server: what each asks, how it behaves, and what it was answered."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.support.simulation.calls import NO_SERVER, CallError, SimulatedCalls
from benchmarks.support.simulation.engines import SIDE, pixels_of_image
from benchmarks.support.simulation.network import Connected, LostError, Network
from lstn.runtime.serving.requests.messages import message_classes

_LONG_S = 150.0
"""Longer than the server waits for anyone; a client that waited so long asks no more."""


@dataclass(eq=False)
class Asked:
    """One request, and what became of it.

    numbers: of its images; model: that it asked
    oldest:  the version that answered when it began; 0 if none did
    answer:  200, another status, or a gRPC code; "lost" without an answer; "left" if the client went
    whole:   all of it reached the server; arrived: when
    """

    model: int
    numbers: list[int]
    started: float
    grpc: bool = False
    timeout_s: float | None = None
    spoilt: bool = False
    oldest: int = 0
    ended: float = inf
    answer: str = ""
    told: str = ""
    rows: list[list[float]] = field(default_factory=list)
    whole: bool = False
    arrived: float = inf

    def arrive(self, now: float) -> None:
        """Note that the server has it."""
        self.arrived = now


class Clients:
    """All clients of one seed. asked: their requests, in the order in which they began."""

    def __init__(self, network: Network, calls: SimulatedCalls, models: int, met: Counter[str]) -> None:
        self.asked: list[Asked] = []
        self._network = network
        self._calls = calls
        self._models = models
        self._met = met
        self._chance = network.scheduler.chance
        self._next = 1
        self._deadlines = self._chance.choice((0.0, 0.0, 0.3))
        self._odd = self._chance.choice((0.0, 0.05, 0.3))
        self._most = self._chance.choice((1, 3, 12))
        self._apart_s = self._chance.choice((0.001, 0.01, 0.1))

    async def one(self, requests: int, version_now: Callable[[int], int]) -> None:
        """Ask several times, one after the other, as one client does. version_now: of a model, by its number."""
        chance, connection = self._chance, None
        await asyncio.sleep(chance.uniform(0, 0.4))  # most models are loaded by then
        for _ in range(requests):
            await asyncio.sleep(chance.expovariate(1 / self._apart_s))
            asked = self._new()
            asked.oldest = version_now(asked.model)
            self.asked.append(asked)
            if asked.grpc:
                await self._call(asked)
            else:
                connection = await self._post(asked, connection if chance.random() < 0.8 else None)
            asked.ended = self._network.scheduler.now
            if asked.told == NO_SERVER or asked.ended - asked.started >= _LONG_S:
                return

    def _new(self) -> Asked:
        chance, count = self._chance, self._chance.randint(1, self._most)
        numbers = list(range(self._next, self._next + count))
        self._next += count
        asked = Asked(chance.randrange(self._models), numbers, self._network.scheduler.now, chance.random() < 0.3)
        if chance.random() < self._deadlines:
            asked.timeout_s = chance.choice((0.001, 0.02, 0.2, 2.0))
            self._met["a deadline"] += 1
        return asked

    async def _call(self, asked: Asked) -> None:
        asked.whole = True
        kind = message_classes()
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": [len(asked.numbers), SIDE, SIDE, 3]}
        sent = kind["ModelInferRequest"](
            model_name=f"m{asked.model}", inputs=[tensor], raw_input_contents=[_stacked(asked.numbers)]
        )
        asking = self._calls.call("ModelInfer", sent.SerializeToString(), asked.timeout_s, asked.arrive)
        try:
            answer = kind["ModelInferResponse"].FromString(await self._perhaps_leaving(asked, asking))
        except CallError as error:
            asked.answer, asked.told = error.code, error.details
        except (asyncio.TimeoutError, TimeoutError):
            asked.answer = "left"
        else:
            asked.answer = "200"
            asked.rows = _rows(answer.raw_output_contents[0])

    async def _perhaps_leaving(self, asked: Asked, asking: Any) -> Any:
        if self._chance.random() >= self._odd:
            return await asyncio.wait_for(asking, _LONG_S)
        self._met["a client that leaves"] += 1
        return await asyncio.wait_for(asking, self._chance.expovariate(20))

    async def _post(self, asked: Asked, connection: Connected | None) -> Connected | None:
        """Send a request over HTTP, and return its connection if that can be used again."""
        try:
            connection = connection or self._network.connect()
        except LostError:
            asked.answer, asked.told = "lost", NO_SERVER
            return None
        data = self._http(asked)
        end = connection.taken + len(data)
        stays = self._send(asked, connection, data)
        try:
            status, headers, body = await asyncio.wait_for(connection.answer(), _LONG_S if stays is None else stays)
        except (LostError, asyncio.TimeoutError, TimeoutError) as error:
            asked.answer = "lost" if isinstance(error, LostError) and not connection.left else "left"
            asked.whole, asked.arrived = connection.taken >= end, connection.arrived_at(end)
            connection.leave()
            return None
        asked.answer, asked.whole, asked.arrived = str(status), connection.taken >= end, connection.arrived_at(end)
        if status == 200:
            length = int(headers["inference-header-content-length"])
            asked.rows = _rows(body[length : length + (len(body) - length) * 4 // 10])  # theta has 6 of 10
        else:
            asked.told = body.decode()
        return None if headers.get("connection") == "close" or not asked.whole else connection

    def _send(self, asked: Asked, connection: Connected, data: bytes) -> float | None:
        """Send a request well or oddly; return how long the client stays, None for until the server has had enough."""
        chance = self._chance
        pieces = chance.choice((1, 1, 2, 5))
        roll = chance.random() if chance.random() < self._odd else 1.0
        if roll < 0.4:
            self._met["a client that leaves"] += 1
            connection.send(data, pieces=pieces)
            return chance.expovariate(20)
        if roll < 0.6:
            self._met["a client that stops sending"] += 1
            asked.spoilt = True
            connection.send(data[: chance.randrange(1, len(data))], pieces=pieces)
            return None
        if roll < 0.8:
            self._met["a client that takes nothing in"] += 1
            connection.deaf = True
            asked.spoilt = True
        elif pieces > 1:
            self._met["a request in pieces"] += 1
        connection.send(data, pieces=pieces)
        return None

    def _http(self, asked: Asked) -> bytes:
        count = len(asked.numbers)
        if self._chance.random() < 0.3:
            files = [_file(number) for number in asked.numbers]
            if self._chance.random() < self._odd:
                self._met["a damaged image"] += 1
                asked.spoilt = True
                files[-1] = files[-1][:-30]
            behind = b"".join(len(file).to_bytes(4, "little") + file for file in files)
            tensor: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [count]}
        else:
            behind = _stacked(asked.numbers)
            tensor = {"name": "pixels", "datatype": "UINT8", "shape": [count, SIDE, SIDE, 3]}
        tensor["parameters"] = {"binary_data_size": len(behind)}
        parameters: dict[str, Any] = {"binary_data_output": True}
        if asked.timeout_s is not None:
            parameters["timeout"] = round(asked.timeout_s * 1e6)
        text = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
        lengths = f"Content-Length: {len(text) + len(behind)}\r\nInference-Header-Content-Length: {len(text)}"
        return f"POST /v2/models/m{asked.model}/infer HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n".encode() + text + behind


def _stacked(numbers: list[int]) -> bytes:
    return np.stack([pixels_of_image(number) for number in numbers]).tobytes()


def _file(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_of_image(number)).save(file, "PNG")
    return file.getvalue()


def _rows(logits: bytes) -> list[list[float]]:
    rows: list[list[float]] = np.frombuffer(logits, "<f4").reshape(-1, 4).tolist()
    return rows
