"""Measure what the choice of threads is worth: `lstn train` as it comes against three settings of OpenMP.

    python -m benchmarks threads [--seconds 4] [--rounds 6] [--out results/threads/threads.json]

A process for each setting trains the same run and stands still between its turns. The four take turns of some seconds
in a new order each round, on a machine as it is, and again while two other processes spin. Ratios are paired by round.
What other programs do meanwhile falls on all four; the load at the start is told.
"""

import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, spread, versions_of, write_result
from lstn.machine.cores import usable_cores
from lstn.report.table import markdown_table

RESULT = "results/threads/threads.json"
CASES = (("cnn", 48), ("resnet-18", 64), ("effnet-b0", 224))
SPINNING = 2
CORES = usable_cores()
ALL = {"OMP_NUM_THREADS": str(CORES)}
SETTINGS = {
    "lstn train": {},
    "OpenMP as it comes": ALL | {"GOMP_SPINCOUNT": "300000"},  # what libgomp does where nothing is set
    "OMP_WAIT_POLICY=passive": ALL | {"OMP_WAIT_POLICY": "passive"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
"""The first is the default; all threads but for the last one, else."""

OURS = next(iter(SETTINGS))
MEASURING = 16 * math.ceil(math.log2(max(2, CORES))) + 1
"""Steps after which lstn has chosen its threads."""

CHILD = """
import sys, tempfile, time
from dataclasses import replace
from pathlib import Path
from lstn.machine.cores import share_cores
share_cores()
import torch
from lstn.contract import Loc
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.watch.watcher import Watcher
from lstn.recipe import RECIPES
model, side, warm = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
steps, began, seconds, last, latest = 0, time.perf_counter(), 0.0, 1, 0.0

def step(epoch, seen, loss, accuracy):
    global steps, began, seconds, warm, last, latest
    now = time.perf_counter()
    if epoch == last:
        steps += 1
    else:  # validation was in between, which is no step
        began += now - latest
    if steps > warm and now - began >= seconds:
        print(steps, now - began, torch.get_num_threads(), flush=True)
        seconds, steps, warm, now = float(sys.stdin.readline()), 0, 0, time.perf_counter()
        began = now
    last, latest = epoch, now

options = Options(
    recipe=replace(RECIPES["robust"], patience=1000), loc=Loc.LSTN, model=model, data="digits", weights="",
    image_size=(side, side), epochs=1000, precision="fp32", seed=0,
)
watcher = Watcher(lambda outlook: None, step, lambda row, best: None)
with tempfile.TemporaryDirectory() as folder:
    train_to_end(options, Path(folder) / "run", device=torch.device("cpu"), workers=0, watcher=watcher, resume=False)
"""


def main(words: Sequence[str]) -> None:
    """Measure every case on the machine as it is and busy, and write the result after each."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args(words)

    setting = {"cores": CORES, "spinning": SPINNING, "seconds": arguments.seconds, "rounds": arguments.rounds}
    cases: list[dict[str, Any]] = []
    for model, side in CASES:
        for busy in (False, True):
            load = os.getloadavg()[0]
            rates, threads = measure(model, side, busy=busy, seconds=arguments.seconds, rounds=arguments.rounds)
            cases.append({"model": model, "side": side, "busy": busy, "load": load, "threads": threads, "rates": rates})
            print(row_of(cases[-1]), flush=True)
            result = setting | {"cases": cases} | machine_of(("torch",))
            write_result(arguments.out, result, page_of(result))
    print(page_of(result))


def measure(
    model: str, side: int, *, busy: bool, seconds: float, rounds: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Return steps a minute of every round, and the threads used at the end, for each of SETTINGS."""
    rates: dict[str, list[float]] = {name: [] for name in SETTINGS}
    threads = {}
    with ExitStack() as running:
        for _ in range(SPINNING if busy else 0):
            running.enter_context(spinning())
        children = {}
        for name in SETTINGS:  # one after the other, so that each is alone while it warms up and chooses
            children[name] = running.enter_context(child(name, model, side))
            answer_of(children[name])
        for number in range(rounds):
            order = random.Random(number).sample(list(children), len(children))
            for name in order:
                steps, took, threads[name] = ask(children[name], seconds)
                rates[name].append(60 * steps / took)
    return rates, threads


@contextmanager
def child(name: str, model: str, side: int) -> Iterator[subprocess.Popen[str]]:
    """Start a run under one of SETTINGS; it waits after its first steps."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    warm = MEASURING if name == OURS else 2
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, model, str(side), str(warm)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clean | SETTINGS[name],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def spinning() -> Iterator[None]:
    """Take a core, as another program would."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def ask(process: subprocess.Popen[str], seconds: float) -> tuple[int, float, int]:
    """Let a run take steps for so long; return how many, how long they took, and its threads."""
    assert process.stdin is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return answer_of(process)


def answer_of(process: subprocess.Popen[str]) -> tuple[int, float, int]:
    """Read what a run says at the end of a turn."""
    assert process.stdout is not None
    steps, took, threads = process.stdout.readline().split()
    return int(steps), float(took), int(threads)


def row_of(case: dict[str, Any]) -> list[str]:
    """Return a case as a row: steps a minute of each setting, and ours against the best of the others."""
    rates = case["rates"]
    others = [name for name in SETTINGS if name != OURS]
    best = max(others, key=lambda name: statistics.median(rates[name]))
    ratios = [ours / other for ours, other in zip(rates[OURS], rates[best], strict=True)]
    return [
        f"{case['model']}, {case['side']} px",
        "busy" if case["busy"] else f"as it was, load {case['load']:.1f}",
        *(f"{statistics.median(rates[name]):,.0f}" for name in SETTINGS),
        str(case["threads"][OURS]),
        f"{spread(ratios, 2)}, {best}",
    ]


def page_of(result: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    heads = ["model", "machine", *SETTINGS, "threads that lstn chose", "lstn train / the best of the others"]
    lines = [
        "# What the choice of threads is worth",
        "",
        f"`python -m benchmarks threads`: training steps a minute, batch 16, medians of {result['rounds']} turns of "
        f"{result['seconds']:g} s; L-STN in front of each model. Busy: {result['spinning']} other processes spin. "
        "Ratios are paired by round: median (least to most), against the setting with the highest median.",
        "",
        markdown_table(heads, map(row_of, result["cases"]), words=2),
        "",
        f"{result['cpu']}, {result['cores']} cores, {versions_of(result)}.",
    ]
    return "\n".join(lines) + "\n"
