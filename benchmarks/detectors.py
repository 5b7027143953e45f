"""Detectors compared: those of lstn, and torchvision's Faster R-CNN with the same backbone, pictures and epochs.

    python -m benchmarks detectors [--side 224] [--scenes 2000] [--epochs 20] [--seeds 2] [--work runs/detectors]

Scenes of digits (`scenes-digits`: objects and backgrounds of test scenes are not seen in training) are written as an
annotated folder, so that all are trained on the same pictures and see each as often: `--scenes` to train on, and a
quarter as many to choose the epoch and to test. Nothing starts from other weights. What a run came to is kept in
--work; another call with the same options goes on with the runs that are missing. `--kinds 'image;map'` trains only
these.

Average precision of torchvision's answers is that of upright boxes; against turned truth, too. Those of lstn also as an
ONNX file in ONNX Runtime, in float32 and int8. Times: each test picture is given to the model and to Faster R-CNN in
turn, one at a time and with one thread, in PyTorch, and in ONNX Runtime where Faster R-CNN can be exported.

Needs: pycocotools.
"""

import json
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.support.arguments import argument_parser
from benchmarks.support.faster_rcnn import DRAWN, PROPOSALS, evaluate, faster_rcnn, image_of, train, write_onnx
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, run_quietly
from lstn.contract import PIXELS
from lstn.data.object_sets import open_objects
from lstn.data.objects import objects_of
from lstn.data.splits import DataSet, spaced
from lstn.detection.detecting import DetectionScores
from lstn.formats.onnx_session import OnnxSession
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.warps.warp import CORNERS, in_pixels, sampled

RESULT = "results/detectors/detectors.json"
OURS = {
    "image": "--loc glance",
    "image, upright": "--loc glance --theta crop",
    "map": "--loc shared --at map",
    "map, upright": "--loc shared --at map --theta crop",
}
THEIRS = {"Faster R-CNN, Adam": "Adam", "Faster R-CNN, SGD": "SGD"}
FORMS = ("checkpoint", "ONNX Runtime", "int8")
ONNX, THEIR_ONNX, WEIGHTS = "model.onnx", "faster-rcnn.onnx", "faster-rcnn.pt"
TIMED = 30


def main(words: Sequence[str]) -> None:
    """Train and measure what is missing, and write the page after each run."""
    arguments = _arguments(words)
    torch.set_num_threads(1)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        folder = arguments.work / f"{arguments.side}-{arguments.scenes}-{arguments.epochs}-{arguments.backbone}-{seed}"
        if not (folder / "scenes" / "classes.txt").exists():
            write_scenes(folder / "scenes", arguments, seed)
        for kind in arguments.kinds:
            kept = folder / f"{kind}.json"
            if not kept.exists():
                began = time.monotonic()
                found = (theirs if kind in THEIRS else ours)(folder, kind, arguments, seed)
                row = {"kind": kind, "seed": seed, "seconds": time.monotonic() - began, **found}
                kept.write_text(json.dumps(row))
            runs.append(json.loads(kept.read_text()))
            print(json.dumps({name: value for name, value in runs[-1].items() if name != "times"}), flush=True)
            asked = {name: getattr(arguments, name) for name in ("side", "scenes", "epochs", "backbone")}
            result = machine_of(("torch", "torchvision", "onnxruntime", "onnxruntime-gpu")) | asked | {"runs": runs}
            write_result(arguments.out, result, page_of(result))


def _arguments(words: Sequence[str]) -> Namespace:
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--side", type=int, default=224, help="of the pictures, in pixels")
    parser.add_argument("--scenes", type=int, default=2000, help="to train on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--backbone", default="resnet-18", help="resnet-18, -34 or -50")
    parser.add_argument("--work", type=Path, default=Path("runs/detectors"), metavar="DIR", help="keeps finished runs")
    every = [*THEIRS, *OURS]  # first those that others are timed against
    parser.add_argument("--kinds", default=";".join(every), help=f"some of: {';'.join(every)}")
    arguments = parser.parse_args(words)
    arguments.kinds = [kind for kind in arguments.kinds.split(";") if kind in every]
    return arguments


def write_scenes(root: Path, arguments: Namespace, seed: int) -> None:
    """Write pictures, and their turned boxes as YOLO's tools do; the names of the classes last."""
    data = open_objects("scenes-digits", image_hw=(arguments.side, arguments.side), seed=seed)
    few = max(8, arguments.scenes // 4)
    for name, split, count in (
        ("train", data.train, arguments.scenes),
        ("val", data.val, few),
        ("test", data.test, few),
    ):
        for folder in (root / "images" / name, root / "labels" / name):
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels, _ = split[number]
            Image.fromarray(pixels).save(root / "images" / name / f"{number:05}.png")
            known = objects_of(split, number)
            corners = in_pixels(sampled(known.thetas, CORNERS), (1, 1)).reshape(-1, 8).clip(0, 1)
            rows = [
                f"{label} {' '.join(f'{value:.6f}' for value in each)}"
                for label, each in zip(known.labels, corners, strict=True)
            ]
            (root / "labels" / name / f"{number:05}.txt").write_text("".join(f"{row}\n" for row in rows))
    (root / "classes.txt").write_text("".join(f"{label}\n" for label in data.labels))


def scenes_in(folder: Path, side: int) -> DataSet:
    """Open what `write_scenes` wrote."""
    return open_objects(f"folder:{folder / 'scenes'}", image_hw=(side, side))


def ours(folder: Path, kind: str, arguments: Namespace, seed: int) -> dict[str, Any]:
    """Train, export and calibrate a detector of lstn by its commands, and measure every form of it."""
    name = kind.replace(", ", "-")
    words = f"train --task detect {OURS[kind]} --model {arguments.backbone} --data folder:scenes --device cpu"
    budget = f"--image-size {arguments.side} --epochs {arguments.epochs} --patience {arguments.epochs}"
    run_quietly(
        folder,
        *f"{words} {budget} --batch-size {arguments.batch} --workers 0 --seed {seed} --name {name}".split(),
        threads=1,
    )
    run_quietly(folder, "calibrate", f"runs/{name}", "--out", name, "--images", "256", "--force", threads=1)
    files = dict(zip(FORMS, (f"runs/{name}", f"{name}/model.onnx", f"{name}/model.int8.onnx"), strict=True))
    scores = {}
    for form, file in files.items():
        run_quietly(folder, "evaluate", file, "--split", "test", "--json", f"{name}/{form}.json", threads=1)
        found = json.loads((folder / name / f"{form}.json").read_text())
        scores[form] = {boxes: {key: found[boxes][key] for key in ("ap", "ap50")} for boxes in ("upright", "turned")}
    return {"scores": scores, "times": times_of(folder, name, arguments)}


def theirs(folder: Path, kind: str, arguments: Namespace, seed: int) -> dict[str, Any]:
    """Train torchvision's detector, keep its weights, and export it if that is possible."""
    data = scenes_in(folder, arguments.side)
    torch.manual_seed(seed)
    model = faster_rcnn(arguments.backbone.replace("-", ""), len(data.labels), arguments.side)
    train(
        model,
        data.train,
        data.val,
        data.labels,
        optimizer=THEIRS[kind],
        epochs=arguments.epochs,
        batch=arguments.batch,
        seed=seed,
        tell=lambda line: print(f"{kind}: {line}", flush=True),
    )
    scores = evaluate(model, data.test, data.labels)
    torch.save(model.state_dict(), folder / WEIGHTS)
    image = image_of(data.test, 0)
    obstacle = write_onnx(model, image, folder / THEIR_ONNX)
    return {"scores": {"checkpoint": figures_of(scores)}, "times": None, "obstacle": obstacle}


def figures_of(scores: DetectionScores) -> dict[str, Any]:
    """Return what is kept of COCO's figures."""
    return {
        boxes: {"ap": each.ap, "ap50": each.ap50}
        for boxes, each in (("upright", scores.upright), ("turned", scores.turned))
    }


@torch.inference_mode()
def times_of(folder: Path, name: str, arguments: Namespace) -> dict[str, list[list[float]]] | None:
    """Return milliseconds of both, [ours, theirs] for each test picture, in PyTorch and in ONNX Runtime.

    None, if theirs is not trained; without ONNX Runtime, if theirs can't be exported.
    """
    if not (folder / WEIGHTS).exists():
        return None
    data = scenes_in(folder, arguments.side)
    other = faster_rcnn(arguments.backbone.replace("-", ""), len(data.labels), arguments.side).eval()
    other.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    model = load_checkpoint(folder / "runs" / name / CHECKPOINT).model.eval()
    images = [(torch.tensor(data.test[n][0][None]), image_of(data.test, n)) for n in spaced(len(data.test), TIMED)]
    found = {"PyTorch": in_turn(images, model, lambda image: other([image]))}
    if (folder / THEIR_ONNX).exists():
        mine, its = (OnnxSession(file, threads=1, spin=False) for file in (folder / name / ONNX, folder / THEIR_ONNX))
        found["ONNX Runtime"] = in_turn(
            images,
            lambda pixels: mine.run({PIXELS: pixels.numpy()}),
            lambda image: its.run({"image": image.numpy()}),
        )
    return found


def in_turn(
    images: Sequence[tuple[Tensor, Tensor]], ours: Callable[[Tensor], Any], theirs: Callable[[Tensor], Any]
) -> list[list[float]]:
    """Return milliseconds of each for each picture, one after the other; the first round isn't counted."""
    times = []
    for pixels, image in (images[0], *images):
        began = time.perf_counter()
        ours(pixels)
        between = time.perf_counter()
        theirs(image)
        times.append([1000 * (between - began), 1000 * (time.perf_counter() - between)])
    return times[1:]


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    kinds = [kind for kind in (*OURS, *THEIRS) if any(run["kind"] == kind for run in result["runs"])]
    runs = {kind: [run for run in result["runs"] if run["kind"] == kind] for kind in kinds}
    scores = markdown_table(
        ("", "seeds", "upright: AP", "AP50", "turned: AP", "AP50", "AP lost: ONNX Runtime", "int8"),
        [(kind, len(of_kind), *_scores(of_kind)) for kind, of_kind in runs.items()],
    )
    times = markdown_table(
        ("", "PyTorch, ms", "Faster R-CNN", "ratio", "ONNX Runtime, ms", "Faster R-CNN", "ratio"),
        [(kind, *_times(of_kind)) for kind, of_kind in runs.items() if kind in OURS],
    )
    obstacles = {run["obstacle"] for of_kind in runs.values() for run in of_kind if run.get("obstacle")}
    failed = "".join(f"\nFaster R-CNN could not be exported: {each}\n" for each in sorted(obstacles))
    return f"""# Detectors compared

`scenes-digits` of {result["side"]} x {result["side"]} pixels, {result["scenes"]:,} to train on,
{counted(result["epochs"], "epoch")}, backbone `{result["backbone"]}`, nothing pretrained: detectors of
`lstn train --task detect`, and torchvision's Faster R-CNN with a feature pyramid, {PROPOSALS} proposals and {DRAWN} of
them drawn in training.

Average precision on test scenes, in percent: the mean over seeds, and from the lowest to the highest. Upright: boxes
around the objects; turned: the objects' own quadrilaterals, which Faster R-CNN answers with upright boxes. AP lost:
points of the AP that a detector is judged by, from the checkpoint to the file in ONNX Runtime, and to int8.

{scores}

Milliseconds for one picture, one thread, both in turn on each picture: medians over all pictures and seeds, and the
median of the ratios.

{times}
{failed}
{result["cpu"]}, shared; {versions_of(result)}. Made with `python -m benchmarks detectors`.
"""


def _scores(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for boxes in ("upright", "turned"):
        for key in ("ap", "ap50"):
            yield mean_and_range([100 * (run["scores"]["checkpoint"][boxes][key] or 0.0) for run in runs], 1)
    boxes = "upright" if "upright" in runs[0]["kind"] else "turned"
    for form in FORMS[1:]:
        pairs = [(run["scores"]["checkpoint"], run["scores"].get(form)) for run in runs]
        lost = [100 * (one[boxes]["ap"] - other[boxes]["ap"]) for one, other in pairs if other is not None]
        yield mean_and_range(lost, 2)


def _times(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for where in ("PyTorch", "ONNX Runtime"):
        pairs = [pair for run in runs for pair in (run["times"] or {}).get(where, [])]
        if not pairs:
            yield from ("", "", "")
            continue
        mine, its = zip(*pairs, strict=True)
        yield from (f"{statistics.median(each):.1f}" for each in (mine, its))
        yield f"{statistics.median(one / other for one, other in pairs):.2f}"
