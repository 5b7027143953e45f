"""Explanations measured: how long occlusion takes on this CPU, and whether maps point at the object.

    python -m benchmarks explain [--part all] [--out results/explain/explain.json]

Time: `resnet-18` behind L-STN at 224 pixels, int8 in OpenVINO, 100 pictures, window and stride as `lstn explain`
chooses them. The network is untrained; its time doesn't depend on that.

Pointing game: scenes of digits whose places are known, written as a folder with a boxes.csv, and a small network
trained on them with a supervised L-STN. Deletion and insertion curves are compared with those of a random order.

Needs: OpenVINO and Captum.
"""

import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from benchmarks.boxes import box_of
from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import run_quietly
from lstn.calibration.calibrating import DEFAULT_KEEP
from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.lower import lowered_model
from lstn.calibration.ranges import ranges_of
from lstn.contract import Loc
from lstn.data.dataset import open_data
from lstn.data.folders.boxes import BOXES
from lstn.data.poses import pose_of
from lstn.explanation.explaining import Explainable, explain
from lstn.explanation.map_measures import Region, centre_prior, deletion_insertion, energy_inside, points_at, region_of
from lstn.explanation.methods import Method
from lstn.explanation.occlusion import Window, window_for
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.openvino.to_openvino import write_openvino
from lstn.formats.training_record import Training
from lstn.images import Pixels
from lstn.imaging.framing import outside_of
from lstn.nn.attribution.explained_checkpoint import open_explainable
from lstn.nn.checkpoint import load_checkpoint, save_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.costs.taken_apart import build_models
from lstn.precision import Precision, RangeMethod
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.inference.explained_engine import explainable_engine

RESULT = "results/explain/explain.json"
TIMED, TIMED_HW = 100, (224, 224)
SIDE = 64
COUNTS = {"train": 5000, "val": 300, "test": 200}
TRAIN = "train --model cnn --loc lstn --loc-lr-scale 1 --supervise 1 --image-size 64 --crop 32 --epochs 20 --device cpu"
WINDOW = Window(12, 6)
PRIOR, CHANCE = "centre prior", "random order"


def main(words: Sequence[str]) -> None:
    """Measure what is asked for, and write the page after each part."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--part", choices=("all", "time", "pointing"), default="all")
    arguments = parser.parse_args(words)
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    result |= machine_of(("torch", "openvino", "captum"))
    for part, measure in (("time", occlusion_time), ("pointing", pointing_game)):
        if arguments.part in ("all", part):
            with TemporaryDirectory() as folder:
                result[part] = measure(Path(folder))
            print(json.dumps(result[part]), flush=True)
            write_result(arguments.out, result, page_of(result))


def occlusion_time(folder: Path) -> dict[str, Any]:
    """Return the seconds that occlusion of the pictures takes, by the clock and of all cores together."""
    model = build_models("resnet-18", TIMED_HW, tuple("0123456789"), seed=0)[Loc.LSTN]
    xml = int8_openvino(model, folder)
    window, rng = window_for(TIMED_HW), np.random.default_rng(0)
    with open_engine(xml, spin=False) as engine:
        explained = explainable_engine(engine)
        pictures = rng.integers(0, 256, (TIMED, *TIMED_HW, 3), dtype=np.uint8)
        explain(explained, pictures[0], [Method.OCCLUSION], window, batch=32)
        wall, cpu = time.perf_counter(), time.process_time()
        for pixels in pictures:
            explain(explained, pixels, [Method.OCCLUSION], window, batch=32)
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return took | {
        "images": TIMED,
        "answers": 1 + window.count(TIMED_HW),
        "window": window.side,
        "stride": window.stride,
    }


def int8_openvino(model: Classifier, folder: Path) -> Path:
    """Export a network, lower it as `lstn calibrate` does by default, and convert it."""
    exact, int8, xml = (folder / name for name in ("model.onnx", "model.int8.onnx", "model.int8.xml"))
    save_checkpoint(model, folder / "checkpoint.safetensors", Training("digits", 0, 0, 0.0, "not trained"))
    export_checkpoint(load_checkpoint(folder / "checkpoint.safetensors"), exact)
    data = open_data("digits", image_hw=TIMED_HW)
    ranges = ranges_of(exact, data.train, method=RangeMethod.MINMAX, count=8, seed=0, cache=folder / "ranges.json")
    whole = onnx.load(exact)
    kept = kept_layers(layer_names(whole), DEFAULT_KEEP[Precision.INT8])
    int8.write_bytes(lowered_model(whole, Precision.INT8, kept, ranges).SerializeToString())
    write_openvino(int8, xml, sample_images("digits", TIMED_HW, seed=0))
    return xml


def pointing_game(folder: Path) -> dict[str, Any]:
    """Train, and return of each map the means over the test images, with their 95 % intervals."""
    write_scenes(folder / "scenes")
    run_quietly(folder, *TRAIN.split(), "--data", "folder:scenes", "--seed", "0", "--name", "run")
    run_quietly(folder, "evaluate", "runs/run", "--json", "found.json")
    found = json.loads((folder / "found.json").read_text())
    model = open_explainable(folder / "runs/run/checkpoint.safetensors", torch.device("cpu"), list(Method))
    images = open_data("folder:" + str(folder / "scenes"), image_hw=(SIDE, SIDE)).test
    rows = []
    for index in range(len(images)):
        (pixels, truth), pose = images[index], pose_of(images, index)
        assert pose is not None
        rows.append(measured(model, pixels, truth, region_of(pose.theta, (SIDE, SIDE)), index))
    means = {name: {key: interval_of([row[name][key] for row in rows]) for key in rows[0][name]} for name in rows[0]}
    return {"accuracy": found["top1"], "overlap": found["pose"]["overlap"], "images": len(rows), "maps": means}


def measured(model: Explainable, pixels: Pixels, truth: int, region: Region, seed: int) -> dict[str, dict[str, float]]:
    """Return what each map of one picture comes to; `right` is not a number where the answer is wrong."""
    found = explain(model, pixels, list(Method), WINDOW, batch=64)
    rng, fill = np.random.default_rng(seed), outside_of(model.contract.mean)
    heats = {each.shows: each.heat for each in found.maps}
    heats |= {PRIOR: centre_prior((SIDE, SIDE)), CHANCE: rng.random((SIDE, SIDE))}
    row = {}
    for name, heat in heats.items():
        curves = deletion_insertion(model.answer, pixels, heat, found.label, fill=fill)
        points = points_at(heat, region)
        row[name] = {"points": points, "right": points if found.label == truth else float("nan")}
        row[name] |= {"energy": energy_inside(heat, region)} | asdict(curves)
    return row


def interval_of(values: list[float]) -> list[float]:
    """Return the mean of those that are numbers, and the ends of its 95 % interval by the bootstrap over images."""
    array, rng = np.array([value for value in values if np.isfinite(value)]), np.random.default_rng(0)
    drawn = array[rng.integers(0, len(array), (2000, len(array)))].mean(1)
    return [float(array.mean()), *(float(np.quantile(drawn, share)) for share in (0.025, 0.975))]


def write_scenes(root: Path) -> None:
    """Write scenes of digits as pictures in folders of their classes, with a box for each."""
    data = open_data("scenes-digits", image_hw=(SIDE, SIDE))
    rows: list[list[object]] = []
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        for index in range(COUNTS[name]):
            pixels, label = split[index]
            path = Path(name) / data.labels[label] / f"{index:04}.png"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / path)
            pose = pose_of(split, index)
            assert pose is not None
            rows.append([path.as_posix(), *box_of(pose, SIDE)])
    with (root / BOXES).open("w", newline="") as file:
        csv.writer(file).writerows([["path", "x1", "y1", "x2", "y2", "degrees"], *rows])


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = ["# Explanations: time, and where they point", ""]
    if "time" in result:
        parts += time_lines(result["time"])
    if "pointing" in result:
        parts += pointing_lines(result["pointing"])
    return "\n".join([*parts, f"{result['cpu']}; {versions_of(result)}. Made with `python -m benchmarks explain`.", ""])


def time_lines(took: Mapping[str, Any]) -> list[str]:
    """Say how long occlusion took."""
    each = took["cpu_s"] / took["images"] / took["answers"]
    return [
        "## How long occlusion takes",
        "",
        f"`resnet-18` behind L-STN at 224 pixels, int8 in OpenVINO, {took['images']} pictures, a window of "
        f"{took['window']} pixels that moves by {took['stride']}: {took['answers']} answers for each picture.",
        "",
        markdown_table(
            ("", "seconds"),
            [
                ("by the clock, on a machine that others used too", f"{took['wall_s']:.0f}"),
                ("of both cores together, by the processor's clock", f"{took['cpu_s']:.0f}"),
                ("half of that: with both cores free, and always busy", f"{took['cpu_s'] / 2:.0f}"),
                ("of one core for each answer", f"{each:.4f}"),
            ],
        ),
        "",
    ]


def pointing_lines(found: Mapping[str, Any]) -> list[str]:
    """Say where maps point, and what the answer does without what they point at."""
    rows = [(name, *(shown(numbers[key]) for key in numbers)) for name, numbers in found["maps"].items()]
    columns = ("map", "points at the object", "if the answer is right", "energy in it", "deletion", "insertion")
    return [
        "## Where maps point",
        "",
        f"{found['images']} scenes of digits at {SIDE} pixels, at any place, size and angle; {COUNTS['train']:,} "
        f"others were trained on: `lstn {TRAIN}`. {100 * found['accuracy']:.1f} % of the answers are right, and the "
        f"crops overlap the objects by {found['overlap']:.2f}. All images count, those with wrong answers too.",
        "",
        markdown_table(columns, rows),
        "",
        "Points: share of the images where the largest value of the map lies in the object (Zhang et al. 2016). "
        "Energy: share of the positive values that does. Deletion and insertion: mean probability of the label while "
        "pixels are removed, and put back, most important first (Petsiuk et al. 2018); low and high are good. With "
        "95 % intervals over images.",
        "",
    ]


def shown(numbers: list[float]) -> str:
    """Show a mean and its interval."""
    return f"{numbers[0]:.3f} ({numbers[1]:.3f} to {numbers[2]:.3f})"
