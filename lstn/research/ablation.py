"""Ablation of `--recipe robust`: the recipe without each option, and with what it leaves out, over seeds.

Every run has the same budget of epochs and no early stop. A run that is finished is not trained again and one that was
stopped goes on. Seeds are the outer loop: whatever has run so far is balanced. The result says of every option how much
accuracy the recipe gains by it, paired by seed. An option earns its place if that gain is larger than its standard
error: a low bar, said beforehand.
"""

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lstn.contract import Loc, ThetaForm
from lstn.errors import UsageError
from lstn.health.run_health import METRICS
from lstn.interval import Interval, mean_interval
from lstn.recipe import RECIPES, Recipe
from lstn.report.table import markdown_table
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, read_options
from lstn.train.watch.watcher import SILENT

ROBUST = RECIPES["robust"]

VARIANTS: dict[str, Recipe] = {
    "robust": ROBUST,
    "paper": RECIPES["paper"],
    "without the localizer's own rate": replace(ROBUST, loc_lr_scale=1.0),
    "without warm-up": replace(ROBUST, warmup_epochs=0.0),
    "without cosine": replace(ROBUST, cosine=False),
    "with the localizer's rate at a tenth": replace(ROBUST, loc_lr_scale=0.1),
    "with theta similarity": replace(ROBUST, theta=ThetaForm.SIMILARITY),
    "with in-frame penalty": replace(ROBUST, in_frame=0.1),
}
"""Each option taken from the recipe, and each that it leaves out added to it."""


@dataclass(frozen=True, slots=True)
class AblationRequest:
    """What all runs have in common. data: as `--data` names it; image_size: side in pixels; seeds: runs of each."""

    data: str
    image_size: int
    epochs: int
    loc: Loc
    seeds: int


def ablate(asked: AblationRequest, runs: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train what is missing in `runs`, and yield after every run what it came to, and the whole result so far.

    Raises:
        UsageError: there is a run with other options.
    """
    accuracies: dict[str, list[float]] = {name: [] for name in VARIANTS}
    # Whose files lie where is of no use to a reader.
    settings = {"data": asked.data.partition(":/")[0], "image_size": asked.image_size}
    settings |= {"epochs": asked.epochs, "loc": asked.loc.value}
    for seed in range(asked.seeds):
        for name, recipe in VARIANTS.items():
            options = Options(
                recipe=replace(recipe, patience=asked.epochs),
                loc=asked.loc,
                model="cnn",
                data=asked.data,
                weights="",
                image_size=(asked.image_size, asked.image_size),
                epochs=asked.epochs,
                precision="fp32",
                seed=seed,
            )
            accuracies[name].append(_accuracy_of(options, runs / name.replace(" ", "-") / str(seed)))
            said = f"seed {seed}  {name}: {accuracies[name][-1]:.1%}"
            yield said, {"settings": settings, "recipe": asdict(ROBUST), "rows": rows_of(accuracies)}


def _accuracy_of(options: Options, folder: Path) -> float:
    """Return the test accuracy, 0..1, of a run that may be finished, begun or not there yet."""
    resume = (folder / LAST).is_file()
    if resume and read_options(folder / LAST) != options:
        raise UsageError(f"{folder} holds a run with other options", hint="remove it, or give another --runs")
    metrics = folder / METRICS
    last = json.loads(metrics.read_text().splitlines()[-1]) if metrics.is_file() else {}
    if "test_accuracy" not in last:
        result = train_to_end(options, folder, device=torch.device("cpu"), workers=0, watcher=SILENT, resume=resume)
        return result.test_accuracy
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


_COLUMNS = ("variant", "by seed", "mean", "gain", "larger than its standard error")


def page_of(result: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    recipe = result["recipe"]
    lines = [
        f"# What each option of the recipe is worth: {result['settings']['data']}",
        "",
        "Made by `python -m benchmarks ablation`, whose docstring says how: "
        + ", ".join(f"{name} {value}" for name, value in result["settings"].items())
        + ", model cnn, test accuracy in percent by seed.",
        f"`robust` is Adam {recipe['lr']}, batch {recipe['batch_size']}, {recipe['loc_lr_scale']} of that rate for the "
        "localizer, one epoch's warm-up, and cosine.",
        "Gain: of the option, paired by seed, with its 95 % interval; of `paper`, of all that it does otherwise.",
        "",
        markdown_table(_COLUMNS, [_cells(row) for row in result["rows"] if row["accuracies"]], words=2),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["variant"],
        ", ".join(f"{one:.2f}" for one in row["accuracies"]),
        f"{statistics.fmean(row['accuracies']):.2f}",
        str(Interval(row["gain"], row["low"], row["high"])) if "gain" in row else "",
        {True: "yes", False: "no", None: ""}[row.get("helps")],
    )
