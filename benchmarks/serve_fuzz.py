"""Send `lstn serve` what no client in its right mind sends, over HTTP and gRPC: does it stay polite, and serve on?

    python -m benchmarks serve_fuzz ENGINE [--cases 10000] [--first 0] [--out results/serving/serve_fuzz.json]

The cases are those of support/serve_cases.py, each told by its number. No answer may be a 500, INTERNAL or UNKNOWN,
hold a traceback or a path, or stay away; between the cases, and at the end, the server must answer a good request
right; it must end with 0 when told to, and without a word on standard error. Ends with 1 if any of that didn't hold.

Needs: an engine, and grpcio.
"""

import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.serve_cases import Case, case_of
from benchmarks.support.serve_process import MODEL, resident_mb, serving
from lstn.images import Pixels
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine

RESULT = "results/serving/serve_fuzz.json"
WAIT_S = 20.0
"""For an answer."""

SILENCE_S = 0.05
"""After so much of it, a server that waits for the rest of a broken request is told that there is none."""

FULL = "the queue is full"
"""A request that says it holds as many images as the queue may be refused for that, or make another be refused."""

STATUSES = {200, 400, 401, 403, 404, 405, 408, 413, 415, 504}
CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "UNAUTHENTICATED", "DEADLINE_EXCEEDED"}
TOO_MUCH = re.compile(r"Traceback|/(tmp|home|usr|root|data)\b|\.py\b|0x[0-9a-f]{6}|site-packages")
NOT_OURS = (b"Invalid HTTP request received.", b"Unsupported upgrade request.")
"""What uvicorn says itself."""

THREADS = 4
LIBRARIES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Target:
    """A server, and a request whose answer is known: `pixels` (n, side, side, 3) -> `logits` (n, K)."""

    http_port: int
    grpc_port: int
    model: str
    pixels: Pixels
    logits: npt.NDArray[np.float32]


@dataclass
class Findings:
    """What was answered how often, and what must not be."""

    told: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def main(words: Sequence[str]) -> None:
    """Send, print, and write what was found."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first case's number")
    arguments = parser.parse_args(words)
    with open_engine(arguments.engine, spin=False) as engine:
        pixels = np.random.default_rng(0).integers(0, 256, (2, *engine.contract.image_hw, 3), dtype=np.uint8)
        logits = engine.infer(pixels).logits
    numbers = range(arguments.first, arguments.first + arguments.cases)
    memory = []
    with serving(arguments.engine) as (http_port, grpc_port, pid):
        started = time.perf_counter()
        target, findings = Target(http_port, grpc_port, MODEL, pixels, logits), Findings()
        for start in range(0, len(numbers), 1000):
            fuzz(target, numbers[start : start + 1000], findings)
            memory.append(resident_mb(pid))
            print(f"{start + 1000:6} cases, {len(findings.wrong)} wrong, {memory[-1]:.0f} MB", flush=True)
        took = time.perf_counter() - started
    result = {"cases": len(numbers), "first": numbers.start, "told": dict(sorted(findings.told.items()))}
    result |= {"wrong": findings.wrong, "memory_mb": memory, "took_s": took, "engine": arguments.engine.name}
    result |= machine_of(LIBRARIES)
    print(page_of(result), *result["wrong"], sep="\n")
    write_result(arguments.out, result, page_of(result))
    sys.exit(bool(findings.wrong))


def fuzz(target: Target, numbers: Sequence[int], findings: Findings) -> None:
    """Send these cases, several at a time, and see whether the server still answers right at the end."""
    threads = [
        threading.Thread(target=work, args=(target, numbers[start::THREADS], findings)) for start in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def work(target: Target, numbers: Sequence[int], findings: Findings) -> None:
    """Send cases one after the other."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{target.grpc_port}") as channel:
        for number in numbers:
            case = case_of(number, model=target.model, side=target.pixels.shape[1])
            try:
                if case.method is None:
                    told, fault = http_answer(target.http_port, case)
                else:
                    told, fault = grpc_answer(channel, case)
            except Exception as error:
                told, fault = "no answer", f"{type(error).__name__}: {error}"
            findings.told[told] += 1
            if fault:
                findings.wrong.append(f"case {number}: {told}: {fault[:200]}")
        findings.wrong += still_right(target)


def http_answer(port: int, case: Case) -> tuple[str, str]:
    """Send a case -> what was answered, and what is wrong with that, if anything."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        with suppress(ConnectionError):  # it may be refused before it is through
            connection.sendall(case.data)
        data = received(connection, whole=case.whole, bodiless=case.data.startswith(b"HEAD "))
    match = re.match(rb"HTTP/1\.1 (\d\d\d) .*?\r\n\r\n", data, re.DOTALL)
    if match is None:
        return "http silence", "no answer" if case.whole or data else ""
    status, body = int(match[1]), data[match.end() :]
    text = data.decode("utf-8", "replace")
    if status not in STATUSES and FULL not in text:
        return f"http {status}", text or "a status that means nothing here"
    if "content-type: text/html" not in text and (found := TOO_MUCH.search(text)):  # that is the playground
        return f"http {status}", f"says {found[0]}"
    if status >= 400 and body and not body.startswith(NOT_OURS) and case.whole and list(json.loads(body)) != ["error"]:
        return f"http {status}", "not in the server's own words"
    return f"http {status}", ""


def received(connection: socket.socket, *, whole: bool, bodiless: bool) -> bytes:
    """Read one answer; where the request wasn't whole, say that nothing more comes once the server waits for it."""
    data, ended, go_on = b"", False, b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.settimeout(WAIT_S if whole else SILENCE_S)
    while True:
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"^content-length: (\d+)", head, re.IGNORECASE | re.MULTILINE)
        if whole and length and (bodiless or len(body) >= int(length[1])):
            return data
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            if whole or ended:
                raise
            ended = True
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(WAIT_S)
            continue
        except ConnectionError:
            return data
        if not piece:
            return data
        data = (data + piece).removeprefix(go_on)


def grpc_answer(channel: Any, case: Case) -> tuple[str, str]:
    """Send a case -> what was answered, and what is wrong with that, if anything."""
    import grpc

    try:
        channel.unary_unary(f"/inference.GRPCInferenceService/{case.method}")(case.data, timeout=WAIT_S)
    except grpc.RpcError as error:
        code, words = error.code().name, error.details() or ""
        if (code not in CODES and FULL not in words) or words == "Deadline Exceeded":
            return f"grpc {code}", words or "a code that means nothing here"
        found = TOO_MUCH.search(words)
        return f"grpc {code}", f"says {found[0]}" if found else ""
    return "grpc OK", ""


def still_right(target: Target) -> list[str]:
    """Ask for what is known over both protocols; return what was wrong."""
    import tritonclient.grpc
    import tritonclient.http

    wrong = []
    for triton, port in ((tritonclient.http, target.http_port), (tritonclient.grpc, target.grpc_port)):
        given = triton.InferInput("pixels", list(target.pixels.shape), "UINT8")
        given.set_data_from_numpy(target.pixels)
        try:
            with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
                logits = client.infer(target.model, [given]).as_numpy("logits")
        except Exception as error:
            wrong.append(f"{triton.__name__}: a good request isn't answered: {error}")
            continue
        if not np.allclose(logits, target.logits, rtol=1e-4, atol=1e-4):
            wrong.append(f"{triton.__name__}: a good request is answered wrong")
    return wrong


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    memory = result["memory_mb"]
    lines = [
        "# `lstn serve`, fed with nonsense",
        "",
        f"{result['cases']} requests that no client in its right mind sends, over HTTP and gRPC, {THREADS} at a time:",
        "good ones with something wrong, such as JSON and protobuf whose fields are replaced, headers that contradict",
        "the body, and damaged pictures of ten formats.",
        "",
        markdown_table(("answered with", "requests"), result["told"].items()),
        "",
        "Silence is for HTTP requests that were never finished. Wrong (500, INTERNAL, UNKNOWN, a traceback, a path, no",
        f"answer, or a wrong one to a good request in between): **{len(result['wrong'])}**. The server's memory was",
        f"{memory[0]:.0f} MB after the first 1,000 and {memory[-1]:.0f} MB at the end, {result['took_s']:.0f} s later.",
        "",
        f"{result['cpu']}, {versions_of(result)}; {result['engine']}. Made with",
        "`python -m benchmarks serve_fuzz ENGINE`.",
        "",
    ]
    return "\n".join(lines)
