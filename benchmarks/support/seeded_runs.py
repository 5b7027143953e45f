"""What benchmarks share that train with several seeds: their arguments, quiet runs, and how figures are told."""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.arguments import argument_parser

if TYPE_CHECKING:
    from lstn.contract import Loc
    from lstn.train.runs.options import Options


def seeded_arguments(words: Sequence[str], name: str, told: str | None, *, out: str) -> argparse.Namespace:
    """Read --seeds and --out; the rest is as `argument_parser` has it."""
    parser = argument_parser(name, told, out=out)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args(words)


def run_quietly(folder: Path, *words: str, threads: int | None = None) -> None:
    """Run `lstn WORDS` in a folder, in a process of its own, and end with its error if it has one.

    threads: of that process, or as it chooses
    """
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    command = [sys.executable, "-m", "lstn", *words]
    ended = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if ended.returncode:
        sys.exit(f"lstn {' '.join(words)}: exit status {ended.returncode}\n{_its_error(ended.stderr)}")


def _its_error(said: bytes) -> str:
    """Return what follows the progress of a command that failed."""
    _, error, hint = said.decode(errors="replace").rpartition("error:")
    return error + hint


def small_run(data: Path, *, loc: "Loc", side: int, epochs: int, seed: int, **more: Any) -> "Options":
    """Return the options of a short run of `cnn` on a folder, to its last epoch; more: options, as `Options` has."""
    from lstn.recipe import RECIPES
    from lstn.train.runs.options import Options

    return Options(
        recipe=replace(RECIPES["robust"], patience=epochs),
        loc=loc,
        model="cnn",
        data=f"folder:{data}",
        weights="",
        image_size=(side, side),
        epochs=epochs,
        precision="fp32",
        seed=seed,
        **more,
    )


def mean_and_range(values: Sequence[float], places: int) -> str:
    """Return the mean, and from where to where the values go; nothing of none."""
    if not values:
        return ""
    return f"{statistics.mean(values):.{places}f} ({min(values):.{places}f} to {max(values):.{places}f})"
