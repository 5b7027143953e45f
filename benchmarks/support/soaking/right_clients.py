"""Clients of the server whose requests are right: each asks for a few images, and checks the answer."""

import base64
import http.client
import json
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.support.serve_process import MODEL
from benchmarks.support.soaking.two_versions import TwoVersions

ANSWERED = "answered"
FULL = "refused: the queue is full"
"""Another client, whose request says that it holds many images, may have taken the room."""

WAIT_S = 30.0
MOST_IMAGES = 4

Chosen = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Ask = Callable[[TwoVersions, Chosen], Logits]


class RightClient:
    """One connection of one kind. `ask` returns `ANSWERED`, `FULL` or what is wrong."""

    def __init__(self, kind: str, versions: TwoVersions, ports: tuple[int, int], seed: int) -> None:
        self._versions = versions
        self._asked: Ask = RIGHT[kind](ports)
        self._most = 1 if kind in (PLAIN, ALONE) else MOST_IMAGES
        self._chance = np.random.default_rng(seed)

    def ask(self) -> str:
        """Ask once, for images drawn at random."""
        chosen = self._chance.integers(0, len(self._versions.pixels), self._chance.integers(1, self._most + 1))
        asked_s = time.monotonic()
        try:
            logits = self._asked(self._versions, chosen)
        except Exception as error:
            told = str(getattr(error, "message", lambda: "")() or f"{type(error).__name__}: {error}")
            return FULL if "the queue is full" in told else told
        return self._versions.fault_of(chosen, logits, asked_s) or ANSWERED


class _HttpClient:
    """A connection that stays open as long as the server lets it."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=WAIT_S)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        """Send a body, and return that of the answer, with its headers."""
        with suppress(http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            return self._post(path, body, headers)
        self._connection.close()  # the server closed it, as it had been idle
        return self._post(path, body, headers)

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        self._connection.request("POST", path, body, dict(headers))
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {data[:200]!r}")
        return data, answer.headers


def _http_pixels(ports: tuple[int, int]) -> Ask:
    client = _HttpClient(ports)

    def ask(versions: TwoVersions, chosen: Chosen) -> Logits:
        pixels = versions.pixels[chosen]
        return _binary(client, "pixels", "UINT8", list(pixels.shape), pixels.tobytes())

    return ask


def _http_files(ports: tuple[int, int]) -> Ask:
    client = _HttpClient(ports)

    def ask(versions: TwoVersions, chosen: Chosen) -> Logits:
        files = [versions.files[number] for number in chosen]
        data = b"".join(struct.pack("<I", len(file)) + file for file in files)
        return _binary(client, "image", "BYTES", [len(files)], data)

    return ask


def _binary(client: _HttpClient, name: str, datatype: str, shape: list[int], data: bytes) -> Logits:
    tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
    wanted = [{"name": "logits", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    name_of_length = "Inference-Header-Content-Length"
    body, headers = client.post(f"/v2/models/{MODEL}/infer", head + data, {name_of_length: str(len(head))})
    length = int(headers[name_of_length])
    (output,) = json.loads(body[:length])["outputs"]
    return np.frombuffer(body[length:], np.float32).reshape(output["shape"])


def _http_one_file(ports: tuple[int, int]) -> Ask:
    client = _HttpClient(ports)

    def ask(versions: TwoVersions, chosen: Chosen) -> Logits:
        (number,) = chosen
        body, _ = client.post(f"/v2/models/{MODEL}/infer", versions.files[number], {"Content-Type": "image/png"})
        return _from_json(body)

    return ask


def _http_v2(ports: tuple[int, int]) -> Ask:
    client = _HttpClient(ports)

    def ask(versions: TwoVersions, chosen: Chosen) -> Logits:
        pixels = versions.pixels[chosen]
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
        body = json.dumps({"inputs": [tensor], "outputs": [{"name": "logits"}]}).encode()
        return _from_json(client.post(f"/v2/models/{MODEL}/infer", body, {})[0])

    return ask


def _http_v1(ports: tuple[int, int]) -> Ask:
    client = _HttpClient(ports)

    def ask(versions: TwoVersions, chosen: Chosen) -> Logits:
        instances = [{"b64": base64.b64encode(versions.files[number]).decode()} for number in chosen]
        body, _ = client.post(f"/v1/models/{MODEL}:predict", json.dumps({"instances": instances}).encode(), {})
        return np.array([each["logits"] for each in json.loads(body)["predictions"]], np.float32)

    return ask


def _from_json(body: bytes) -> Logits:
    output = next(each for each in json.loads(body)["outputs"] if each["name"] == "logits")
    return np.array(output["data"], np.float32).reshape(output["shape"])


def _grpc(name: str, datatype: str, of: Callable[[TwoVersions, Chosen], npt.NDArray[Any]]) -> Callable[..., Ask]:
    def connected(ports: tuple[int, int]) -> Ask:
        import tritonclient.grpc as triton

        connection = triton.InferenceServerClient(f"127.0.0.1:{ports[1]}")

        def ask(versions: TwoVersions, chosen: Chosen) -> Logits:
            array = of(versions, chosen)
            given = triton.InferInput(name, list(array.shape), datatype)
            given.set_data_from_numpy(array)
            logits: Logits = connection.infer(MODEL, [given], client_timeout=WAIT_S).as_numpy("logits")
            return logits

        return ask

    return connected


def _pixels_of(versions: TwoVersions, chosen: Chosen) -> npt.NDArray[Any]:
    return versions.pixels[chosen]


def _files_of(versions: TwoVersions, chosen: Chosen) -> npt.NDArray[Any]:
    return np.array([versions.files[number] for number in chosen], dtype=np.object_)


PLAIN = "one image over HTTP"
"""Its times are the server's latency."""

ALONE = "a file alone"

RIGHT: Mapping[str, Callable[[tuple[int, int]], Ask]] = {
    PLAIN: _http_pixels,
    "pixels over HTTP": _http_pixels,
    "files over HTTP": _http_files,
    ALONE: _http_one_file,
    "JSON, v2": _http_v2,
    "JSON, v1": _http_v1,
    "pixels over gRPC": _grpc("pixels", "UINT8", _pixels_of),
    "files over gRPC": _grpc("image", "BYTES", _files_of),
}
"""A kind of client -> makes what asks, given the HTTP and the gRPC port."""
