"""What other warps than affine ones are worth: errors on MNIST seen in perspective (P) and bent (E).

    python benchmarks/forms.py --data-root FOLDER [--seeds 3] [--epochs 3] [--out results/forms/forms.json]

FOLDER holds `mnist`, as `lstn train --data-root` takes it. For each seed the backbone starts alike and sees the same
pictures in the same order; only `--theta` is another, or there is no transformer.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from result_files import machine_of, versions_of, write_result

from lstn.interval import mean_interval
from lstn.machine.cores import usable_cores
from lstn.report.table import markdown_table

SETS = {"mnist-p": "P: in perspective", "mnist-e": "E: bent"}
TRAIN = "train --model cnn --device cpu --loc-lr-scale 1"
ROWS = {
    "no transformer": "--loc none",
    "affine": "--loc stn",
    "projective": "--loc stn --theta projective",
    "tps": "--loc stn --theta tps",
}
REFERENCE = "affine"


def main() -> None:
    """Train each row with each seed, a run on each core, and write the table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/forms/forms.json"))
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for seed in range(arguments.seeds):
            jobs = [(data, name, seed) for data, name in product(SETS, ROWS)]
            runs += pool.map(lambda job: trained(*job, arguments.epochs, arguments.data_root.resolve()), jobs)
            result = machine_of(("torch", "torchvision")) | {"epochs": arguments.epochs, "runs": runs}
            write_result(arguments.out, result, page_of(result))


def trained(data: str, name: str, seed: int, epochs: int, root: Path) -> dict[str, Any]:
    """Train and test in a process of its own with one thread, and return what came of it."""
    words = [*TRAIN.split(), *ROWS[name].split(), "--data", data, "--data-root", str(root), "--seed", str(seed)]
    words += ["--epochs", str(epochs), "--patience", str(epochs), "--name", "run"]
    with TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "lstn", *words],
            cwd=folder,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        rows = [json.loads(line) for line in (Path(folder) / "runs/run/metrics.jsonl").read_text().splitlines()]
    test = next(row["test_accuracy"] for row in rows if "test_accuracy" in row)
    run = {"set": data, "row": name, "seed": seed, "error": 100 * (1 - test)}
    print(json.dumps(run), flush=True)
    return run


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = []
    for name in ROWS:
        cells = [cell for data in SETS for cell in _cells(result["runs"], data, name)]
        rows.append((name, *cells))
    columns = ["theta"]
    for title in SETS.values():
        columns += [f"{title}, error in %", "more than affine, points"]
    return f"""# What other warps are worth

MNIST at 28 x 28 pixels, seen in perspective (P) or bent by a thin plate spline (E), as Jaderberg et al. (2015) did.
An STN in front of `cnn`, {result["epochs"]} epochs: `lstn {TRAIN} --theta THETA --data SET`.
Error of the test set: the mean over seeds, and from the lowest to the highest. Differences are paired by seed: the
mean, and its 95 % interval.

{markdown_table(columns, rows)}

{result["cpu"]}; {versions_of(result)}. Made with `python benchmarks/forms.py`.
"""


def _cells(runs: Iterable[Mapping[str, Any]], data: str, name: str) -> tuple[str, str]:
    errors = {
        row: {run["seed"]: run["error"] for run in runs if run["set"] == data and run["row"] == row}
        for row in (name, REFERENCE)
    }
    own, reference = errors[name], errors[REFERENCE]
    told = f"{statistics.mean(own.values()):.2f} ({min(own.values()):.2f} to {max(own.values()):.2f})"
    if name == REFERENCE or len(own) < 2:
        return told, ""
    interval = mean_interval([own[seed] - reference[seed] for seed in own])
    return told, f"{interval.value:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"


if __name__ == "__main__":
    main()
