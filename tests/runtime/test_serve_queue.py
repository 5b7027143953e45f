"""Who waits in `lstn serve`: the queue fills, clients leave, and a stop answers what was accepted."""

import io
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from serving import Server, body_of, connect, files_input, pixels_input, random_pixels, serving, until
from tiny import SIDE, Tiny


@pytest.fixture(scope="module")
def patient(model: Tiny) -> Iterator[Server]:
    """A server whose requests wait for one second, unless four images come together; three may wait."""
    with serving("--engine", model.path, "--max-batch", 4, "--max-wait-ms", 1000, "--max-queue", 3) as running:
        yield running


def infer(server: Server, client: ModuleType, pixels: np.ndarray, **options: Any) -> Any:
    return connect(client, server).infer("model", [pixels_input(client, pixels)], **options)


def test_a_full_queue_refuses_at_once_and_answers_what_it_took(patient: Server, model: Tiny) -> None:
    pixels = random_pixels(3, 5)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(infer, patient, tritonclient.http, pixels)
        until(lambda: patient.metric('lstn_waiting_images{model="model"}') == 3)
        one = [{"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": pixels[0].tolist()}]
        status, headers, body = patient.ask("POST", "/v2/models/model/infer", body_of(one))
        assert (status, headers["retry-after"]) == (503, "1")
        assert "full" in json.loads(body)["error"]
        with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
            infer(patient, tritonclient.grpc, pixels[:1])
        assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        assert not waiting.done()
        np.testing.assert_allclose(waiting.result().as_numpy("logits"), model.logits(pixels), atol=1e-3)
    with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
        infer(patient, tritonclient.grpc, random_pixels(4, 0))
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_who_left_or_is_late_costs_no_engine_time(patient: Server) -> None:
    before = patient.metric('lstn_batch_images_count{model="model"}')
    pixels = random_pixels(1, 0)
    with pytest.raises(tritonclient.grpc.InferenceServerException, match="eadline"):
        infer(patient, tritonclient.grpc, pixels, client_timeout=0.2)
    for client, kind in ((tritonclient.grpc, "DEADLINE_EXCEEDED"), (tritonclient.http, "504")):
        with pytest.raises(tritonclient.grpc.InferenceServerException) as late:
            infer(patient, client, pixels, timeout=100_000)
        assert kind in late.value.status()
    given = [{"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": pixels.tolist()}]
    body = body_of(given)
    with socket.create_connection(("127.0.0.1", patient.http_port)) as connection:
        connection.sendall(b"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        until(lambda: patient.metric('lstn_waiting_images{model="model"}') == 1)
    until(lambda: patient.metric('lstn_requests_total{model="model",outcome="left",protocol="http"}') == 1)
    assert patient.metric('lstn_waiting_images{model="model"}') == 0
    time.sleep(1.1)  # longer than any of them would have waited
    assert patient.metric('lstn_batch_images_count{model="model"}') == before


@pytest.fixture(scope="module")
def slow_file() -> bytes:
    """A picture of 50 million pixels, all white, that takes a while to decode."""
    file = io.BytesIO()
    Image.new("L", (10_000, 5_000), 255).save(file, "PNG")
    return file.getvalue()


def infer_file(server: Server, client: ModuleType, file: bytes) -> Any:
    return connect(client, server).infer("model", [files_input(client, [file])])


def test_stopping_answers_what_was_accepted_and_takes_nothing_more(model: Tiny, slow_file: bytes) -> None:
    with serving("--engine", model.path, "--max-wait-ms", 60_000) as running, ThreadPoolExecutor(24) as pool:
        kinds = (tritonclient.http, tritonclient.grpc) * 6
        slow = [pool.submit(infer_file, running, kind, slow_file) for kind in kinds]
        fast = [pool.submit(infer, running, kind, random_pixels(1, n)) for n, kind in enumerate(kinds[:10])]
        until(lambda: running.metric('lstn_waiting_images{model="model"}') == 22)
        stopped = pool.submit(running.stop)
        until(lambda: running.ask("GET", "/v2/health/ready")[0] == 503)
        assert running.ask("GET", "/v2/health/live")[0] == 200
        for kind in (tritonclient.http, tritonclient.grpc):
            with pytest.raises(tritonclient.grpc.InferenceServerException, match="stopping"):
                infer(running, kind, random_pixels(1, 0))
        for number, answer in enumerate(fast):
            wanted = model.logits(random_pixels(1, number))
            np.testing.assert_allclose(answer.result().as_numpy("logits"), wanted, atol=1e-3)
        white = model.logits(np.full((1, SIDE, SIDE, 3), 255, np.uint8))
        for answer in slow:
            np.testing.assert_allclose(answer.result().as_numpy("logits"), white, atol=1e-3)
        assert stopped.result() == (0, "")


def test_stopping_that_takes_too_long_is_a_failure(model: Tiny, slow_file: bytes) -> None:
    with serving("--engine", model.path, "--drain-s", 0) as running, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(infer_file, running, tritonclient.grpc, slow_file) for _ in range(6)]
        until(lambda: running.metric('lstn_waiting_images{model="model"}') == 6)
        code, told = running.stop()
        assert (code, told.splitlines()[0]) == (1, "error: not everything was answered within 0 s")
        for answer in asked:
            with pytest.raises(tritonclient.grpc.InferenceServerException):
                answer.result()
