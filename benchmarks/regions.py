"""Searched regions against learned ones: how many objects they hold, and how long they take.

    python -m benchmarks regions [RUN…] [--images 50] [--out results/detectors/regions.json]

R-CNN and Fast R-CNN look into regions that selective search proposes (Uijlings et al. 2013, OpenCV's, in its fast
mode). Their recall is the share of objects that a region overlaps by a half or more, both as upright boxes. It is
measured on test scenes of three sizes, next to the time of a whole detector (`glance` and `resnet-18`, 16 regions,
untrained, whose time does not depend on that) in ONNX Runtime. Each picture is given to both, one after the other, each
with one thread.

RUN: trained detectors. Theirs is the recall of the regions that they choose, and of what they make of these; on the
same test images that selective search sees.

Needs: pip install opencv-contrib-python-headless; for learned regions, runs of `lstn train --task detect`.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, spread, versions_of, write_result
from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc, Task
from lstn.data.object_sets import open_objects, open_objects_of
from lstn.data.objects import objects_of
from lstn.data.splits import Split, spaced
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.formats.onnx_session import OnnxSession
from lstn.health.run_files import checkpoint_of
from lstn.images import Pixels
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.detector import Detector
from lstn.nn.turned_boxes import moved_boxes, upright
from lstn.nn.warping.localizers import usual_view
from lstn.report.table import markdown_table
from lstn.warps.quadrilaterals import upright_boxes

RESULT = "results/detectors/regions.json"
SIDES = (128, 224, 448)
REGIONS, CROP = 16, 64
COUNTS = (16, 100, 300)
SHARED = 0.5
EVERY = "all"

Boxes: TypeAlias = npt.NDArray[np.float64]
"""(M, 4): left, top, right and bottom in pixels."""


def main(words: Sequence[str]) -> None:
    """Measure every size and every run, and write the page after each."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN")
    parser.add_argument("--images", type=int, default=50)
    arguments = parser.parse_args(words)
    import cv2  # before the work; the list of benchmarks is printed without it

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for what in (*SIDES, *arguments.runs):
        rows.append(of_size(what, arguments.images) if isinstance(what, int) else of_run(what, arguments.images))
        result = machine_of(("torch", "onnxruntime", "onnxruntime-gpu")) | {"opencv": cv2.__version__, "rows": rows}
        write_result(arguments.out, result, page_of(result))
        print(*table_of(rows[-1:]), sep="\n", flush=True)


def of_size(side: int, count: int) -> dict[str, Any]:
    """Measure scenes of this size, with a detector that is not trained."""
    data = open_objects("scenes-digits", image_hw=(side, side), seed=0)
    contract = Contract(
        Loc.GLANCE,
        "resnet-18",
        (side, side),
        data.labels,
        view_hw=usual_view(Loc.GLANCE, (side, side)),
        crop_hw=(CROP, CROP),
        warps=REGIONS,
        task=Task.DETECT,
    )
    torch.manual_seed(0)
    measured = measure(Detector(contract).eval(), data.test, count)
    return {"what": f"scenes-digits, {side} px", "side": side, **measured, "learned": None, "refined": None}


def of_run(run: Path, count: int) -> dict[str, Any]:
    """Measure the test images of a trained detector."""
    checkpoint = load_checkpoint(checkpoint_of(run))
    contract, training = checkpoint.contract, checkpoint.training
    assert isinstance(checkpoint.model, Detector)
    test = open_objects_of(contract, training.data, seed=training.seed).test
    side = contract.image_hw[0]
    what = f"{training.data.split('/')[-1]}, {side} px; {contract.loc.value} + {contract.backbone}"
    return {
        "what": what,
        "side": side,
        **measure(checkpoint.model, test, count),
        **learned(checkpoint.model, test, count),
    }


def measure(model: Detector, images: Split, count: int) -> dict[str, Any]:
    """Return the recall of searched regions, and the milliseconds of the search and of the network, image by image."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(onnx_from_torch(model, model.contract).SerializeToString())
        session = OnnxSession(file, threads=1, spin=False)
    times: dict[str, list[float]] = {"search_ms": [], "network_ms": []}
    found, known = [], []
    for number in spaced(len(images), count):
        pixels, _ = images[number]
        known.append(upright_boxes(objects_of(images, number).thetas, model.contract.image_hw))
        session.run({PIXELS: pixels[None]}, [LOGITS, THETA])
        began = time.perf_counter()
        session.run({PIXELS: pixels[None]}, [LOGITS, THETA])
        between = time.perf_counter()
        found.append(searched(pixels))
        times["network_ms"].append(1000 * (between - began))
        times["search_ms"].append(1000 * (time.perf_counter() - between))
    recalls = {str(most): recall(known, [each[:most] for each in found]) for most in COUNTS}
    return {
        "images": len(found),
        "objects": sum(map(len, known)),
        "proposals": float(np.mean([len(each) for each in found])),
        "searched": recalls | {EVERY: recall(known, found)},
        **times,
    }


def searched(pixels: Pixels) -> Boxes:
    """Return what selective search proposes for an image, best first as it ranks them."""
    import cv2

    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(pixels[:, :, ::-1]))
    search.switchToSelectiveSearchFast()
    found = search.process().astype(np.float64)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


@torch.no_grad()
def learned(model: Detector, images: Split, count: int) -> dict[str, float]:
    """Return the recall of the regions that a detector chooses, and of the boxes that it makes of them."""
    chosen, refined, known = [], [], []
    for number in spaced(len(images), count):
        pixels, _ = images[number]
        known.append(upright_boxes(objects_of(images, number).thetas, model.contract.image_hw))
        frames = model.frames(model.normalise(torch.tensor(pixels[None])))
        boxes = model.localizer(frames)
        _, numbers = model.look_into(frames, boxes)
        chosen.append(upright(boxes[0]).double().numpy())
        refined.append(upright(moved_boxes(boxes, numbers)[0]).double().numpy())
    return {"regions": model.contract.warps, "learned": recall(known, chosen), "refined": recall(known, refined)}


def recall(known: Sequence[Boxes], found: Sequence[Boxes]) -> float:
    """Return the share of all known boxes that one of their image's found boxes overlaps enough."""
    hit = [(shares(there, those) >= SHARED).any(axis=1).sum() for there, those in zip(known, found, strict=True)]
    return float(sum(hit) / sum(map(len, known)))


def shares(one: Boxes, other: Boxes) -> Boxes:
    """Return intersection over union: (A, 4), (B, 4) -> (A, B)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(0).prod(axis=2)
    ours, theirs = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (one, other))
    return both / (ours[:, None] + theirs - both)


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table: recall in percent, and times."""
    columns = (
        "images", "proposals", *(f"searched, {most}" for most in (*COUNTS, EVERY)), "learned", "refined", "search, ms",
        "network, ms", "ratio",
    )  # fmt: skip
    cells = []
    for row in rows:
        ratios = [one / other for one, other in zip(row["search_ms"], row["network_ms"], strict=True)]
        of_run = ("" if row[name] is None else f"{100 * row[name]:.1f}" for name in ("learned", "refined"))
        cells.append(
            (
                row["what"],
                f"{row['images']}, {row['objects']} objects",
                f"{row['proposals']:.0f}",
                *(f"{100 * row['searched'][str(most)]:.1f}" for most in (*COUNTS, EVERY)),
                *of_run,
                spread(row["search_ms"], 0),
                spread(row["network_ms"], 1),
                f"{np.median(ratios):.0f}",
            )
        )
    return markdown_table(columns=("", *columns), rows=cells).splitlines()


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    table = "\n".join(table_of(result["rows"]))
    return f"""# Searched regions against learned ones

Recall in percent: objects that a region overlaps by {SHARED:g} or more, as upright boxes. Searched: the first regions
of OpenCV's selective search in its fast mode, and all of them. Learned: the {REGIONS} regions that a trained detector
chooses, and refined, what it makes of them.

Times are medians over the images, and from the shortest to the longest: the search, and the whole network in ONNX
Runtime, one after the other on each image, one thread each; ratio: the median of the pairs. In rows without a trained
detector the network is `resnet-18` with `glance`, {REGIONS} regions and crops of {CROP} pixels.

{table}

{result["cpu"]}, shared; {versions_of(result)}, OpenCV {result["opencv"]}.
Made with `python -m benchmarks regions RUN…`.
"""
