"""Robust accuracy: upright digits under moves and changed pixels, by training, localizer and precision.

    python -m benchmarks robust [--seeds 3] [--out results/robust/robust.json]

2,000 upright digits of 28 pixels to train on, 300 to choose the epoch; 80 test digits are moved, and changed by PGD
against the checkpoint. Each network is trained on images as they are (clean), moved at random (--augment affine), and
moved by an adversary (`benchmarks/support/adversary.py`), with the same epochs, seeds and images.
"""

import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from benchmarks.support.adversary import Opposed
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, seeded_arguments, small_run
from lstn.calibration.calibrating import DEFAULT_KEEP
from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.lower import lowered_model
from lstn.calibration.ranges import ranges_of
from lstn.contract import Loc
from lstn.data.dataset import DataSet, open_data
from lstn.data.digits import DIGIT_LABELS, digit_rasters
from lstn.evaluation.measuring import Answering
from lstn.evaluation.move_bounds import MoveBounds
from lstn.evaluation.scores import wilson
from lstn.evaluation.worst_case import measure_worst
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.images import Pixels
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.sources.starts import scale_dropout, start_weights
from lstn.precision import Precision, RangeMethod
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.research.attack.balls import BallNorm
from lstn.research.attack.label_attacks import LabelAttack, attack_labels
from lstn.runtime.engines.engine_answers import answering
from lstn.runtime.engines.opening import open_engine
from lstn.train.loop import train_to_end
from lstn.train.optimizer import dropout_share
from lstn.train.runs.options import Options
from lstn.train.watch.watcher import SILENT

RESULT = "results/robust/robust.json"
SIDE = 28
COUNTS = {"train": 2000, "val": 300, "test": 80}
EPOCHS = 5
BATCH = 64
TRAININGS = ("clean", "affine", "adversarial")
CPU = torch.device("cpu")
LOCS = (Loc.NONE, Loc.STN, Loc.LSTN, Loc.GLANCE)
MOVES = "rotate 15, shift 0.1, scale 1.1"
"""As far as --augment affine goes, and the adversary."""
BOUND, STEPS = 16.0, 10
"""Of PGD: grey levels of each pixel, and steps."""
PRECISIONS = ("fp32", "int8")


def main(words: Sequence[str]) -> None:
    """Train and measure each network with each seed, and write the table after each."""
    arguments = seeded_arguments(words, __name__, __doc__, out=RESULT)
    runs: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        write_digits(Path(folder) / "digits")
        for seed, loc, training in itertools.product(range(arguments.seeds), LOCS, TRAININGS):
            place = Path(folder) / f"{seed}-{loc.value}-{training}"
            runs.append({"loc": loc.value, "training": training, "seed": seed})
            runs[-1] |= measured(Path(folder) / "digits", place, loc, training, seed)
            print(json.dumps(runs[-1]), flush=True)
            result = machine_of(("torch", "onnxruntime")) | {"runs": runs}
            write_result(arguments.out, result, page_of(result))


def write_digits(root: Path) -> None:
    """Write upright digits as a folder of pictures: 20 x 20 rasters in the middle of 28 x 28 pixels."""
    for name in ("train", "val", "test"):
        rasters, labels = digit_rasters(name)
        for index in range(COUNTS[name]):
            path = root / name / DIGIT_LABELS[labels[index]] / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.pad(rasters[index] * np.uint8(17), 4)).convert("RGB").save(path)


def measured(digits: Path, folder: Path, loc: Loc, training: str, seed: int) -> dict[str, Any]:
    """Train one network, and return its accuracies, 0..1, and the CPU seconds of the training."""
    data = open_data(f"folder:{digits}", image_hw=(SIDE, SIDE))
    began = time.process_time()
    checkpoint = trained(digits, folder, loc, training, seed)
    found: dict[str, Any] = {"cpu_s": round(time.process_time() - began, 1)}
    files = exported(checkpoint, folder, data)
    pixels, labels = test_images(data)
    changed = by_pgd(load_checkpoint(checkpoint).model, pixels, labels)
    for precision, file in zip(PRECISIONS, files, strict=True):
        with open_engine(file, spin=False, threads=1) as engine:
            asked: Answering = answering(engine)
            worst = measure_worst(asked.classify, data.test, MoveBounds.from_text(MOVES), batch=BATCH)
            right = asked.classify(changed).argmax(1) == labels
        found[precision] = {
            "upright": worst.upright / worst.images,
            "mean": worst.mean,
            "worst": worst.worst / worst.images,
            "pgd": float(right.mean()),
        }
    return found


def trained(digits: Path, folder: Path, loc: Loc, training: str, seed: int) -> Path:
    """Train one network and return its checkpoint."""
    augment = "affine" if training == "affine" else "none"
    options = small_run(digits, loc=loc, side=SIDE, epochs=EPOCHS, seed=seed, augment=augment)
    train_to_end(options, folder, device=CPU, workers=0, watcher=SILENT, resume=False, given=opposed(options, training))
    return folder / "checkpoint.safetensors"


def opposed(options: Options, training: str) -> Classifier | None:
    """Return the model of an adversarial training, which begins as `lstn train` begins the others."""
    if training != "adversarial":
        return None
    data = open_data(options.data, image_hw=options.image_size, seed=options.seed)
    torch.manual_seed(options.seed)
    model = Opposed(options.contract(data.labels, data.mean, data.std), options.seed)
    start_weights(model.backbone, options.seed)
    scale_dropout(model.backbone, dropout_share(options.recipe, options.epochs * len(data.train)))
    return model.to(memory_format=torch.channels_last)


def exported(checkpoint: Path, folder: Path, data: DataSet) -> tuple[Path, Path]:
    """Write the float32 and the int8 ONNX file."""
    exact, lowered = folder / "model.onnx", folder / "int8.onnx"
    export_checkpoint(load_checkpoint(checkpoint), exact)
    model = onnx.load(exact)
    ranges = ranges_of(
        exact, data.train, method=RangeMethod.PERCENTILE, count=100, seed=0, cache=folder / "ranges.json"
    )
    kept = kept_layers(layer_names(model), DEFAULT_KEEP[Precision.INT8])
    onnx.save(lowered_model(model, Precision.INT8, kept, ranges), lowered)
    return exact, lowered


def test_images(data: DataSet) -> tuple[Pixels, np.ndarray]:
    """Return all test images and their labels."""
    read = [data.test[index] for index in range(len(data.test))]
    return np.stack([pixels for pixels, _ in read]), np.array([label for _, label in read])


def by_pgd(model: Classifier, pixels: Pixels, labels: np.ndarray) -> Pixels:
    """Change the pixels against the checkpoint."""
    model.requires_grad_(False)
    images, truth = torch.from_numpy(pixels).float(), torch.from_numpy(labels)
    found = attack_labels(model, images, truth, LabelAttack.PGD, BallNorm.LINF, BOUND, steps=STEPS)
    return np.asarray(found.round().to(torch.uint8).numpy())


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    runs, tables = result["runs"], []
    for precision in PRECISIONS:
        rows = []
        for loc, training in itertools.product(LOCS, TRAININGS):
            of = [run for run in runs if (run["loc"], run["training"]) == (loc.value, training)]
            shares = [[100 * run[precision][key] for run in of] for key in ("upright", "mean", "worst", "pgd")]
            rows.append((loc.value, training, *(shown(values, 1) for values in shares)))
        columns = ("localizer", "training", "as they are", "a random move", "worst of 135", "PGD")
        tables += [f"## {precision}", "", markdown_table(columns, rows, words=2), ""]
    return f"""# Robust accuracy

Upright digits of {SIDE} x {SIDE} pixels: {COUNTS["train"]:,} to train on, {COUNTS["test"]} test images. `cnn`, {EPOCHS}
epochs, recipe robust. In %, {seeds_of(runs)}. {sampling(runs)}

- *a random move*, *worst of 135*: `--worst "{MOVES}"`, in ONNX Runtime. Training moves images
  within the same bounds.
- *PGD*: each pixel changed by at most {BOUND:g} of 255 grey levels, {STEPS} steps against the checkpoint; the same
  pictures are then shown to both engines.
- *clean*: images as they are. *affine*: `--augment affine`. *adversarial*: half of each batch moved as a second
  localizer proposes, which learns the moves on which the classifier fails most, and half at random.

{chr(10).join(tables)}
## Adversarial against affine training

{markdown_table(("localizer", "worst of 135, points more", "training, times the CPU time"), differences(runs))}

Pairs with the same seed, fp32. {verdict(runs)}

{result["cpu"]}; {versions_of(result)}. Made with `python -m benchmarks robust`.
"""


def seeds_of(runs: list[dict[str, Any]]) -> str:
    """Say how many seeds the rows have."""
    counts = Counter((run["loc"], run["training"]) for run in runs).values()
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "one seed"
    return f"the mean of {most if fewest == most else f'{fewest} to {most}'} seeds, and from the lowest to the highest"


def sampling(runs: list[dict[str, Any]]) -> str:
    """Say how far the number of test images lets a figure of one seed be off."""
    worst = statistics.mean(run["fp32"]["worst"] for run in runs)
    found = wilson(worst * COUNTS["test"], COUNTS["test"])
    return f"With {COUNTS['test']} images, {found.value:.0f} % is {found.low:.0f} to {found.high:.0f} % (95 %)."


def shown(values: list[float], places: int) -> str:
    """Return the only value, or the mean and the range of several."""
    return f"{values[0]:.{places}f}" if len(values) == 1 else mean_and_range(values, places)


def differences(runs: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return for each localizer what adversarial training gains over affine, paired by seed, and what it costs."""
    rows = []
    for loc in (each.value for each in LOCS):
        found = {(run["training"], run["seed"]): run for run in runs if run["loc"] == loc}
        pairs = [(found["affine", seed], run) for (how, seed), run in found.items() if how == "adversarial"]
        gains = [100 * (other["fp32"]["worst"] - affine["fp32"]["worst"]) for affine, other in pairs]
        costs = [other["cpu_s"] / affine["cpu_s"] for affine, other in pairs]
        rows.append((loc, shown(gains, 1), shown(costs, 2)))
    return rows


def verdict(runs: list[dict[str, Any]]) -> str:
    """Say whether adversarial training won a pair anywhere."""
    found = {(run["loc"], run["training"], run["seed"]): run["fp32"]["worst"] for run in runs}
    pairs = [(value, found[loc, "affine", seed]) for (loc, how, seed), value in found.items() if how == "adversarial"]
    won = sum(adversarial > affine for adversarial, affine in pairs)
    return f"Adversarial training won {won} of {counted(len(pairs), 'pair')}; `lstn train` doesn't have it."
