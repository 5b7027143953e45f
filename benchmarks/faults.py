"""Let every system call on a command's files fail, one at a time: does it end well, or say why and harm nothing?

    python -m benchmarks faults [--only NAME] [--each N] [--new N] [--out FILE]

The calls of a command on files below its folder are counted: data, models, results, cache and temporary files. Then it
runs again for each of them, and for each way in which that call can fail. The calls of all libraries are among them
(`support/faulting/failing_calls.c`). A run is right if it ends with 0, with the results of a run in which nothing
failed. It is refused if it ends with one line that says why, each file is the old one or the new one, nothing temporary
is left, and the same command, or --resume, ends well afterwards. Anything else is wrong, and the benchmark ends with 1.
FILE keeps what it has of other commands, and of the other way.

Each run is a fork of a process that has imported what the command imports. A new Python makes a few calls more, for its
imports and at its end. --new lets some of them fail in new processes, and some of all others in both ways.

Needs: Linux on x86-64, and gcc.
"""

import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.support.arguments import argument_parser
from benchmarks.support.faulting.failing_calls import FAULTS, Call, Fault
from benchmarks.support.faulting.fault_cases import CASES
from benchmarks.support.faulting.fault_verdict import REFUSED, RIGHT
from benchmarks.support.faulting.faulted_command import FaultedCommand
from benchmarks.support.faulting.faulted_reload import RELOAD, FaultedReload
from benchmarks.support.faulting.faulted_runs import FaultyFolder
from benchmarks.support.memory_folder import memory_folder
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.report.table import markdown_table

RESULT = "results/faults/faults.json"
VERDICTS = (RIGHT, REFUSED, "wrong")
LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "pyarrow")


class Faulted(Protocol):
    """What is tried: `FaultedCommand` or `FaultedReload`."""

    calls: list[Call]
    imports: list[Call]

    def attempt(self, fault: Fault, *, new: bool = False) -> str:
        """Run it with a fault, in a fork or a new Python; return `RIGHT`, `REFUSED` or what is wrong."""


def main(words: Sequence[str]) -> None:
    """Try, print, and write what happened."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    known = [*CASES, RELOAD]
    parser.add_argument("--only", action="append", choices=known, metavar="NAME", help="try this one; default: all")
    parser.add_argument("--each", type=int, metavar="N", help="at most so many calls of a kind; default: all")
    parser.add_argument("--new", type=int, metavar="N", help="only in new processes, and so many calls of a kind")
    arguments = parser.parse_args(words)
    os.environ["OMP_NUM_THREADS"] = "1"
    wrong = False
    with memory_folder() as base:
        folder = FaultyFolder(Path(base))
        for name in arguments.only or known:
            command = opened(name, folder)
            if arguments.new is None:
                figures = {"images": folder.images} | tried(name, command, arguments.each)
            else:
                figures = {"new": tried_anew(name, command, arguments.new)}
            # Read again each time: another process may try other commands.
            kept = json.loads(arguments.out.read_text())["commands"] if arguments.out.is_file() else {}
            found = kept | {name: kept.get(name, {}) | figures}
            result = {"commands": {each: found[each] for each in known if each in found}} | machine_of(LIBRARIES)
            write_result(arguments.out, result, page_of(result))
            wrong = wrong or any(_wrong({name: figures}))
    print(page_of(result))
    sys.exit(wrong)


def opened(name: str, folder: FaultyFolder) -> Faulted:
    """Return what is tried under this name."""
    return FaultedReload(folder) if name == RELOAD else FaultedCommand(folder, CASES[name])


class Outcomes:
    """What came of a command's failures: by call and how it failed, runs that were right and refused."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.wrong: list[dict[str, str]] = []

    def add(self, fault: Fault, found: str) -> None:
        """Count one, and say at once if it is wrong."""
        kind = fault.call.kind
        self.found[kind][fault.how][found if found in (RIGHT, REFUSED) else "wrong"] += 1
        if found not in (RIGHT, REFUSED):
            self.wrong.append({"call": str(fault.call), "how": fault.how, "what": found})
            print(f"{self._name}: {fault.call}, {fault.how}: {found}", flush=True)


def tried(name: str, command: Faulted, each: int | None) -> dict[str, Any]:
    """Let calls fail in forks, at most `each` of a kind, and count what came of it."""
    started, outcomes = time.monotonic(), Outcomes(name)
    for fault in planned(command.calls, each):
        outcomes.add(fault, command.attempt(fault))
    print(f"{name}: {len(command.calls)} calls, {len(outcomes.wrong)} wrong", flush=True)
    minutes, calls = round((time.monotonic() - started) / 60), Counter(call.kind for call in command.calls)
    return {"each": each, "minutes": minutes, "calls": calls, "outcomes": outcomes.found, "wrong": outcomes.wrong}


def tried_anew(name: str, command: Faulted, each: int) -> dict[str, Any]:
    """Let `each` calls of a kind fail in new processes, and say which ended as in a fork; and as many of imports."""
    started, outcomes, compared, differ = time.monotonic(), Outcomes(name), 0, []
    for fault in sampled(command.calls, each):
        compared, before, after = compared + 1, command.attempt(fault), command.attempt(fault, new=True)
        if before != after:
            differ.append(f"{fault.call}, {fault.how}: {after} in a new process, {before} in a fork")
            print(f"{name}: {differ[-1]}", flush=True)
    for fault in sampled(command.imports, each):
        outcomes.add(fault, command.attempt(fault, new=True))
    minutes, imports = round((time.monotonic() - started) / 60), {"outcomes": outcomes.found, "wrong": outcomes.wrong}
    return {"minutes": minutes, "calls": len(command.imports), "compared": compared, "differ": differ} | imports


def planned(calls: Sequence[Call], each: int | None) -> Iterator[Fault]:
    """Yield the calls to fail, in each of their ways; `each` of a kind, evenly spaced."""
    by_kind: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_kind[call.kind].append(call)
    for kind, made in by_kind.items():
        count = min(len(made) if each is None else each, len(made))
        for place in range(count):
            for how in FAULTS[kind]:
                yield Fault(made[place * len(made) // count], how)


def sampled(calls: Sequence[Call], each: int) -> Iterator[Fault]:
    """Yield the calls to fail, `each` of a kind, in one of their ways, which take turns."""
    chosen: dict[Call, list[Fault]] = defaultdict(list)
    for fault in planned(calls, each):
        chosen[fault.call].append(fault)
    for turn, ways in enumerate(chosen.values()):
        yield ways[turn % len(ways)]


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    commands = {name: command for name, command in result["commands"].items() if "outcomes" in command}
    lines = [
        "# System calls that fail",
        "",
        "Every call that a command makes on its files was counted: on data, models, results, cache and",
        "temporary files. Then the command ran again for each way in which one of these calls can fail: an",
        "error of the system, half of a read or write (`short`), or a disk that is full from then on (`full`).",
        "A call is known by its kind, its path and how often it was made there before.",
        "",
        "The example is small, so that every call can fail: a few images of 32 pixels; one epoch of one step, and",
        "a second one by `--resume`. Left out is what takes long and calls no file: charts of `train` are blank,",
        "`export` traces its network once for all runs, and `calibrate` compares speeds for a hundredth of a second.",
        "That all calls are the same without this is checked.",
        "",
        "- *right*: the command ended well, with the results of a run in which nothing failed.",
        "- *refused*: it ended with one line that says why, each file was the old one or the new one, nothing",
        "  temporary was left, and the same command, or `--resume`, ended well afterwards.",
        "- *wrong*: anything else.",
        "",
        markdown_table(
            ("command", "images", "calls", "tried of each kind", "failures", *VERDICTS), list(_by_command(commands))
        ),
        "",
        markdown_table(("call", "fails with", "tried", *VERDICTS), list(_by_call(list(commands.values())))),
        "",
        "## Forks and new processes",
        "",
        "A command ran in a fork of a process that had imported what it imports. A new Python makes a few calls more,",
        "for its imports and at its end: on caches of PyTorch and Matplotlib. Of these, one call of each kind failed",
        "in a new process (`--new 1`). Of all others, one of each kind failed in a fork and in a new process.",
        "",
        markdown_table(
            ("command", "calls of imports", "failures", *VERDICTS, "failed in both", "ended otherwise"),
            list(_in_new_processes(commands)),
        ),
        "",
        *([*told, ""] if (told := list(_wrong(commands))) else []),
        f"{sum(command['minutes'] for command in commands.values())} minutes on a shared machine. {result['cpu']},",
        f"{versions_of(result)}. Made with `python -m benchmarks faults`.",
        "",
    ]
    return "\n".join(lines)


def _by_command(commands: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, command in commands.items():
        counts = _summed(counts_of(command))
        yield f"`{name}`", command["images"], sum(command["calls"].values()), command["each"] or "all", *counts


def counts_of(tried: Mapping[str, Any]) -> list[dict[str, int]]:
    """Return how often each verdict came, for each call and each way in which it failed."""
    return [each for ways in tried["outcomes"].values() for each in ways.values()]


def _by_call(commands: Sequence[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for call, ways in FAULTS.items():
        for how in ways:
            counts = [each["outcomes"][call][how] for each in commands if how in each["outcomes"].get(call, ())]
            if counts:
                yield call, how, *_summed(counts)


def _in_new_processes(commands: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, command in commands.items():
        if new := command.get("new"):
            yield f"`{name}`", new["calls"], *_summed(counts_of(new)), new["compared"], len(new["differ"])


def _summed(counts: list[dict[str, int]]) -> tuple[int, ...]:
    found = [sum(each.get(what, 0) for each in counts) for what in VERDICTS]
    return sum(found), *found


def _wrong(commands: dict[str, Any]) -> Iterator[str]:
    for name, command in commands.items():
        new = command.get("new", {})
        for each in (*command.get("wrong", ()), *new.get("wrong", ())):
            yield f"- `{name}`, {each['call']}, {each['how']}: {each['what']}"
        yield from (f"- `{name}`, {each}" for each in new.get("differ", ()))
