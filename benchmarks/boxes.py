"""What a few boxes are worth: turned, scaled and shifted digits, with boxes of none, of 20 a class, or of all.

    python -m benchmarks boxes [--seeds 3] [--out results/boxes/boxes.json]

They are written as a folder of pictures with a boxes.csv, as a user has them, and `lstn train` and `lstn evaluate`
read it: 3,000 pictures of 44 pixels to train on, 500 to choose the epoch, 1,000 to test. All test pictures have boxes,
to measure with. Everything else is the same for one seed.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, run_quietly, seeded_arguments
from lstn.data.dataset import open_data
from lstn.data.folders.boxes import BOXES
from lstn.data.poses import Pose, pose_of
from lstn.report.table import markdown_table

RESULT = "results/boxes/boxes.json"
SIDE = 44
COUNTS = {"train": 3000, "val": 500, "test": 1000}
A_CLASS = 20
TRAIN = "train --model cnn --image-size 44 --epochs 8 --patience 8 --device cpu"
ROWS = {
    "no transformer": (0, "--loc none"),
    "STN, no boxes": (0, "--loc stn --loc-lr-scale 1"),
    f"STN, {A_CLASS} boxes a class": (A_CLASS, "--loc stn --loc-lr-scale 1 --supervise 1"),
    "STN, all boxes": (COUNTS["train"], "--loc stn --loc-lr-scale 1 --supervise 1"),
}


def main(words: Sequence[str]) -> None:
    """Train each row with each seed, and write the table after each."""
    arguments = seeded_arguments(words, __name__, __doc__, out=RESULT)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for name, (boxes, options) in ROWS.items():
            with TemporaryDirectory() as folder:
                write_folder(Path(folder) / "digits", boxes, seed)
                runs.append({"row": name, "seed": seed} | trained(Path(folder), options, seed))
            print(json.dumps(runs[-1]), flush=True)
            result = machine_of(("torch", "torchvision")) | {"runs": runs}
            write_result(arguments.out, result, page_of(result))


def write_folder(root: Path, boxes: int, seed: int) -> None:
    """Write the pictures, and the boxes of so many training pictures of each class, and of all others."""
    data = open_data("digits", image_hw=(SIDE, SIDE), seed=seed)
    rows: list[list[object]] = []
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        posed: Counter[str] = Counter()
        for index in range(COUNTS[name]):
            pixels, label = split[index]
            path = Path(name) / data.labels[label] / f"{index:04}.png"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / path)
            posed[data.labels[label]] += 1
            pose = pose_of(split, index)
            if pose is not None and (name != "train" or posed[data.labels[label]] <= boxes):
                rows.append([path.as_posix(), *box_of(pose, SIDE)])
    with (root / BOXES).open("w", newline="") as file:
        csv.writer(file).writerows([["path", "x1", "y1", "x2", "y2", "degrees"], *rows])


def box_of(pose: Pose, side: int) -> Iterator[float]:
    """Return a pose in a picture of this side as a box: left, top, right and bottom in pixels, before it is turned, and
    the degrees."""
    turned, centre = side * pose.theta[:, :2].astype(float), side * (pose.theta[:, 2].astype(float) + 1) / 2
    size = np.linalg.norm(turned, axis=0)
    yield from (round(float(value), 3) for value in (*(centre - size / 2), *(centre + size / 2)))
    yield round(float(np.degrees(np.arctan2(-turned[1, 0], turned[0, 0]))), 3)


def trained(folder: Path, options: str, seed: int) -> dict[str, Any]:
    """Train and evaluate in processes of their own, and return what came of it."""
    words = [*TRAIN.split(), *options.split(), "--data", "folder:digits", "--seed", str(seed), "--name", "run"]
    run_quietly(folder, *words)
    run_quietly(folder, "evaluate", "runs/run/checkpoint.safetensors", "--json", "found.json")
    found = json.loads((folder / "found.json").read_text())
    return {"accuracy": found["top1"], "pose": found.get("pose"), "follow": found.get("follow")}


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = []
    for name in ROWS:
        runs = [run for run in result["runs"] if run["row"] == name]
        if runs:
            poses = [run["pose"] for run in runs if run["pose"]]
            columns = [[100 * run["accuracy"] for run in runs]]
            columns += [[pose[key] for pose in poses] for key in ("rotation_deg", "centre_px", "overlap")]
            rows.append((name, *(mean_and_range(values, 2 if values and max(values) < 1 else 1) for values in columns)))
    columns = ("trained with", "accuracy in %", "turned by, degrees", "off centre, px", "overlap")
    return f"""# What a few boxes are worth

Digits turned, scaled and shifted in pictures of {SIDE} x {SIDE} pixels: 3,000 to train on, 1,000 to test.
`lstn {TRAIN}`, with transformers `--loc-lr-scale 1`.
The mean over seeds, and from the lowest to the highest.

{markdown_table(columns, rows)}

{result["cpu"]}; {versions_of(result)}. Made with `python -m benchmarks boxes`.
"""
