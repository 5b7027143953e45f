"""Kill a worker of a Ray cluster each minute, and restart its head, under `lstn infer --ray`: is every image answered?

    python -m benchmarks ray_soak [--images 20000] [--out results/clusters/ray_soak.json]

A killed worker must cost a pause and nothing else. When the head dies, the cluster has gone: the command must end with
one line, and the same command must continue where it was, at the new head. In the end every image must have one row,
with the engine's own label. Ends with 1 if any of that did not hold.

Needs: torch for the model, Ray, and two cores.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from benchmarks.serve_kills import free_ports
from benchmarks.support.arguments import argument_parser
from benchmarks.support.loads.made_models import coloured, write_model
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.soaking.ray_cluster import RayCluster, ray_cluster
from lstn.images import decode
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine

RESULT = "results/clusters/ray_soak.json"
EVERY_S = 60.0
HEAD_AFTER = 4
"""The head is restarted in the place of every so many kills."""

PATIENCE_S = 180.0
"""For a command to end after its head was killed."""

_PICTURES, _SIDE = 64, 1600
_LABELS = tuple("0123456789")
LIBRARIES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class RayEvent:
    """What was done or seen. rows: of how many images there were rows on the disk"""

    second: float
    what: str
    rows: int
    told: str = ""


def main(words: Sequence[str]) -> None:
    """Run, print, and write what happened."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--images", type=int, default=20_000)
    arguments = parser.parse_args(words)
    with TemporaryDirectory() as base:
        folder = Path(base)
        write_model(folder / "model.onnx", _LABELS)
        wanted = write_images(folder, arguments.images)
        port, _ = free_ports()
        with ray_cluster(port) as cluster:
            events = list(harassed(cluster, folder, arguments.images))
        wrong = [event.told for event in events if event.what == "wrong"]
        wrong += wrong_rows(folder / "rows", wanted, arguments.images)
    result = {"images": arguments.images, "events": [asdict(event) for event in events], "wrong": wrong}
    result |= machine_of(LIBRARIES)
    result["libraries"]["ray"] = version("ray")
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))
    sys.exit(bool(wrong))


def write_images(folder: Path, count: int) -> list[str]:
    """Link a few large pictures under many names in `images`; return the engine's label of each picture."""
    (folder / "images").mkdir()
    wanted = []
    with open_engine(folder / "model.onnx", spin=False) as engine:
        for number, pixels in enumerate(coloured(_PICTURES)):
            picture = folder / f"{number}.png"
            Image.fromarray(pixels).resize((_SIDE, _SIDE)).save(picture, compress_level=1)
            logits = engine.infer(decode(picture, engine.contract.image_hw)[None]).logits
            wanted.append(_LABELS[int(logits[0].argmax())])
    for number in range(count):
        os.link(folder / f"{number % _PICTURES}.png", folder / "images" / f"{number:06d}.png")
    return wanted


def harassed(cluster: RayCluster, folder: Path, count: int) -> Iterator[RayEvent]:
    """Run the command again and again until it has answered all images; each minute something dies."""
    begun, kills = time.monotonic(), 0

    def event(what: str, told: str = "") -> RayEvent:
        made = RayEvent(round(time.monotonic() - begun, 1), what, len(rows_in(folder / "rows")), told)
        print(made, flush=True)
        return made

    while True:
        yield event("started")
        with started(cluster, folder) as process:
            while not _ends(process, EVERY_S):
                kills += 1
                if kills % HEAD_AFTER:
                    cluster.kill_worker()
                    yield event("worker killed")
                else:
                    cluster.restart_head()
                    yield event("head restarted")
                    ended = _ends(process, PATIENCE_S)
                    yield event("ended" if ended else "wrong", "" if ended else "the command waits for the old head")
                    break
            process.kill()
            told = process.communicate()[0]
        yield event("said", f"{process.returncode}: {told.strip()}")
        if process.returncode == 0:
            return
        if fault := fault_in(process.returncode, told):
            yield event("wrong", fault)


def started(cluster: RayCluster, folder: Path) -> "subprocess.Popen[str]":
    """Start the command; standard error is all that it may write to."""
    words = ["infer", "images", "--engine", "model.onnx", "--ray", cluster.address, "--out", "rows", "--batch", "8"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, "-m", "lstn", *words], cwd=folder, **pipes, text=True)


def fault_in(code: int, told: str) -> str:
    """Return what is wrong with how the command ended, having lost its cluster: it must say so in one line."""
    others = ("joining the cluster at ", "warning: ", "  run it again")
    lines = [line for line in told.splitlines() if not line.startswith(others)]
    right = code == 1 and len(lines) == 1 and lines[0].startswith("error: ")
    return "" if right else f"the command ended with {code} and {told!r}"


def _ends(process: "subprocess.Popen[str]", within_s: float) -> bool:
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the finished parts."""
    return [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.open()]


def wrong_rows(folder: Path, wanted: Sequence[str], count: int) -> Iterator[str]:
    """Yield what is wrong with the rows in the end."""
    rows = rows_in(folder)
    names = Counter(Path(row["path"]).stem for row in rows)
    if len(names) != count:
        yield f"{len(names)} of {count} images have a row"
    if twice := sum(times > 1 for times in names.values()):
        yield f"{twice} images have several rows"
    if others := sum(row.get("label") != wanted[int(Path(row["path"]).stem) % _PICTURES] for row in rows):
        yield f"{others} labels are not the engine's"


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    events = result["events"]
    killed, heads = (sum(each["what"] == what for each in events) for what in ("worker killed", "head restarted"))
    lines = [
        "# A cluster whose nodes die",
        "",
        f"`lstn infer --ray` on {result['images']:,} images, on a cluster of two nodes in one machine. Each minute a",
        f"node was killed: {killed} times the worker, and {heads} times the head, which was started again. Each image",
        "must have one row in the end, with the engine's own label. A command that lost its cluster must end with one",
        "line, and the same command must continue.",
        "",
        f"Wrong: **{len(result['wrong'])}**.",
        "",
        markdown_table(("second", "what", "images with a row", "what the command said"), map(_cells, events)),
        "",
        *[f"- {line}" for line in result["wrong"]],
        f"{result['cpu']}, two cores that other work shared, {versions_of(result)}. Made with",
        "`python -m benchmarks ray_soak`.",
        "",
    ]
    return "\n".join(lines)


def _cells(event: Mapping[str, Any]) -> tuple[object, ...]:
    lines = [line for line in event["told"].splitlines() if line.strip()]
    warnings = sum(line.startswith("warning: ") for line in lines)
    said = [line.strip() for line in lines if not line.startswith("warning: ")]
    told = " / ".join([*said, *([f"warnings of parts of the cluster that failed: {warnings}"] if warnings else [])])
    return event["second"], event["what"], f"{event['rows']:,}", told.replace("|", "/")
