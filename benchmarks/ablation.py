"""What each option of `--recipe robust` is worth: the recipe without it, and with what it leaves out, over seeds.

    python benchmarks/ablation.py [--data digits] [--image-size 32] [--epochs 24] [--seeds 3] [--runs runs/ablation]

Every run has the same budget of epochs and no early stop. A run that is finished is not trained again and one that was
stopped goes on, so the script can be stopped and started at will, and more seeds added later. Seeds are the outer loop:
whatever has run so far is balanced. The result says of every option how much accuracy the recipe gains by it, paired by
seed. An option earns its place if that gain is larger than its standard error: a low bar, said beforehand.
"""

import argparse
import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from lstn.contract import Loc, ThetaForm
from lstn.interval import Interval
from lstn.train.loop import METRICS, SILENT, fit
from lstn.train.options import Options
from lstn.train.recipes import RECIPES, Recipe
from lstn.train.state import LAST

PAPER = RECIPES["paper"]

FULL = replace(
    PAPER, loc_lr_scale=0.1, weight_decay=0.01, warmup_epochs=1.0, cosine=True, ema_epochs=1.0, clip_norm=1.0
)
"""All that was tried at once; what the recipe has of it is what helped."""

VARIANTS: dict[str, Recipe] = {
    "full": FULL,
    "paper": PAPER,
    "without the localizer's own rate": replace(FULL, loc_lr_scale=1.0),
    "without weight decay": replace(FULL, weight_decay=0.0),
    "without warm-up": replace(FULL, warmup_epochs=0.0),
    "without cosine": replace(FULL, cosine=False),
    "without averaging": replace(FULL, ema_epochs=0.0),
    "without clipping": replace(FULL, clip_norm=0.0),
    "with theta similarity": replace(FULL, theta=ThetaForm.SIMILARITY),
    "with theta crop": replace(FULL, theta=ThetaForm.CROP),
    "with in-frame penalty": replace(FULL, in_frame=0.1),
    "paper with the localizer's own rate": replace(PAPER, loc_lr_scale=0.1),
    "paper with weight decay": replace(PAPER, weight_decay=0.01),
    "paper with warm-up": replace(PAPER, warmup_epochs=1.0),
    "paper with cosine": replace(PAPER, cosine=True),
    "paper with averaging": replace(PAPER, ema_epochs=1.0),
    "paper with clipping": replace(PAPER, clip_norm=1.0),
    "paper with theta similarity": replace(PAPER, theta=ThetaForm.SIMILARITY),
    "paper with in-frame penalty": replace(PAPER, in_frame=0.1),
}
"""Each option taken from all of them, and each added to none."""

_T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t at 97.5 %, by the number of seeds."""


def main() -> None:
    """Train what is missing, and write the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--loc", type=Loc, default=Loc.STN)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/ablation.json"))
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("data", "image_size", "epochs")} | {
        "loc": arguments.loc.value
    }
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
            accuracies[name].append(accuracy_of(options, arguments.runs / name.replace(" ", "-") / str(seed)))
            print(f"seed {seed}  {name}: {accuracies[name][-1]:.1%}", flush=True)
            result = {"settings": settings, "rows": rows_of(accuracies)}
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
            arguments.out.with_suffix(".md").write_text(page_of(result))


def accuracy_of(options: Options, folder: Path) -> float:
    """Return the test accuracy, 0..1, of a run that may be finished, begun or not there yet."""
    metrics = folder / METRICS
    last = json.loads(metrics.read_text().splitlines()[-1]) if metrics.is_file() else {}
    if "test_accuracy" not in last:
        resume = (folder / LAST).is_file()
        fit(options, folder, device=torch.device("cpu"), workers=0, watcher=SILENT, resume=resume)
        last = json.loads(metrics.read_text().splitlines()[-1])
    return float(last["test_accuracy"])


def rows_of(accuracies: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return of every variant its accuracies, and what the option in question gains, both in percent."""
    rows = []
    for name, own in accuracies.items():
        # What was left out gains by being in; what was added gains by being added.
        base = accuracies["paper" if name.startswith("paper ") else "full"]
        sign = -1 if name.startswith("without ") else 1
        gains = [100 * sign * (one - other) for one, other in zip(own, base, strict=False)]
        row: dict[str, Any] = {"variant": name, "accuracies": [round(100 * one, 2) for one in own]}
        if name != "full" and len(gains) > 1:
            error = statistics.stdev(gains) / len(gains) ** 0.5
            mean, reach = statistics.fmean(gains), _T95[len(gains)] * error
            row |= {"gain": round(mean, 2), "low": round(mean - reach, 2), "high": round(mean + reach, 2)}
            row["helps"] = mean > error
        rows.append(row)
    return rows


def page_of(result: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = [
        "# What each option of the recipe is worth",
        "",
        "Made by `python benchmarks/ablation.py`, whose docstring says how: "
        + ", ".join(f"{name} {value}" for name, value in result["settings"].items())
        + ", model cnn, test accuracy in percent by seed.",
        "`full` is Adam 0.001, batch 16, and all of: localizer rate 0.1, weight decay 0.01, 1 epoch's warm-up, cosine,",
        "averaging over 1 epoch, clipping at norm 1. Gain: of the option, paired by seed, with its 95 % interval.",
        "",
        "| variant | by seed | mean | gain by the option | larger than its standard error |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if not row["accuracies"]:
            continue
        gain = str(Interval(row["gain"], row["low"], row["high"])) if "gain" in row else ""
        helps = {True: "yes", False: "no", None: ""}[row.get("helps")]
        accuracies = ", ".join(f"{one:.1f}" for one in row["accuracies"])
        lines.append(
            f"| {row['variant']} | {accuracies} | {statistics.fmean(row['accuracies']):.1f} | {gain} | {helps} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
