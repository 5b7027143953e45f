"""Ablation of `--recipe robust`: the recipe without each option, and with what it leaves out, over seeds.

    python benchmarks/ablation.py --data mnist-rts --image-size 42 --epochs 4 --out results/recipe/ablation-rts.json

Every run has the same budget of epochs and no early stop. A run that is finished is not trained again and one that was
stopped goes on, so the script can be stopped and started at will, and more seeds added later. Seeds are the outer loop:
whatever has run so far is balanced. The result says of every option how much accuracy the recipe gains by it, paired by
seed. An option earns its place if that gain is larger than its standard error: a low bar, said beforehand.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from lstn.contract import Loc, ThetaForm
from lstn.health.run_health import METRICS
from lstn.interval import Interval, mean_interval
from lstn.train.loop import SILENT, fit
from lstn.train.options import Options
from lstn.train.recipes import RECIPES, Recipe
from lstn.train.run_state import LAST, read_options

ROBUST = RECIPES["robust"]

VARIANTS: dict[str, Recipe] = {
    "robust": ROBUST,
    "paper": RECIPES["paper"],
    "without the localizer's own rate": replace(ROBUST, loc_lr_scale=1.0),
    "without warm-up": replace(ROBUST, warmup_epochs=0.0),
    "without cosine": replace(ROBUST, cosine=False),
    "with the localizer's rate at a tenth": replace(ROBUST, loc_lr_scale=0.1),
    "with weight decay": replace(ROBUST, weight_decay=0.01),
    "with clipping": replace(ROBUST, clip_norm=1.0),
    "with theta similarity": replace(ROBUST, theta=ThetaForm.SIMILARITY),
    "with in-frame penalty": replace(ROBUST, in_frame=0.1),
}
"""Each option taken from the recipe, and each that it leaves out added to it."""


def main() -> None:
    """Train what is missing, and write the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--loc", type=Loc, default=Loc.STN)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, help="folder of the runs; default: runs/NAME, as --out is called")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = arguments.runs or Path("runs") / arguments.out.stem
    # Whose files lie where is of no use to a reader.
    settings = {"data": arguments.data.partition(":/")[0], "image_size": arguments.image_size}
    settings |= {"epochs": arguments.epochs, "loc": arguments.loc.value}
    accuracies: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed in range(arguments.seeds):
        for name, recipe in VARIANTS.items():
            options = Options(
                **asdict(recipe) | {"patience": arguments.epochs},
                loc=arguments.loc,
                model="cnn",
                data=arguments.data,
                weights="",
                image_size=arguments.image_size,
                epochs=arguments.epochs,
                precision="fp32",
                seed=seed,
            )
            accuracies[name].append(accuracy_of(options, runs / name.replace(" ", "-") / str(seed)))
            print(f"seed {seed}  {name}: {accuracies[name][-1]:.1%}", flush=True)
            result = {"settings": settings, "recipe": asdict(ROBUST), "rows": rows_of(accuracies)}
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
            arguments.out.with_suffix(".md").write_text(page_of(result))


def accuracy_of(options: Options, folder: Path) -> float:
    """Return the test accuracy, 0..1, of a run that may be finished, begun or not there yet."""
    resume = (folder / LAST).is_file()
    if resume and read_options(folder / LAST) != options:
        sys.exit(f"{folder} holds a run with other options: remove it, or give another --runs")
    metrics = folder / METRICS
    last = json.loads(metrics.read_text().splitlines()[-1]) if metrics.is_file() else {}
    if "test_accuracy" not in last:
        fit(options, folder, device=torch.device("cpu"), workers=0, watcher=SILENT, resume=resume)
        last = json.loads(metrics.read_text().splitlines()[-1])
    return float(last["test_accuracy"])


def rows_of(accuracies: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return of every variant its accuracies, and what the option in question gains, both in percent."""
    rows = []
    for name, own in accuracies.items():
        # What was left out gains by being in; what was added gains by being added.
        sign = -1 if name.startswith("without ") else 1
        gains = [100 * sign * (one - other) for one, other in zip(own, accuracies["robust"], strict=False)]
        row: dict[str, Any] = {"variant": name, "accuracies": [round(100 * one, 2) for one in own]}
        if name != "robust" and len(gains) > 1:
            gain = mean_interval(gains)
            row |= {"gain": round(gain.value, 2), "low": round(gain.low, 2), "high": round(gain.high, 2)}
            row["helps"] = gain.value > statistics.stdev(gains) / len(gains) ** 0.5
        rows.append(row)
    return rows


def page_of(result: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    recipe = result["recipe"]
    lines = [
        f"# What each option of the recipe is worth: {result['settings']['data']}",
        "",
        "Made by `python benchmarks/ablation.py`, whose docstring says how: "
        + ", ".join(f"{name} {value}" for name, value in result["settings"].items())
        + ", model cnn, test accuracy in percent by seed.",
        f"`robust` is Adam {recipe['lr']}, batch {recipe['batch_size']}, {recipe['loc_lr_scale']} of that rate for the "
        "localizer, one epoch's warm-up, and cosine.",
        "Gain: of the option, paired by seed, with its 95 % interval; of `paper`, of all that it does otherwise.",
        "",
        "| variant | by seed | mean | gain | larger than its standard error |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if not row["accuracies"]:
            continue
        gain = str(Interval(row["gain"], row["low"], row["high"])) if "gain" in row else ""
        helps = {True: "yes", False: "no", None: ""}[row.get("helps")]
        accuracies = ", ".join(f"{one:.2f}" for one in row["accuracies"])
        lines.append(
            f"| {row['variant']} | {accuracies} | {statistics.fmean(row['accuracies']):.2f} | {gain} | {helps} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
