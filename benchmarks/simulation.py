"""Run the server and the writer of results in simulated worlds, a seed each: is every answer right, amid faults?

    python -m benchmarks simulation [--seeds N] [--first SEED] [--out FILE]

A seed draws a whole `lstn serve`: models, options, clients, in which order threads take their turns, what comes late
over the network, which batches fail, when a model is replaced and when the server is stopped. The server's own code
runs, on a simulated clock. Of the same seed another world is drawn: `lstn infer --ray` into a folder, by processes that
are killed, on a disk that fails, in a cluster that loses answers, until every image has its row. A seed that fails does
so again: --first SEED --seeds 1. Then defects are put into the code, one at a time, and seeds run until one finds it.
Ends with 1 if anything was wrong, or a defect was not found.

Needs: greenlet, grpcio, uvicorn and httptools.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.support.arguments import argument_parser
from benchmarks.support.memory_folder import memory_folder
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.simulation.sabotages import SERVER, WRITER, Edit, sabotaged
from benchmarks.support.simulation.server_world import ServedSeed, served
from benchmarks.support.simulation.writer_world import WrittenSeed, written
from lstn.report.table import markdown_table

RESULT = "results/simulation/simulation.json"
LIBRARIES = ("grpcio", "httptools", "uvicorn")
MOST_SEEDS = 2000
"""That a defect put into the code has for being found."""

_AGAIN = 50
"""Every so many seeds one runs twice, and must take the same steps."""

_SHOWN, _TOLD = 30, 90
World: TypeAlias = Callable[[int, Path], ServedSeed] | Callable[[int, Path], WrittenSeed]


def main(words: Sequence[str]) -> None:
    """Run the seeds, put defects in, print, and write what was found."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--seeds", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="default: 0")
    arguments = parser.parse_args(words)
    with memory_folder() as folder:
        result = simulated(range(arguments.first, arguments.first + arguments.seeds), Path(folder))
        if arguments.seeds > 1:
            result["defects"] = list(defects_found(Path(folder)))
    result |= machine_of(LIBRARIES)
    if arguments.seeds > 1:
        print(page_of(result))
        write_result(arguments.out, result, page_of(result))
    sys.exit(bool(result["wrong"]) or any(each["seeds"] is None for each in result.get("defects", ())))


def simulated(seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """Run both worlds of each seed; return the figures, and what was wrong."""
    started, figures = time.monotonic(), SeedFigures()
    for count, seed in enumerate(seeds, 1):
        server, writer = served(seed, folder), written(seed, folder)
        figures.add(seed, server, writer)
        if count % _AGAIN == 0:
            again = served(seed, folder).trace, written(seed, folder).trace
            figures.wrong += [f"seed {seed} doesn't repeat"] if again != (server.trace, writer.trace) else []
        if count % 1000 == 0:
            print(f"{count:6} seeds, {len(figures.wrong)} wrong", flush=True)
    an_hour = round(3600 * len(seeds) / (time.monotonic() - started))
    return {"seeds": len(seeds), "first": seeds[0], "seeds_an_hour": an_hour} | figures.told()


class SeedFigures:
    """What came of all seeds."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._answers, self._images, self._writers = Counter[str](), Counter[str](), Counter[str]()
        self._faults: dict[str, Counter[str]] = defaultdict(Counter)
        self._seconds = 0.0

    def add(self, seed: int, server: ServedSeed, writer: WrittenSeed) -> None:
        """Count a seed, and say at once what was wrong with it."""
        found = [f"seed {seed}, server: {line}" for line in server.wrong]
        found += [f"seed {seed}, writer: {line}" for line in writer.wrong]
        for line in found[:3]:
            print(line, flush=True)
        self.wrong += found
        answers = Counter(_outcome(asked.answer) for asked in server.asked)
        self._answers += answers
        self._images.update(asked=sum(len(asked.numbers) for asked in server.asked), written=writer.rows)
        self._writers["runs"] += writer.runs
        self._seconds += server.seconds
        for fault, times in server.met.items():
            self._faults[fault].update({"times": times, "seeds": 1} | answers)
        for fault, times in writer.met.items():
            self._faults[fault].update(times=times, seeds=1)

    def told(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        counts = {"answers": self._answers, "images": self._images, "writers": self._writers}
        faults = {fault: self._faults[fault] for fault in sorted(self._faults)}
        return {"wrong": self.wrong} | counts | {"simulated_hours": self._seconds / 3600, "faults": faults}


def defects_found(folder: Path) -> Iterator[dict[str, Any]]:
    """Put each defect into the code, and yield how many seeds it took to find it, and what was said."""
    worlds: tuple[tuple[str, World, Mapping[str, tuple[Edit, ...]]], ...] = (
        ("server", served, SERVER),
        ("writer", written, WRITER),
    )
    for what, world, defects in worlds:
        for name, edits in defects.items():
            seeds, told = found_after(world, edits, folder, MOST_SEEDS)
            print(f"{name}: {seeds or 'not found'}", flush=True)
            yield {"what": what, "defect": name, "seeds": seeds, "told": told}


def found_after(world: World, edits: tuple[Edit, ...], folder: Path, most: int) -> tuple[int | None, str]:
    """Return after how many seeds something was wrong with these edits, None for never, and the first thing said."""
    with sabotaged(edits):
        for count in range(1, most + 1):
            if wrong := world(count - 1, folder).wrong:
                return count, wrong[0].replace(str(folder), "…")[:200]
    return None, ""


_OUTCOMES = {
    "answered": ("200",),
    "refused": ("400", "INVALID_ARGUMENT", "408", "503", "RESOURCE_EXHAUSTED", "UNAVAILABLE"),
    "failed": ("500", "INTERNAL"),
    "expired": ("504", "DEADLINE_EXCEEDED"),
    "no answer": ("lost", "left"),
}


def _outcome(answer: str) -> str:
    return next((outcome for outcome, answers in _OUTCOMES.items() if answer in answers), "wrong")


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    answers, images, writers = result["answers"], result["images"], result["writers"]
    lines = [
        "# Simulated servers and writers",
        "",
        f"{result['seeds']:,} seeds. Each draws a simulated `lstn serve`, with its threads, clock, network, clients",
        "and engines, and a folder that simulated runs of `lstn infer --ray` write to. The code of the server and of",
        "the writer is the real one. Every answer is checked: each accepted request is answered once, with its own",
        "images' result, of the model and version that it asked; queues stay within their bound; engines on the CPU",
        "take turns in order; nothing waits for ever; a server that is stopped answers what it accepted; a folder has",
        "one row for each image in the end. A seed that fails can be run again, and takes the same steps.",
        "",
        f"Wrong: **{len(result['wrong'])}**. {result['seeds_an_hour']:,} seeds an hour, in which",
        f"{result['simulated_hours']:.1f} hours were simulated.",
        "",
        f"Requests: {sum(answers.values()):,}, with {images['asked']:,} images. Rows written: {images['written']:,},",
        f"by {writers['runs']:,} runs.",
        "",
        markdown_table(("requests", "count"), [(name, f"{answers.get(name, 0):,}") for name in _OUTCOMES]),
        "",
        "## What each fault did",
        "",
        "*Seeds* had the fault at least once. The last columns say what became of all requests of these seeds, in %.",
        "Faults without them met the writer.",
        "",
        markdown_table(("fault", "times", "seeds", *_OUTCOMES), list(_by_fault(result["faults"]))),
        "",
        "## Defects put into the code",
        "",
        "One line of the code was changed, and seeds ran from 0 on until one failed.",
        "",
        markdown_table(("of the", "defect", "found after seeds", "by"), list(_by_defect(result.get("defects", ())))),
        "",
        *[f"- {line}" for line in result["wrong"][:_SHOWN]],
        f"{result['cpu']}, {versions_of(result)}. Made with `python -m benchmarks simulation`.",
        "",
    ]
    return "\n".join(lines)


def _by_fault(faults: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[object, ...]]:
    for fault, counts in faults.items():
        total = sum(counts.get(outcome, 0) for outcome in _OUTCOMES)
        shares = [f"{100 * counts.get(outcome, 0) / total:.0f}" if total else "" for outcome in _OUTCOMES]
        yield fault, f"{counts['times']:,}", f"{counts['seeds']:,}", *shares


def _by_defect(defects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for each in defects:
        yield each["what"], each["defect"], each["seeds"] or "not found", each["told"].replace("|", "/")[:_TOLD]
