"""Kill a training at random moments: does it end with the same weights all the same, and how much is done twice?

    python -m benchmarks kills [--kills 20] [--epochs 12] [--loc stn] [--seed 0]

SIGKILL, each at a random moment in the first one and a half epochs of the process, counted in steps, so that
a busy machine doesn't change where it strikes, and as often as is asked; then on to the end. With every option that has
a state of its own. The run that nobody killed and the one that was killed are compared bit by bit: weights, averages
and the optimizer's moments, in checkpoint and state. An epoch that was reported as finished must be in the state.
"""

import json
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.support.arguments import argument_parser
from lstn.contract import Loc, ThetaForm
from lstn.health.run_health import Epoch
from lstn.nn.checkpoint import CHECKPOINT, read_tensors
from lstn.recipe import RECIPES
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST
from lstn.train.watch.watcher import Watcher

RECIPE = replace(
    RECIPES["paper"],
    warmup_epochs=1.5,
    cosine=True,
    theta=ThetaForm.SIMILARITY,
    in_frame=0.1,
    patience=99,
)
STEP_S = 0.05
"""About what a step takes, or the writing after an epoch: within it a kill may strike."""

FORKED = multiprocessing.get_context("fork")  # a new Python would spend most of its life importing torch


def main(words: Sequence[str]) -> None:
    """Train one run in peace and one under fire, and say how they compare."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--loc", type=Loc, default=Loc.STN)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args(words)
    options = Options(
        recipe=RECIPE,
        loc=arguments.loc,
        model="cnn",
        data="digits",
        weights="",
        image_size=(32, 32),
        epochs=arguments.epochs,
        precision="fp32",
        seed=0,
    )
    with TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        steps = shoot(options, whole, None) // arguments.epochs
        print(f"not killed: {arguments.epochs} epochs of {steps} steps", flush=True)
        moments = random.Random(arguments.seed)
        for _ in range(arguments.kills):
            shoot(options, killed, moments.uniform(0, 1.5 * steps))
        shoot(options, killed, None)
        equal = [compare(whole / name, killed / name) for name in (CHECKPOINT, LAST)]
    sys.exit(0 if all(equal) else 1)


def shoot(options: Options, folder: Path, after: float | None) -> int:
    """Start the run or go on with it, kill it `after` so many steps, a fraction, and return how many it took."""
    ours, theirs = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=train, args=(options, folder, theirs))
    process.start()
    theirs.close()
    steps, finished = 0, 0
    with suppress(EOFError):  # the run has ended
        while after is None or steps < int(after):
            steps, finished = ours.recv()
        time.sleep(after % 1 * STEP_S if after else 0)
        process.kill()
    process.join()
    with suppress(EOFError):
        while ours.poll():
            _, finished = ours.recv()
    if process.exitcode not in (0, -signal.SIGKILL):
        sys.exit("the run failed")
    if after is not None:
        kept = epochs_in(folder / LAST)
        how = "killed" if process.exitcode else "ended by itself"
        print(f"{how} after {steps:3d} steps: last epoch reported {finished:2d}, kept {kept:2d}", flush=True)
        if kept < finished:
            sys.exit("a finished epoch was lost")
    return steps


def train(options: Options, folder: Path, reports: Connection) -> None:
    """Train in this process, and report steps and finished epochs."""
    steps, finished = 0, 0

    def step(*_: float) -> None:
        nonlocal steps
        steps += 1
        reports.send((steps, finished))

    def epoch(row: Epoch, _: Epoch) -> None:
        nonlocal finished
        finished = row["epoch"]
        reports.send((steps, finished))

    watcher = Watcher(lambda outlook: None, step, epoch)
    resume = (folder / LAST).is_file()
    train_to_end(options, folder, device=torch.device("cpu"), workers=0, watcher=watcher, resume=resume)


def epochs_in(state: Path) -> int:
    """Return how many epochs the state holds; none if there is no state yet."""
    return len(json.loads(read_tensors(state)[1]["lstn.state"])["history"]) if state.is_file() else 0


def compare(whole: Path, killed: Path) -> bool:
    """Say how the tensors of two files compare, and return whether they are the same."""
    one, other = read_tensors(whole)[0], read_tensors(killed)[0]
    different = [name for name in one if name not in other or not torch.equal(one[name], other[name])]
    equal = not different and one.keys() == other.keys()
    print(f"{whole.name}: {len(one)} tensors, {'equal to the bit' if equal else f'different: {different[:5]}'}")
    return equal
