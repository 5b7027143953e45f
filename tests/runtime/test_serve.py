"""`lstn serve` in a process of its own, asked by Triton's clients as they are."""

import json
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from serving import Server, body_of, connect, files_input, pixels_input, png, random_pixels, serving, until, written
from tiny import SIDE, Tiny
from tiny_fixtures import LABELS

from lstn.contract import Loc
from lstn.evaluation.answer import softmax

CLIENTS = [pytest.param(tritonclient.http, id="http"), pytest.param(tritonclient.grpc, id="grpc")]


@pytest.fixture(scope="module")
def server(model: Tiny) -> Iterator[Server]:
    with serving("--engine", model.path, "--max-batch", 8) as running:
        yield running


@pytest.mark.parametrize("client", CLIENTS)
def test_the_server_says_what_the_file_is(server: Server, client: ModuleType) -> None:
    connected = connect(client, server)
    assert connected.is_server_live()
    assert connected.is_server_ready()
    assert connected.is_model_ready("model")
    assert connected.is_model_ready("model", "1")
    options = {} if client is tritonclient.http else {"as_json": True}
    told = connected.get_model_metadata("model", **options)
    shapes = {
        tensor["name"]: (tensor["datatype"], [int(size) for size in tensor["shape"]])
        for tensor in [*told["inputs"], *told["outputs"]]
    }
    assert (told["name"], told["versions"], told["platform"]) == ("model", ["1"], "onnxruntime_onnx")
    assert shapes == {
        "pixels": ("UINT8", [-1, SIDE, SIDE, 3]),
        "logits": ("FP32", [-1, 4]),
        "theta": ("FP32", [-1, 2, 3]),
        "label": ("BYTES", [-1]),
        "probability": ("FP32", [-1]),
    }
    assert connected.get_server_metadata(**options)["name"] == "lstn"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("count", [1, 5, 8, 21])
def test_pixels_and_files_are_answered_as_the_engine_does(
    server: Server, model: Tiny, client: ModuleType, count: int
) -> None:
    pixels = random_pixels(count, count)
    connected = connect(client, server)
    for tensor in (pixels_input(client, pixels), files_input(client, [png(image) for image in pixels])):
        answer = connected.infer("model", [tensor], request_id="seven")
        np.testing.assert_allclose(answer.as_numpy("logits"), model.logits(pixels), atol=1e-3)
        np.testing.assert_allclose(answer.as_numpy("theta"), model.theta(pixels), atol=1e-4)
        assert answer.as_numpy("label") is None
        told = answer.get_response()
        assert (told["id"] if client is tritonclient.http else told.id) == "seven"


@pytest.mark.parametrize("client", CLIENTS)
def test_labels_and_probabilities_are_answered_on_request(server: Server, model: Tiny, client: ModuleType) -> None:
    pixels = random_pixels(3, 1)
    outputs = [client.InferRequestedOutput(name) for name in ("probability", "label")]
    answer = connect(client, server).infer("model", [pixels_input(client, pixels)], outputs=outputs)
    wanted = softmax(model.logits(pixels))
    assert [label.decode() for label in answer.as_numpy("label")] == [LABELS[best] for best in wanted.argmax(axis=1)]
    np.testing.assert_allclose(answer.as_numpy("probability"), wanted.max(axis=1), atol=1e-4)
    assert answer.as_numpy("logits") is None


def test_json_alone_does(server: Server, model: Tiny) -> None:
    pixels = random_pixels(2, 2)
    for data in (pixels.tolist(), pixels.ravel().tolist()):
        given = [{"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": data}]
        status, headers, body = server.ask("POST", "/v2/models/model/infer", body_of(given))
        told = json.loads(body)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert [output["name"] for output in told["outputs"]] == ["logits", "theta"]
        np.testing.assert_allclose(np.reshape(told["outputs"][0]["data"], (2, 4)), model.logits(pixels), atol=1e-3)
    assert "id" not in told


def test_a_model_without_transformer_has_no_theta(tmp_path: Path) -> None:
    with serving("--engine", written(tmp_path / "plain.onnx", loc=Loc.NONE).path, "--name", "other") as running:
        connected = connect(tritonclient.http, running)
        assert "theta" not in [output["name"] for output in connected.get_model_metadata("other")["outputs"]]
        given = pixels_input(tritonclient.http, random_pixels(1, 0))
        assert connected.infer("other", [given]).as_numpy("theta") is None
        with pytest.raises(Exception, match="outputs must be some of logits, label, probability"):
            connected.infer("other", [given], outputs=[tritonclient.http.InferRequestedOutput("theta")])


def test_no_answer_is_anothers_under_load_and_a_bad_image_fails_alone(server: Server, model: Tiny) -> None:
    """Eight clients, both protocols, pixels and files, from one image to three batches, every seventh one broken."""

    def client(number: int) -> int:
        kind = (tritonclient.http, tritonclient.grpc)[number % 2]
        connected = connect(kind, server)
        random, answered = np.random.default_rng(number), 0
        for step in range(40):
            pixels = random_pixels(int(random.choice([1, 1, 1, 3, 8, 20])), 1000 * number + step)
            if step % 7 == 3:
                files = [png(image) for image in pixels[:2]]
                with pytest.raises(Exception, match="image 0: not an image"):
                    connected.infer("model", [files_input(kind, [b"junk", *files])])
            elif step % 2:
                answer = connected.infer("model", [files_input(kind, [png(image) for image in pixels])])
                np.testing.assert_allclose(answer.as_numpy("logits"), model.logits(pixels), atol=1e-3)
                answered += 1
            else:
                answer = connected.infer("model", [pixels_input(kind, pixels)])
                np.testing.assert_allclose(answer.as_numpy("logits"), model.logits(pixels), atol=1e-3)
                np.testing.assert_allclose(answer.as_numpy("theta"), model.theta(pixels), atol=1e-4)
                answered += 1
        return answered

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(client, range(8))) == 8 * 34
    for protocol in ("http", "grpc"):
        assert server.metric(f'lstn_requests_total{{model="model",outcome="answered",protocol="{protocol}"}}') >= 4 * 34
        assert server.metric(f'lstn_requests_total{{model="model",outcome="invalid",protocol="{protocol}"}}') >= 4 * 6
    assert server.metric('lstn_waiting_images{model="model"}') == 0
    assert server.metric('lstn_batch_images_bucket{le="8.0",model="model"}') == server.metric(
        'lstn_batch_images_count{model="model"}'
    )


def test_a_changed_file_is_reloaded_without_a_refused_request(tmp_path: Path) -> None:
    first, kept = written(tmp_path / "a.onnx"), written(tmp_path / "b.onnx", seed=1)
    with serving("--engine", first.path, "--engine", kept.path) as running:
        done, results = threading.Event(), []

        def answered(more: int) -> None:
            seen = len(results)
            until(lambda: len(results) > seen + more)

        def client(kind: ModuleType) -> None:
            connected = connect(kind, running)
            while not done.is_set():
                results.append(connected.infer("a", [pixels_input(kind, pixels)]).as_numpy("logits"))

        pixels = random_pixels(2, 0)
        threads = [threading.Thread(target=client, args=(kind.values[0],)) for kind in CLIENTS * 2]
        for thread in threads:
            thread.start()
        assert running.process.stderr is not None
        for name, told in (("broken", "a is not reloaded"), ("new", "reloaded: a"), ("same", "nothing has changed")):
            if name == "broken":
                first.path.write_bytes(b"junk")
            if name == "new":
                first.path.unlink()
                second = written(first.path, seed=2)
            answered(5)
            running.process.send_signal(1)
            assert told in running.process.stderr.readline()
            if name == "broken":
                assert "nothing" in running.process.stderr.readline()
        answered(5)
        done.set()
        for thread in threads:
            thread.join()
        of_old, of_new = (
            [np.allclose(result, tiny.logits(pixels), atol=1e-3) for result in results] for tiny in (first, second)
        )
        assert all(old != new for old, new in zip(of_old, of_new, strict=True))
        assert of_old[0]
        assert of_new[-1]
        answer = connect(tritonclient.http, running).infer("b", [pixels_input(tritonclient.http, pixels)])
        np.testing.assert_allclose(answer.as_numpy("logits"), kept.logits(pixels), atol=1e-3)
        assert running.metric('lstn_requests_total{model="a",outcome="answered",protocol="http"}') + running.metric(
            'lstn_requests_total{model="a",outcome="answered",protocol="grpc"}'
        ) == len(results)


def certify(cert: Path, key: Path) -> None:
    """Write a certificate of this machine, signed by itself, and its key."""
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -days 2"
    )
    subprocess.run([*command.split(), "-out", str(cert), "-keyout", str(key)], check=True, capture_output=True)


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize("says_goodbye", [False, True])
def test_a_tls_client_that_is_closed_may_say_goodbye_or_not(
    model: Tiny, tmp_path: Path, keep_alive: bool, says_goodbye: bool
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certify(cert, key)
    with serving("--engine", model.path, "--tls-cert", cert, "--tls-key", key) as running:
        trusted = ssl.create_default_context(cafile=str(cert))
        with (
            socket.create_connection(("127.0.0.1", running.http_port), timeout=20) as plain,
            trusted.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=True) as connected,
        ):
            kept = b"" if keep_alive else b"connection: close\r\n"
            connected.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: here\r\n" + kept + b"\r\n")
            assert connected.recv(1 << 16).startswith(b"HTTP/1.1 200")
            running.process.send_signal(signal.SIGTERM)
            if says_goodbye:
                while connected.recv(1 << 16):  # the server's own goodbye
                    pass
                connected.unwrap().close()
            assert running.stop() == (0, "")


def test_a_token_opens_and_tls_hides(model: Tiny, tmp_path: Path) -> None:
    token, cert, key = tmp_path / "token", tmp_path / "cert.pem", tmp_path / "key.pem"
    token.write_text("correct-horse-battery\n")
    certify(cert, key)
    safe = ("--token-file", token, "--tls-cert", cert, "--tls-key", key)
    with serving("--engine", model.path, "--host", "0.0.0.0", *safe) as running:
        pixels = random_pixels(1, 0)
        web = connect(
            tritonclient.http, running, ssl=True, ssl_options={"ca_certs": str(cert)}, ssl_context_factory=None
        )
        calls = connect(tritonclient.grpc, running, ssl=True, root_certificates=str(cert))
        for connected, kind in ((web, tritonclient.http), (calls, tritonclient.grpc)):
            assert connected.is_server_ready()
            given = [pixels_input(kind, pixels)]
            for sent in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic correct-horse-battery"}):
                with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
                    connected.infer("model", given, headers=sent)
                assert "401" in refused.value.status() or "UNAUTHENTICATED" in refused.value.status()
                with pytest.raises(tritonclient.grpc.InferenceServerException):
                    connected.get_model_metadata("model", headers=sent)
            answer = connected.infer("model", given, headers={"authorization": "Bearer correct-horse-battery"})
            np.testing.assert_allclose(answer.as_numpy("logits"), model.logits(pixels), atol=1e-3)
        with pytest.raises(OSError, match=r".*"):
            running.ask("GET", "/v2/health/live")
        assert running.stop() == (0, "")  # no token, right or wrong, was written anywhere
