"""With which options `lstn serve` doesn't even start."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import RunLstn
from tiny import Tiny


@pytest.fixture
def port() -> Iterator[int]:
    """One that is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "--host 0.0.0.0: other machines could use the server"),
        (["--host", "::"], 2, "--host ::: other machines could use the server"),
        (["--host", "example.org"], 2, "--host example.org: not an address"),
        (["--token-file", "nothing"], 2, "--token-file nothing: No such file"),
        (["--token-file", "short"], 2, "expected one word of 16 to 4096 characters"),
        (["--tls-cert", "short"], 2, "--tls-cert and --tls-key go together"),
        (["--tls-cert", "short", "--tls-key", "short"], 2, "not a certificate and its key"),
        (["--tls-cert", "nothing", "--tls-key", "nothing"], 2, "No such file"),
        (["--name", "a", "--name", "b"], 2, "2 --name for 1 --engine"),
        (["--name", "a/b"], 2, "'a/b' can't name a model"),
        (["--engine", "model.onnx"], 2, "two models are called model"),
        (["--engine", "nothing.onnx"], 2, "nothing.onnx: no such file"),
        (["--engine", "junk.onnx"], 1, "junk.onnx: "),
        (["--max-batch", "2000"], 2, "--max-batch 2000: "),
        (["--http-port", "PORT"], 2, "--http-port PORT: can't listen there on 127.0.0.1"),
        (["--grpc-port", "PORT"], 2, "--grpc-port PORT: can't listen there on 127.0.0.1"),
    ],
)
def test_a_server_that_cannot_be_says_so_on_one_line(
    run_lstn: RunLstn,
    tiny: Tiny,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tiny.path.parent)
    Path("short").write_text("secret")
    Path("junk.onnx").write_text("junk")
    ports = [word for port in ("--http-port", "--grpc-port") if port not in options for word in (port, "0")]
    ran = run_lstn(
        "serve", "--engine", "model.onnx", *ports, *(option.replace("PORT", str(port)) for option in options)
    )
    error, *hint = [line for line in ran.err.splitlines() if "grpc" not in line or line.startswith("error:")]
    assert (ran.code, ran.out) == (code, "")
    assert error.startswith("error: ")
    assert told.replace("PORT", str(port)) in error
    assert len(hint) <= 1
    if "port" in told:
        assert "name another port" in hint[0]


def test_no_advice_to_write_over_a_file_that_is_no_token(
    run_lstn: RunLstn, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.path.parent)
    Path("holiday.jpg").write_bytes(b"two words")
    ran = run_lstn("serve", "--engine", "model.onnx", "--token-file", "holiday.jpg")
    assert ran.code == 2
    assert "> holiday.jpg" not in ran.err
    assert "openssl rand -hex 32 > token" in ran.err
