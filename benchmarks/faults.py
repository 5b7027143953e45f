"""Let every system call on a command's files fail, one at a time: does it end well, or say why and harm nothing?

    python -m benchmarks faults [--only NAME] [--each N] [--out FILE]

The calls of a command on files below its folder are counted: data, models, results, cache and temporary files. Then it
runs again for each of them, and for each way in which that call can fail. The calls of all libraries are among them
(`support/failing_calls.c`). A run is right if it ends with 0, with the results of a run in which nothing failed. It is
refused if it ends with one line that says why, each file is the old one or the new one, nothing temporary is left, and
the same command, or --resume, ends well afterwards. Anything else is wrong, and the benchmark ends with 1.

Needs: Linux on x86-64, and gcc.
"""

import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from benchmarks.support.arguments import argument_parser
from benchmarks.support.failing_calls import FAULTS, Fault
from benchmarks.support.fault_cases import CASES
from benchmarks.support.fault_verdict import REFUSED, RIGHT
from benchmarks.support.faulted_command import FaultedCommand
from benchmarks.support.faulted_reload import RELOAD, FaultedReload
from benchmarks.support.faulted_runs import FaultyFolder
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.report.table import markdown_table

RESULT = "results/faults/faults.json"
VERDICTS = (RIGHT, REFUSED, "wrong")
LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "pyarrow")


class Faulted(Protocol):
    """What is tried: `FaultedCommand` or `FaultedReload`."""

    calls: list[str]

    def attempt(self, fault: Fault) -> str:
        """Run it with a fault; return `RIGHT`, `REFUSED` or what is wrong."""


def main(words: Sequence[str]) -> None:
    """Try, print, and write what happened."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    known = [*CASES, RELOAD]
    parser.add_argument(
        "--only", action="append", choices=known, metavar="NAME", help="try this one; FILE keeps the rest"
    )
    parser.add_argument("--each", type=int, metavar="N", help="at most so many calls of a kind; default: all")
    arguments = parser.parse_args(words)
    os.environ["OMP_NUM_THREADS"] = "1"
    kept = json.loads(arguments.out.read_text())["commands"] if arguments.only and arguments.out.is_file() else {}
    with TemporaryDirectory() as base:
        folder = FaultyFolder(Path(base))
        found = {name: tried(name, opened(name, folder), arguments.each) for name in arguments.only or known}
    commands = {name: (kept | found)[name] for name in known if name in kept | found}
    result = {"commands": commands} | machine_of(LIBRARIES)
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))
    sys.exit(any(command["wrong"] for command in found.values()))


def opened(name: str, folder: FaultyFolder) -> Faulted:
    """Return what is tried under this name."""
    return FaultedReload(folder) if name == RELOAD else FaultedCommand(folder, CASES[name])


def tried(name: str, command: Faulted, each: int | None) -> dict[str, Any]:
    """Let calls fail, and count what came of it: by call and how it failed, runs that were right and refused."""
    started = time.monotonic()
    outcomes: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    wrong = []
    for call, fault in planned(command.calls, each):
        found = command.attempt(fault)
        outcomes[call][fault.how][found if found in (RIGHT, REFUSED) else "wrong"] += 1
        if found not in (RIGHT, REFUSED):
            wrong.append({"call": call, "number": fault.number, "how": fault.how, "what": found})
            print(f"{name}: {call} {fault.number}, {fault.how}: {found}", flush=True)
    print(f"{name}: {len(command.calls)} calls, {len(wrong)} wrong", flush=True)
    told = {"calls": dict(Counter(command.calls)), "outcomes": outcomes, "wrong": wrong}
    return {"each": each, "minutes": round((time.monotonic() - started) / 60)} | told


def planned(calls: Sequence[str], each: int | None) -> Iterator[tuple[str, Fault]]:
    """Yield the calls to fail, and how; `each` of a kind, evenly spaced."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, call in enumerate(calls, 1):
        places[call].append(number)
    for call, numbers in places.items():
        count = min(each or len(numbers), len(numbers))
        for place in range(count):
            for how in FAULTS[call]:
                yield call, Fault(numbers[place * len(numbers) // count], how)


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    commands = result["commands"]
    lines = [
        "# System calls that fail",
        "",
        "Every call that a command makes on its files was counted: on data, models, results, cache and",
        "temporary files. Then the command ran again for each way in which one of these calls can fail: an",
        "error of the system, half of a read or write (`short`), or a disk that is full from then on (`full`).",
        "",
        "- *right*: the command ended well, with the results of a run in which nothing failed.",
        "- *refused*: it ended with one line that says why, each file was the old one or the new one, nothing",
        "  temporary was left, and the same command, or `--resume`, ended well afterwards.",
        "- *wrong*: anything else.",
        "",
        markdown_table(("command", "calls", "tried of each kind", "failures", *VERDICTS), list(_by_command(commands))),
        "",
        markdown_table(("call", "fails with", "tried", *VERDICTS), list(_by_call(list(commands.values())))),
        "",
        *_wrong(commands),
        f"{sum(command['minutes'] for command in commands.values())} minutes on a shared machine. {result['cpu']},",
        f"{versions_of(result)}. Made with `python -m benchmarks faults`.",
        "",
    ]
    return "\n".join(lines)


def _by_command(commands: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, command in commands.items():
        counts = [each for ways in command["outcomes"].values() for each in ways.values()]
        yield f"`{name}`", sum(command["calls"].values()), command["each"] or "all", *_summed(counts)


def _by_call(commands: Sequence[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for call, ways in FAULTS.items():
        for how in ways:
            counts = [each["outcomes"][call][how] for each in commands if how in each["outcomes"].get(call, ())]
            if counts:
                yield call, how, *_summed(counts)


def _summed(counts: list[dict[str, int]]) -> tuple[int, ...]:
    found = [sum(each.get(what, 0) for each in counts) for what in VERDICTS]
    return sum(found), *found


def _wrong(commands: dict[str, Any]) -> Iterator[str]:
    for name, command in commands.items():
        for each in command["wrong"]:
            yield f"- `{name}`, {each['call']} {each['number']}, {each['how']}: {each['what']}"
    if any(command["wrong"] for command in commands.values()):
        yield ""
