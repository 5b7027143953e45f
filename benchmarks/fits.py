"""What a photo's shape is worth: photos that are stretched, letterboxed, or cut to their middle.

    python -m benchmarks fits FOLDER [--seeds 4] [--out results/fits/fits.json]

FOLDER has train/, val/ and test/ with a folder of photos for each class, such as a part of Caltech-101. They are put
together and divided anew by each seed, 80/10/10, so that every seed tests other photos. Fits of one seed have the same
photos, weights and epochs, so differences are paired.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, small_run
from lstn.contract import Fit, Loc
from lstn.data.folders.listing import Skipped, images_below
from lstn.interval import mean_interval
from lstn.report.table import markdown_table
from lstn.train.loop import train_to_end
from lstn.train.watch.watcher import SILENT

RESULT = "results/fits/fits.json"
SIDE = 64
EPOCHS = 12
LOCS = (Loc.NONE, Loc.STN)
CPU = torch.device("cpu")


def main(words: Sequence[str]) -> None:
    """Train each network with each seed and fit, and write the tables after each."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    arguments = parser.parse_args(words)
    runs: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        photos = {"classes": link(arguments.folder, root), **shapes_of(root)}
        for seed in range(arguments.seeds):
            for loc in LOCS:
                for each in Fit:
                    place = Path(folder) / f"{loc.value}-{each.value}-{seed}"
                    runs.append(
                        {"loc": loc.value, "fit": each.value, "seed": seed} | trained(root, place, loc, each, seed)
                    )
                    print(json.dumps(runs[-1]), flush=True)
                    result = machine_of(("torch", "torchvision")) | {"photos": photos, "runs": runs}
                    write_result(arguments.out, result, page_of(result))


def link(folder: Path, root: Path) -> int:
    """Link the photos of all splits into one folder for each class; return the number of classes."""
    for path in images_below(folder, Skipped()):
        place = root / path.parent.name / f"{path.parent.parent.name}-{path.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.absolute())
    return len(list(root.iterdir()))


def shapes_of(root: Path) -> dict[str, Any]:
    """Return how many photos there are, and the quartiles of the longer side over the shorter one."""
    ratios = []
    for path in images_below(root, Skipped()):
        with Image.open(path) as image:
            ratios.append(max(image.size) / min(image.size))
    return {"count": len(ratios), "ratios": [round(each, 2) for each in statistics.quantiles(ratios, n=4)]}


def trained(root: Path, folder: Path, loc: Loc, how: Fit, seed: int) -> dict[str, Any]:
    """Train one network, and return its test accuracy, 0..1, and the CPU seconds."""
    options = small_run(root, loc=loc, side=SIDE, epochs=EPOCHS, seed=seed, augment="standard", fit=how)
    began = time.process_time()
    result = train_to_end(options, folder, device=CPU, workers=0, watcher=SILENT, resume=False)
    took = round(time.process_time() - began, 1)
    return {"accuracy": result.test_accuracy, "images": result.test_images, "cpu_s": took}


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = []
    for loc in LOCS:
        found = {each: accuracies(result, loc, each) for each in Fit}
        for each, values in found.items():
            pairs = zip(values.values(), (found[Fit.STRETCH][seed] for seed in values), strict=True)
            apart = [100 * (one - other) for one, other in pairs]
            gained = "" if each is Fit.STRETCH or len(apart) < 2 else str(mean_interval(apart))
            told = mean_and_range([100 * value for value in values.values()], 1)
            rows.append(("no transformer" if loc is Loc.NONE else loc.value.upper(), each.value, told, gained))
    columns = ("network", "`--fit`", "accuracy in %", "points more than stretch")
    photos, tested = result["photos"], result["runs"][0]["images"]
    low, median, high = photos["ratios"]
    return f"""# What a photo's shape is worth

{photos["count"]:,} photos of {photos["classes"]} classes; the longer side over the shorter one has the
quartiles {low}, {median} and {high}. `lstn train --model cnn --image-size {SIDE} --epochs {EPOCHS} --augment standard`.
Each seed divides the photos anew, and tests {tested} of them.
The mean over seeds, and from the lowest to the highest; differences are paired by seed, with their 95 % interval.

{markdown_table(columns, rows)}

{result["cpu"]}; {versions_of(result)}. Made with `python -m benchmarks fits FOLDER`.
"""


def accuracies(result: Mapping[str, Any], loc: Loc, how: Fit) -> dict[int, float]:
    """Return the test accuracies of one network and fit, by seed."""
    chosen = [run for run in result["runs"] if (run["loc"], run["fit"]) == (loc.value, how.value)]
    return {run["seed"]: run["accuracy"] for run in chosen}
