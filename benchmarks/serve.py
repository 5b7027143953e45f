"""Measure `lstn serve` against the same engine called directly: throughput, latency, batch sizes, and overload.

    python -m benchmarks serve ENGINE… [--seconds 6] [--clients 16] [--out results/serving/serve.json]

Every client is a thread of one other process, `tritonclient` as it is, on the same machine; so what clients cost counts
against the server. Direct and served runs take turns. Closed loop: each client asks again once it has its answer, with
1 to 4 images. Open loop: requests come at random moments (Poisson) at a given share of the direct throughput.

Needs: engines, and tritonclient.
"""

import argparse
import io
import multiprocessing
import queue
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import page_of_models, spread, write_result
from benchmarks.support.serve_process import MODEL, resident_mb, serving
from lstn.images import decode
from lstn.machine.cores import usable_cores
from lstn.machine.environment import describe_environment
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine

RESULT = "results/serving/serve.json"
SIZES = (1, 1, 2, 4)
"""Images in a request, drawn from these."""

KINDS = ("grpc pixels", "http pixels", "grpc files", "http files")
BATCH = 32
QUEUE = 4 * BATCH
"""Images that may wait, in open loop."""

CLOSED = (("images_s", 0), ("of_direct", 2))
"""What is told of the rounds, and with how many decimals."""

FILE_HW = (375, 500)
"""Of the JPEG files that are sent: ImageNet's middle."""

HEAD = """# What serving costs

`lstn serve` against the same engine called directly in full batches. Clients are `tritonclient` in another
process on the same cores, so their work counts against the server's. 1 to 4 images a request. Figures are medians,
from the lowest to the highest round; each round compares with the direct run just before, and others used the machine
too. Capacity is what closed loop reached. *Queue takes* is how long a full queue takes at that rate: what an accepted
request waits for at most, not counting the batch under way, its own, and the network. Memory is the server's,
after the first tenth of the time.
"""


def main(words: Sequence[str]) -> None:
    """Measure every engine, print, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("engines", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5, help="how often direct and served runs take turns")
    arguments = parser.parse_args(words)
    models = []
    for engine in arguments.engines:
        models.append(measure(engine, arguments))
        print(*lines_of(models[-1]), sep="\n", flush=True)
    environment = describe_environment()
    result = {"cpu": environment.cpu, "cores": usable_cores(), "load": environment.load, "models": models}
    write_result(arguments.out, result, page_of(result))


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one engine: direct and closed loop in turns, then open loop at half and at twice the capacity."""
    with open_engine(path, spin=False) as engine:
        contract = engine.contract
    hw = contract.image_hw
    direct: dict[str, list[float]] = {"pixels": [], "files": []}
    closed: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for turn in range(arguments.rounds):
        with serving(path, "--max-batch", BATCH) as ports:
            for what, rates in direct.items():
                rates.append(in_process(direct_rate, path, what, arguments.seconds))
                for kind in sorted((kind for kind in KINDS if what in kind), reverse=bool(turn % 2)):
                    before = batches_of(ports)
                    found = in_process(closed_loop, ports, kind, hw, arguments.clients, arguments.seconds)
                    batches = {bound: count - before.get(bound, 0) for bound, count in batches_of(ports).items()}
                    closed[kind].append(found | {"batches": batches, "of_direct": found["images_s"] / rates[-1]})
    # What clients have been served, not what the engine alone could: they take their share of the cores.
    capacity = max(found["images_s"] for kind in KINDS[:2] for found in closed[kind])
    opened = []
    for share, seconds in ((0.5, arguments.seconds), (2.0, arguments.overload_s)):
        with serving(path, "--max-batch", BATCH, "--max-queue", QUEUE) as ports:
            found = in_process(open_loop, ports, hw, share * capacity, seconds)
            opened.append(found | {"share": share, "batches": batches_of(ports)})
    name = f"{contract.loc.value} + {contract.backbone}, {hw[0]} px, {path.suffix[1:]}"
    return {"model": name, "direct": direct, "closed": closed, "open": opened, "clients": arguments.clients}


def in_process(function: Any, *arguments: Any) -> Any:
    """Run something in a fresh process, as clients and a direct caller are."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def samples(hw: tuple[int, int], what: str, count: int = 16) -> list[Any]:
    """Make images: pixels (H, W, 3) uint8, or JPEG files."""
    random = np.random.default_rng(0)
    if what == "pixels":
        return list(random.integers(0, 256, (count, *hw, 3), dtype=np.uint8))
    files = []
    for _ in range(count):
        coarse = random.integers(0, 256, (FILE_HW[0] // 25, FILE_HW[1] // 25, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize(FILE_HW[::-1], Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def direct_rate(path: Path, what: str, seconds: float) -> float:
    """Images a second of full batches in this process; files are decoded ahead, as `lstn infer` does it."""
    with open_engine(path, spin=False) as engine, ThreadPoolExecutor(usable_cores()) as pool:
        hw = engine.contract.image_hw
        images = (samples(hw, what) * BATCH)[:BATCH]
        turn = partial(decode, image_hw=hw) if what == "files" else np.asarray
        ahead = [pool.submit(turn, image) for image in images]
        done, started = -BATCH, time.perf_counter()
        while True:
            batch = np.stack([future.result() for future in ahead])
            ahead = [pool.submit(turn, image) for image in images]
            engine.infer(batch)
            done += BATCH
            if done == 0:  # the first batch warmed up
                started = time.perf_counter()
            elif time.perf_counter() - started > seconds:
                return done / (time.perf_counter() - started)


class Client:
    """One connection of one kind; asks for some images and checks how many answers come."""

    def __init__(self, ports: tuple[int, int, int], kind: str, hw: tuple[int, int]) -> None:
        protocol, what = kind.split()
        if protocol == "http":
            import tritonclient.http as client

            self._connection = client.InferenceServerClient(f"127.0.0.1:{ports[0]}")
        else:
            import tritonclient.grpc as client

            self._connection = client.InferenceServerClient(f"127.0.0.1:{ports[1]}")
        self._inputs = {}
        for count in set(SIZES):
            images = samples(hw, what)[:count]
            array = np.stack(images) if what == "pixels" else np.array(images, dtype=np.object_)
            name, datatype = ("pixels", "UINT8") if what == "pixels" else ("image", "BYTES")
            self._inputs[count] = [client.InferInput(name, list(array.shape), datatype)]
            self._inputs[count][0].set_data_from_numpy(array)

    def ask(self, count: int) -> str:
        """Return `answered`, or what was said instead."""
        try:
            answer = self._connection.infer(MODEL, self._inputs[count])
        except Exception as error:
            return str(getattr(error, "status", lambda: "")() or type(error).__name__)
        return "answered" if answer.as_numpy("logits").shape[0] == count else "wrong"


def closed_loop(
    ports: tuple[int, int, int], kind: str, hw: tuple[int, int], clients: int, seconds: float
) -> dict[str, Any]:
    """Let every client ask again as soon as it has its answer."""
    asked: list[tuple[float, float, int, str]] = []
    begin = time.perf_counter() + 2.0  # the first answers warm everything up

    def work(number: int) -> None:
        client, random = Client(ports, kind, hw), np.random.default_rng(number)
        while (started := time.perf_counter()) < begin + seconds:
            count = int(random.choice(SIZES))
            told = client.ask(count)
            asked.append((started, time.perf_counter(), count, told))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = [row for row in asked if begin <= row[1] <= begin + seconds]
    return summary(counted, seconds)


def open_loop(ports: tuple[int, int, int], hw: tuple[int, int], rate: float, seconds: float) -> dict[str, Any]:
    """Send pixels over gRPC and HTTP at random moments, `rate` images a second, whatever the server does."""
    todo: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
    asked: list[tuple[float, float, int, str]] = []
    workers = 128
    late = Counter[str]()

    def work(number: int) -> None:
        client = Client(ports, KINDS[number % 2], hw)
        while (job := todo.get()) is not None:
            started = time.perf_counter()
            late["late"] += started - job[0] > 0.1  # no client was free: the load is lower than it says
            told = client.ask(job[1])
            asked.append((started, time.perf_counter(), job[1], told))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    random = np.random.default_rng(0)
    memory, moment, sent = [], time.perf_counter() + 1, 0
    begin = moment
    while moment < begin + seconds:
        time.sleep(max(0.0, moment - time.perf_counter()))
        todo.put((moment, int(random.choice(SIZES))))
        moment += random.exponential(np.mean(SIZES) / rate)
        sent += 1
        if sent % 200 == 0:
            memory.append(resident_mb(ports[2]))
    for _ in threads:
        todo.put(None)
    for thread in threads:
        thread.join()
    found = summary(asked, seconds)
    return found | {"sent": sent, "late": late["late"], "memory_mb": memory, "rate": rate}


def summary(asked: list[tuple[float, float, int, str]], seconds: float) -> dict[str, Any]:
    """Images a second, latency of what was answered, and what else was said."""
    good = [row for row in asked if row[3] == "answered"]
    times = 1000 * np.array([row[1] - row[0] for row in good] or [float("nan")])
    p50, p99 = np.percentile(times, [50, 99])
    told = Counter(row[3] for row in asked)
    return {
        "images_s": sum(row[2] for row in good) / seconds,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "told": dict(told),
    }


def batches_of(ports: tuple[int, int, int]) -> dict[str, int]:
    """Read the histogram of batch sizes: largest size of a bucket -> batches."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics") as answer:
        text = answer.read().decode()
    rows = re.findall(r'^lstn_batch_images_bucket\{le="([^"]+)"[^}]*\} (\S+)$', text, re.MULTILINE)
    found, before = {}, 0
    for bound, value in rows:
        found[bound], before = int(float(value)) - before, int(float(value))
    return {bound: count for bound, count in found.items() if count}


def lines_of(model: dict[str, Any]) -> Iterator[str]:
    """Lay one model out as tables of Markdown."""
    pixels, files = (spread(model["direct"][what], 0) for what in ("pixels", "files"))
    yield f"## {model['model']}"
    yield ""
    yield f"Direct, batches of {BATCH}: {pixels} images/s of pixels, {files} of JPEG files."
    yield ""
    loop = f"closed loop, {model['clients']} clients"
    columns = (loop, "images/s", "of direct", "p50", "p99", "batches by size, last")
    yield markdown_table(columns, starmap(_closed, model["closed"].items()))
    yield ""
    columns = ("open loop, of capacity", "sent", "answered", "refused", "else", "images/s", "p50", "p99", "queue takes",
               "memory")  # fmt: skip
    yield markdown_table(columns, map(_open, model["open"]))
    yield ""


def _closed(kind: str, rounds: list[dict[str, Any]]) -> tuple[str, ...]:
    rate, share = (spread([found[name] for found in rounds], places) for name, places in CLOSED)
    p50, p99 = (f"{np.median([found[name] for found in rounds]):.0f} ms" for name in ("p50_ms", "p99_ms"))
    sizes = ", ".join(f"≤{float(bound):g}: {count}" for bound, count in rounds[-1]["batches"].items() if count)
    return kind, rate, share, p50, p99, sizes


def _open(found: dict[str, Any]) -> tuple[object, ...]:
    told = Counter(found["told"])
    refused = told["503"] + told["StatusCode.RESOURCE_EXHAUSTED"]
    memory = found["memory_mb"][len(found["memory_mb"]) // 10 :] or [float("nan")]
    return (
        found["share"],
        found["sent"],
        told["answered"],
        refused,
        sum(told.values()) - told["answered"] - refused,
        f"{found['images_s']:.0f}",
        f"{found['p50_ms']:.0f} ms",
        f"{found['p99_ms']:.0f} ms",
        f"{1000 * QUEUE / found['images_s']:.0f} ms",
        f"{min(memory):.0f} to {max(memory):.0f} MB",
    )


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    foot = f"{result['cpu']}, {result['cores']} shared cores. Made with `python -m benchmarks serve ENGINE…`."
    return page_of_models(HEAD, map(lines_of, result["models"]), foot)
