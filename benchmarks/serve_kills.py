"""Kill `lstn serve` under load and start it again, SIGTERM in turn with SIGKILL: what becomes of its requests?

    python -m benchmarks serve_kills ENGINE [--kills 200] [--clients 16] [--seed 0] [--out FILE]

The clients, `tritonclient` over both protocols with pixels and with files, never stop asking; each answer is compared
with the engine's own for those images. Signals come at random moments: while the server loads, as soon as it is ready
and later. SIGTERM may lose no request that the server had when it came: it is answered, or refused in the server's own
words. Ends with 1 if there was a wrong answer, a client that waited for more than 30 s, a request lost by SIGTERM, an
exit code other than 0, or a word on standard error.

Needs: an engine, and tritonclient.
"""

import gc
import io
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.serve_process import MODEL, Server, started
from lstn.images import Pixels
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine

RESULT = "results/serving/serve_kills.json"
WAIT_S = 30.0
"""A client that waits for longer hangs."""

ON_ITS_WAY_S = 0.05
"""A request that left its client so shortly before the signal may not have reached the server."""

REFUSALS = ("the server is stopping", "the queue is full; try again later", "the model is not ready")
MOST_IMAGES = 24
"""In one request: three batches, so that some are under way at any moment."""

LIBRARIES = ("onnxruntime", "onnxruntime-gpu")


@dataclass
class Asked:
    """One request: from when to when, and `answered`, `wrong` or what was said instead."""

    start: float
    stop: float
    told: str


@dataclass
class Life:
    """One life of the server: when it was killed and how, and how it ended."""

    number: signal.Signals
    loading: bool
    killed: float = 0.0
    ended: float = 0.0
    code: int = 0
    told: str = ""


@dataclass
class Load:
    """What all clients share."""

    images: Pixels
    logits: npt.NDArray[np.float32]
    done: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)


def main(words: Sequence[str]) -> None:
    """Kill, print, and write what happened."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    load, ports = load_of(arguments.engine), free_ports()
    threads = [
        threading.Thread(target=work, args=(number, ports, load), daemon=True) for number in range(arguments.clients)
    ]
    for thread in threads:
        thread.start()
    lives = []
    for life in plan(arguments.kills, random.Random(arguments.seed)):
        lives.append(life)
        live(arguments.engine, ports, life, random.Random(arguments.seed + len(lives)))
        if len(lives) % 20 == 0:
            print(f"{len(lives)} kills, {len(load.asked)} requests", flush=True)
    load.done.set()
    for thread in threads:
        thread.join(2 * WAIT_S)
    result = outcome(lives, load.asked) | {"hanging": sum(thread.is_alive() for thread in threads)}
    result |= {"engine": arguments.engine.name, "clients": arguments.clients} | machine_of(LIBRARIES)
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))
    sys.exit(any(result[name] for name in ("wrong", "hanging", "slow", "lost", "codes", "words")))


def plan(kills: int, chance: random.Random) -> Iterator[Life]:
    """SIGTERM in turn with SIGKILL; one in five comes while the server still loads."""
    for number in range(kills):
        yield Life((signal.SIGTERM, signal.SIGKILL)[number % 2], loading=chance.random() < 0.2)


def live(engine: Path, ports: tuple[int, int], life: Life, chance: random.Random) -> None:
    """Start the server, let it work for a while, and kill it."""
    options = ("--http-port", ports[0], "--grpc-port", ports[1], "--max-batch", 8)
    with started(engine, *options) as server:
        if not life.loading:
            wait_until_ready(server)
        time.sleep(chance.uniform(0, 1.5 if life.loading else 1.0))
        life.killed = time.monotonic()
        life.code, life.told = server.end(life.number)
        life.ended = time.monotonic()


def wait_until_ready(server: Server) -> None:
    """Return once the ports answer."""
    assert server.ports


def load_of(engine: Path) -> Load:
    """Make images, and ask the engine directly; an answer tells which image it belongs to."""
    with open_engine(engine, spin=False) as opened:
        height, width = opened.contract.image_hw
        dice = np.random.default_rng(0)
        colours = dice.integers(0, 256, (48, 2, 2, 3), dtype=np.uint8)
        images = np.stack([np.asarray(Image.fromarray(four).resize((width, height))) for four in colours])
        logits = np.concatenate([opened.infer(image[None]).logits for image in images])
    apart = np.abs(logits[:, None] - logits[None]).max(axis=2) + np.eye(len(logits))
    assert apart.min() > 100 * tolerance(logits), "the answers are too much alike to tell the images apart"
    return Load(images, logits)


def tolerance(logits: npt.NDArray[np.float32]) -> float:
    """How far an answer may be from the same image's alone: batches of another size are summed in another order."""
    return 1e-5 * float(np.abs(logits).max())


def free_ports() -> tuple[int, int]:
    """Two ports that nobody has, for the clients must find the next server where the last one was."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def work(number: int, ports: tuple[int, int], load: Load) -> None:
    """Ask as long as the test runs."""
    chance = np.random.default_rng(number)
    with closing(Client(("http", "grpc")[number % 2], ports)) as client:
        while not load.done.is_set():
            chosen = chance.integers(0, len(load.images), chance.integers(1, MOST_IMAGES + 1))
            images, wanted = load.images[chosen], load.logits[chosen]
            given = client.given(images, as_files=bool(chance.integers(2)))
            start = time.monotonic()
            try:
                logits = client.ask(given)
                close = logits.shape == wanted.shape and np.abs(logits - wanted).max() <= tolerance(load.logits)
                told = "answered" if close else "wrong"
            except Exception as error:
                told = str(getattr(error, "message", lambda: "")() or type(error).__name__)
            load.asked.append(Asked(start, time.monotonic(), told))
            if told not in ("answered", "wrong"):
                time.sleep(0.02)


class Client:
    """One connection, which outlives the server."""

    def __init__(self, protocol: str, ports: tuple[int, int]) -> None:
        self._options: dict[str, Any] = {}
        if protocol == "http":
            import tritonclient.http as triton

            address, options = f"127.0.0.1:{ports[0]}", {"connection_timeout": WAIT_S, "network_timeout": WAIT_S}
        else:
            import tritonclient.grpc as triton

            pauses = ("initial_reconnect_backoff_ms", "min_reconnect_backoff_ms", "max_reconnect_backoff_ms")
            address, options = f"127.0.0.1:{ports[1]}", {"channel_args": [(f"grpc.{name}", 100) for name in pauses]}
            self._options["client_timeout"] = WAIT_S
        self._triton = triton
        self._connection = triton.InferenceServerClient(address, **options)

    def given(self, images: Pixels, *, as_files: bool) -> Any:
        """Return the input that holds these images."""
        array = np.array([png(image) for image in images], dtype=np.object_) if as_files else images
        name, datatype = ("image", "BYTES") if as_files else ("pixels", "UINT8")
        given = self._triton.InferInput(name, list(array.shape), datatype)
        given.set_data_from_numpy(array)
        return given

    def ask(self, given: Any) -> npt.NDArray[np.float32]:
        """Return the logits that the server answers with."""
        logits: npt.NDArray[np.float32] = self._connection.infer(MODEL, [given], **self._options).as_numpy("logits")
        return logits

    def close(self) -> None:
        """Close the connection, here in its thread: tritonclient's own clean-up fails once that has ended."""
        self._connection.close()
        del self._connection
        gc.collect()


def png(pixels: Pixels) -> bytes:
    """(H, W, 3) uint8 -> a file that decodes to exactly that."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def outcome(lives: list[Life], asked: list[Asked]) -> dict[str, Any]:
    """Count what matters. A server that still loads has accepted nothing, and can lose nothing."""
    ended = [life for life in lives if life.number is signal.SIGTERM]
    held = [
        row.told
        for life in ended
        for row in asked
        if not life.loading and row.start < life.killed - ON_ITS_WAY_S and life.killed < row.stop
    ]
    return {
        "kills": len(lives),
        "while_loading": sum(life.loading for life in lives),
        "told": dict(Counter(row.told for row in asked).most_common()),
        "wrong": sum(row.told == "wrong" for row in asked),
        "slow": sum(row.stop - row.start > WAIT_S for row in asked),
        "held": len(held),
        "held_answered": held.count("answered"),
        "while_stopping": dict(Counter(cut_off(ended, asked))),
        "lost": dict(Counter(told for told in held if told not in ("answered", "wrong", *REFUSALS))),
        "longest_stop_s": max((life.ended - life.killed for life in ended), default=0.0),
        # Python itself has no handler yet when it starts.
        "too_early": sum(life.loading and life.code == -signal.SIGTERM for life in ended),
        "codes": dict(Counter(life.code for life in ended if life.code not in (0, -signal.SIGTERM * life.loading))),
        "words": [life.told for life in lives if life.told],
    }


def cut_off(ended: list[Life], asked: list[Asked]) -> Iterator[str]:
    """What those heard that asked a server in the moment in which it stopped, beside answers and refusals."""
    for life in ended:
        for row in asked:
            if life.killed - ON_ITS_WAY_S <= row.start <= life.ended and row.told not in ("answered", *REFUSALS):
                yield row.told


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    told = result["told"]
    heard = Counter[str]()
    for words, count in told.items():
        heard[re.sub(r"; last error.*| \(recvmsg.*", "", words)] += count if words not in ("answered", "wrong") else 0
    rest = ", ".join(f"{words}: {count}" for words, count in heard.most_common() if count)
    refused = result["held"] - result["held_answered"] - sum(result["lost"].values())
    counts = [
        ("requests", sum(told.values())),
        ("answered right", told.get("answered", 0)),
        ("answered wrong", result["wrong"]),
        (f"clients that waited for more than {WAIT_S:g} s", result["slow"] + result["hanging"]),
        ("requests that the server had when SIGTERM came", result["held"]),
        ("of these answered", result["held_answered"]),
        ("of these refused in the server's own words", refused),
        ("of these lost", sum(result["lost"].values())),
        ("longest time from SIGTERM to the end", f"{result['longest_stop_s']:.1f} s"),
        ("ended by SIGTERM itself while Python was starting", result["too_early"]),
        ("exit codes after SIGTERM other than 0", sum(result["codes"].values())),
        ("words on standard error", len(result["words"])),
    ]
    lines = [
        "# `lstn serve`, killed under load",
        "",
        f"{result['kills']} times, SIGTERM in turn with SIGKILL, {result['while_loading']} of them while it loaded;",
        f"each time it was started again on the same ports. {result['clients']} clients never stopped asking, half",
        f"over HTTP and half over gRPC, for 1 to {MOST_IMAGES} images, as pixels or as files. Every answer was",
        "compared with the engine's own.",
        "",
        markdown_table(("", ""), counts),
        "",
        f"What the others heard, nearly all while no server was there: {rest}.",
        "",
        f"{result['cpu']}, {versions_of(result)}; {result['engine']}. Made with",
        "`python -m benchmarks serve_kills ENGINE`.",
        "",
    ]
    return "\n".join(lines)
