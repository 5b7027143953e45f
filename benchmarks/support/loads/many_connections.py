"""A thousand connections at once to `lstn serve`, and a server that may open few files."""

import asyncio
import http.client
import io
import json
import re
import resource
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.support.loads.made_models import SIDE, coloured, write_model
from benchmarks.support.loads.measured_run import LoadRow
from benchmarks.support.serve_process import MODEL, Server, resident_mb, started
from lstn.runtime.engines.opening import open_engine

CONNECTIONS = 1000
_FEW_FILES = 256
_LABELS = tuple("0123456789")
_IMAGES = 16
_PATIENCE_S = 120.0

Logits = npt.NDArray[np.float32]


def many_connections(folder: Path) -> Iterator[LoadRow]:
    """Open a thousand connections over HTTP and over gRPC that ask at once; then those of a server with 256 files."""
    model = folder / "model.onnx"
    write_model(model, _LABELS)
    pixels = coloured(_IMAGES)
    with open_engine(model, spin=False) as engine:
        logits = engine.infer(pixels).logits
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with started(model) as server:
        yield _over_http(server, pixels, logits, f"over HTTP; ulimit -n {soft}")
        yield _beside_idle(server, pixels)
        yield _over_grpc(server, pixels, logits, f"over gRPC; ulimit -n {soft}")
        yield _stopped(server)
    with started(model) as server:
        resource.prlimit(server.ports[2], resource.RLIMIT_NOFILE, (_FEW_FILES, _FEW_FILES))
        yield _over_http(server, pixels, logits, f"over HTTP; the server's ulimit -n is {_FEW_FILES}")
        yield _over_grpc(server, pixels, logits, f"over gRPC; the server's ulimit -n is {_FEW_FILES}")
        yield _stopped(server, "(warning: new connections wait for older ones to close: .*\n)*")


def _over_http(server: Server, pixels: npt.NDArray[np.uint8], logits: Logits, what: str) -> LoadRow:
    port, _, pid = server.ports
    begun = time.monotonic()
    told, held_mb = asyncio.run(_http_crowd(port, pid, pixels, logits))
    return _found(what, told, begun, held_mb)


async def _http_crowd(port: int, pid: int, pixels: npt.NDArray[np.uint8], logits: Logits) -> tuple[Counter[str], float]:
    """Let all connect, then ask at once, and again when the queue was full; return what they were told."""
    together = asyncio.Event()

    async def one(number: int) -> str:
        image = number % _IMAGES
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await together.wait()
            asking = _asked_until_answered(reader, writer, pixels[image], logits[image])
            told = await asyncio.wait_for(asking, _PATIENCE_S)
            writer.close()
            return told
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            return type(error).__name__

    tasks = [asyncio.ensure_future(one(number)) for number in range(CONNECTIONS)]
    await asyncio.sleep(2)
    together.set()
    held = resident_mb(pid)
    told = Counter(await asyncio.gather(*tasks))
    return told, max(held, resident_mb(pid))


async def _asked_until_answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, image: npt.NDArray[np.uint8], wanted: Logits
) -> str:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}
    tensor["parameters"] = {"binary_data_size": image.nbytes}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "logits"}]}).encode()
    lines = [f"POST /v2/models/{MODEL}/infer HTTP/1.1", "Host: a", f"Content-Length: {len(head) + image.nbytes}"]
    request = "\r\n".join([*lines, f"Inference-Header-Content-Length: {len(head)}", "", ""]).encode() + head
    while True:
        writer.write(request + image.tobytes())
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
        if answer.startswith(b"HTTP/1.1 503 "):
            await asyncio.sleep(0.2)
            continue
        if not answer.startswith(b"HTTP/1.1 200 "):
            return answer[9:12].decode()
        logits = np.array(json.loads(body)["outputs"][0]["data"], np.float32)
        return "answered" if np.allclose(logits, wanted, rtol=1e-4, atol=1e-4) else "answered wrong"


def _beside_idle(server: Server, pixels: npt.NDArray[np.uint8]) -> LoadRow:
    """Hold a thousand silent connections, and ask on another one."""
    port, _, pid = server.ports
    begun = time.monotonic()

    async def held() -> list[float]:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        times = await asyncio.to_thread(_times_ms, port, pixels)
        for _, writer in idle:
            writer.close()
        return times

    times = asyncio.run(held())
    beside, alone = (statistics.median(each) for each in (times, _times_ms(port, pixels)))
    told = f"another client's median is {beside:.1f} ms, alone {alone:.1f} ms"
    return LoadRow("silent, over HTTP", round(time.monotonic() - begun, 1), round(resident_mb(pid)), None, told, "")


def _times_ms(port: int, pixels: npt.NDArray[np.uint8]) -> list[float]:
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    times = []
    for _ in range(50):
        begun = time.monotonic()
        connection.request("POST", f"/v2/models/{MODEL}/infer", file.getvalue(), {"Content-Type": "image/png"})
        connection.getresponse().read()
        times.append(1000 * (time.monotonic() - begun))
    connection.close()
    return times


def _over_grpc(server: Server, pixels: npt.NDArray[np.uint8], logits: Logits, what: str) -> LoadRow:
    _, port, pid = server.ports
    begun = time.monotonic()
    told = asyncio.run(_grpc_crowd(port, pixels, logits))
    return _found(what, told, begun, resident_mb(pid))


async def _grpc_crowd(port: int, pixels: npt.NDArray[np.uint8], logits: Logits) -> Counter[str]:
    import grpc
    from tritonclient.grpc import service_pb2 as messages

    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) for _ in range(CONNECTIONS)]

    async def one(number: int) -> str:
        call = channels[number].unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        image = number % _IMAGES
        request = messages.ModelInferRequest(model_name=MODEL)
        request.inputs.add(name="pixels", datatype="UINT8", shape=[1, SIDE, SIDE, 3])
        request.raw_input_contents.append(pixels[image].tobytes())
        while True:
            try:
                answer = await call(request, timeout=_PATIENCE_S, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    return str(error.code().name)
                await asyncio.sleep(0.2)
                continue
            found = np.frombuffer(answer.raw_output_contents[0], np.float32)
            return "answered" if np.allclose(found, logits[image], rtol=1e-4, atol=1e-4) else "answered wrong"

    async def one_that_leaves(number: int) -> str:
        async with channels[number]:
            return await one(number)

    return Counter(await asyncio.gather(*(one_that_leaves(number) for number in range(CONNECTIONS))))


def _found(what: str, told: Counter[str], begun: float, held_mb: float) -> LoadRow:
    counts = ", ".join(f"{answer}: {count}" for answer, count in told.most_common())
    wrong = "" if set(told) == {"answered"} else counts
    return LoadRow(what, round(time.monotonic() - begun, 1), round(held_mb), None, counts, wrong)


def _stopped(server: Server, expected: str = "") -> LoadRow:
    begun = time.monotonic()
    code, said = server.end(signal.SIGTERM)
    wrong = "" if code == 0 and re.fullmatch(expected, said) else f"ended with {code}: {said[-1500:]}"
    return LoadRow("the server stops", round(time.monotonic() - begun, 1), 0, code, said.strip(), wrong)
