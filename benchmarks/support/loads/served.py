"""A server that a load meets: what it answers in each form, how long that takes, and what it holds."""

import base64
import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support.loads.measured_run import LoadRow
from benchmarks.support.serve_process import MODEL, resident_mb, started
from lstn.images import decode
from lstn.runtime.engines.opening import open_engine


def served_answers(model: Path, picture: Path) -> Iterator[LoadRow]:
    """Ask for one picture in each form; each answer must be the engine's."""
    with open_engine(model, spin=False) as engine:
        logits = engine.infer(decode(picture, engine.contract.image_hw)[None]).logits[0]
        wanted = engine.contract.labels[int(logits.argmax())]
    with started(model) as server:
        port, _, pid = server.ports
        for what, path, body in _requests(picture):
            begun = time.monotonic()
            status, answer = _posted(port, path, body)
            seconds = time.monotonic() - begun
            label = _label_in(answer) if status == 200 else ""
            wrong = "" if label == wanted else f"{status}: {label!r} instead of {wanted!r}: {answer[:200]!r}"
            yield LoadRow(what, round(seconds, 2), round(resident_mb(pid)), None, f"{len(answer) / 1e6:.2f} MB", wrong)
        begun = time.monotonic()
        status, metadata = _got(port, f"/v2/models/{MODEL}")
        labels = json.loads(metadata)["outputs"][0]["parameters"]["labels"] if status == 200 else []
        told, wrong = f"{len(metadata) / 1e6:.2f} MB", "" if wanted in labels else f"{status}: its label is missing"
        seconds = round(time.monotonic() - begun, 2)
        yield LoadRow("its metadata over HTTP", seconds, round(resident_mb(pid)), None, told, wrong)
        code, said = server.end(signal.SIGTERM)
        yield LoadRow("the server stops", 0.0, 0, code, "", f"ended with {code}: {said}" if code or said else "")


def _requests(picture: Path) -> Iterator[tuple[str, str, bytes]]:
    file = picture.read_bytes()
    text = base64.b64encode(file).decode()
    names = [{"name": name} for name in ("logits", "label", "probability")]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    yield "a file over HTTP, all outputs as JSON", f"/v2/models/{MODEL}/infer", file
    yield "v2 with all logits as JSON", f"/v2/models/{MODEL}/infer", _json({"inputs": [tensor], "outputs": names})
    yield "v1 with all outputs as JSON", f"/v1/models/{MODEL}:predict", _json({"instances": [{"b64": text}]})


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _label_in(answer: bytes) -> str:
    content = json.loads(answer)
    if "predictions" in content:
        return str(content["predictions"][0]["label"])
    return str(next(each["data"][0] for each in content["outputs"] if each["name"] == "label"))


def _posted(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    return _asked(port, "POST", path, body)


def _got(port: int, path: str) -> tuple[int, bytes]:
    return _asked(port, "GET", path, None)


def _asked(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
