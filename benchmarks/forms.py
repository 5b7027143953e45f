"""What other warps than affine ones are worth: errors on digits seen in perspective (P) and bent (E).

    python -m benchmarks forms [--seeds 3] [--out results/forms/forms.json]

The embedded digits, distorted as Jaderberg et al. (2015) distort MNIST (`lstn.data.distortion`), are written as folders
of pictures of 28 pixels: 6,000 to train on, each of its digit in another distortion, 500 to choose the epoch, 3,000 to
test. For each seed the backbone starts alike and sees the same pictures in the same order; only the transformer is
another.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from PIL import Image

from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, run_quietly, seeded_arguments
from lstn.data.digits import digit_rasters
from lstn.data.distortion import DISTORTIONS
from lstn.interval import mean_interval
from lstn.machine.cores import usable_cores
from lstn.report.table import markdown_table

RESULT = "results/forms/forms.json"
SETS = {"p": "P, in perspective", "e": "E, bent"}
COUNTS: dict[Literal["train", "val", "test"], int] = {"train": 6000, "val": 500, "test": 3000}
MARGIN = 4
"""Black pixels around a digit's 20 x 20, as MNIST has them."""

TRAIN = "train --model cnn --image-size 28 --epochs 12 --patience 12 --device cpu"
ROWS = {
    "no transformer": "--loc none",
    "affine": "--loc stn --loc-lr-scale 1",
    "projective": "--loc stn --loc-lr-scale 1 --theta projective",
    "tps": "--loc stn --loc-lr-scale 1 --theta tps",
}
REFERENCE = "affine"


def main(words: Sequence[str]) -> None:
    """Train each row with each seed, a run on each core, and write the table after each set of a seed."""
    arguments = seeded_arguments(words, __name__, __doc__, out=RESULT)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for kind in SETS:
            with TemporaryDirectory() as folder, ThreadPoolExecutor(usable_cores()) as pool:
                write_folder(Path(folder) / "digits", kind, seed)
                runs += pool.map(lambda name: trained(Path(folder), kind, name, seed), ROWS)  # noqa: B023 - ends here
            result = machine_of(("torch", "torchvision")) | {"runs": runs}
            write_result(arguments.out, result, page_of(result))


def write_folder(root: Path, kind: str, seed: int) -> None:
    """Write the distorted digits, ROOT/SPLIT/DIGIT/NUMBER.png."""
    for number, (split, count) in enumerate(COUNTS.items()):
        rasters, labels = digit_rasters(split)
        digits = np.pad(rasters * np.uint8(17), [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
        for index in range(count):
            which = index % len(digits)
            drawn = DISTORTIONS[kind](digits[which], digits, np.random.default_rng([seed, number, index]))
            path = root / split / str(labels[which]) / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).convert("RGB").save(path)


def trained(folder: Path, kind: str, name: str, seed: int) -> dict[str, Any]:
    """Train and test in a process of its own with one thread, and return what came of it."""
    run = name.replace(" ", "-")
    words = [*TRAIN.split(), *ROWS[name].split(), "--data", "folder:digits", "--seed", str(seed), "--name", run]
    run_quietly(folder, *words, threads=1)
    rows = [json.loads(line) for line in (folder / "runs" / run / "metrics.jsonl").read_text().splitlines()]
    test = next(row["test_accuracy"] for row in rows if "test_accuracy" in row)
    found = {"set": kind, "row": name, "seed": seed, "error": round(100 * (1 - test), 3)}
    print(json.dumps(found), flush=True)
    return found


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = [(name, *(cell for kind in SETS for cell in _cells(result["runs"], kind, name))) for name in ROWS]
    columns = ["theta"]
    for title in SETS.values():
        columns += [f"{title}: error in %", "points more than affine"]
    return f"""# What other warps are worth

Digits of 28 x 28 pixels, seen in perspective (P) or bent by a thin plate spline (E): {COUNTS["train"]:,} to train on,
{COUNTS["test"]:,} to test. `lstn {TRAIN}`,
an STN with `--loc-lr-scale 1` and `--theta` as the table says. Errors of the test pictures: the mean over seeds, and
from the lowest to the highest. Differences are paired by seed: the mean, and its 95 % interval.

{markdown_table(columns, rows)}

{result["cpu"]}; {versions_of(result)}. Made with `python -m benchmarks forms`.
"""


def _cells(runs: Iterable[Mapping[str, Any]], kind: str, name: str) -> tuple[str, str]:
    errors = {
        row: {run["seed"]: run["error"] for run in runs if run["set"] == kind and run["row"] == row}
        for row in (name, REFERENCE)
    }
    own, reference = errors[name], errors[REFERENCE]
    if not own:
        return "", ""
    told = mean_and_range(list(own.values()), 1)
    if name == REFERENCE or len(own) < 2:
        return told, ""
    interval = mean_interval([own[seed] - reference[seed] for seed in own])
    return told, f"{interval.value:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"
