"""What a small view and a small crop save, on a CPU: whole networks, and the transformer by itself.

    python -m benchmarks views [--models effnet-b0,resnet-18] [--out results/views/views.json] [--seconds 20]

Networks are untrained, but bent so that they cost what trained ones do. Each is raced at batch 1 and 8 with one
thread, in ONNX Runtime and OpenVINO, in turns and three sittings, against the same backbone without a transformer at
224 pixels; and L-STN's localizer and transformer at 224 against glance's, alone and from pixels on. The last race also
times other ways to make the view, and to normalise, which lstn doesn't take.

Needs: OpenVINO.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engines import interval, ready
from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, page_of_models, versions_of, write_result
from lstn.contract import PIXELS, THETA, Contract, Loc
from lstn.export.onnx.exported_parts import write_part
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.openvino.to_openvino import write_openvino
from lstn.formats.onnx_session import OnnxSession
from lstn.machine.environment import describe_environment
from lstn.nn.classifier import Classifier
from lstn.nn.costs.taken_apart import LOCALIZER, TRANSFORMER, make_usual, take_apart
from lstn.nn.warping.localizers import BlockMean, usual_view
from lstn.report.table import markdown_table
from lstn.runtime.bench.race import Entrant, Race, TimedCall, run_race
from lstn.runtime.engines.openvino_engine import OpenVinoGraph

RESULT = "results/views/views.json"
ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
SIDE, LARGE, CROP = 224, 448, 112
LABELS = tuple(str(number) for number in range(10))
BATCHES = (1, 8)

HEAD = """# What a small view and a small crop save on a CPU

Pixels in memory to logits and theta in memory, one thread, all networks in turns within one loop, in three sittings.
The networks are untrained; their times don't depend on that. *View* is the side at which the localizer sees the image,
*crop* that of what the backbone gets. The times are of a machine that others share; the ratios are paired, and so of
the same moments.
"""


def main(words: Sequence[str]) -> None:
    """Race all networks and parts, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--models", default="effnet-b0,resnet-18")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long each is timed")
    arguments = parser.parse_args(words)
    load = describe_environment().load
    with TemporaryDirectory() as folder:
        races = [parts(Path(folder), arguments.seconds)]
    for batch in BATCHES:
        with TemporaryDirectory() as folder:
            races.append(stages(batch, Path(folder), arguments.seconds))
        print(*lines_of(races[-1]), sep="\n", flush=True)
    for model in arguments.models.split(","):
        for batch in BATCHES:
            with TemporaryDirectory() as folder:
                races.append(networks(model, batch, Path(folder), arguments.seconds))
            print(*lines_of(races[-1]), sep="\n", flush=True)
    result = machine_of(("torch", "onnxruntime", "openvino")) | {"load": load}
    result |= {"seconds": arguments.seconds, "races": races}
    write_result(arguments.out, result, page_of(result))


def contracts(model: str) -> dict[str, Contract]:
    """Return what is raced, by its name; the first is what the others are compared with."""
    plain, large = Contract(Loc.NONE, model, (SIDE, SIDE), LABELS), (LARGE, LARGE)
    lstn, glance = (
        replace(plain, loc=Loc.LSTN),
        replace(plain, loc=Loc.GLANCE, view_hw=usual_view(Loc.GLANCE, (SIDE, SIDE))),
    )
    small = replace(plain, image_hw=(CROP, CROP))
    zoom = replace(glance, image_hw=large, view_hw=usual_view(Loc.GLANCE, large), crop_hw=(CROP, CROP))
    found = [plain, small, lstn, glance, replace(glance, crop_hw=(CROP, CROP)), zoom, replace(plain, image_hw=large)]
    return {name_of(contract): contract for contract in found}


def name_of(contract: Contract) -> str:
    """Return what a row of the tables says of a network."""
    words = [contract.loc.value, f"at {contract.image_hw[0]}"]
    words += [f"view {contract.view_hw[0]}"] if contract.view_hw else []
    return ", ".join(words + ([f"crop {contract.crop_hw[0]}"] if contract.crop_hw else []))


def networks(model: str, batch: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Export every network around one backbone, and race them."""
    entrants = []
    for number, (name, contract) in enumerate(contracts(model).items()):
        network = ready_to_time(contract)
        images = sample_images("digits", contract.image_hw, seed=0, count=batch)
        file = folder / f"{number}.onnx"
        write_onnx(network, file, contract, images)
        write_openvino(file, file.with_suffix(".xml"), images)
        for via, path in ((ONNX_RUNTIME, file), (OPENVINO, file.with_suffix(".xml"))):
            entrants.append(Entrant(name, via, partial(ready, path, images)))
    race = run_race(entrants, seconds=seconds, seed=0)
    return {"what": f"{model}, batch {batch}", "times": times_of(race, next(iter(contracts(model))))}


def parts(folder: Path, seconds: float) -> dict[str, Any]:
    """Race L-STN's localizer and transformer at 224 pixels with glance's, batch 1, in ONNX Runtime."""
    chosen = contracts("cnn")
    names = {name: contract for name, contract in chosen.items() if contract.loc is not Loc.NONE}
    entrants = []
    for number, (name, contract) in enumerate(names.items()):
        network = ready_to_time(contract)
        assert network.transformer is not None
        for part in (LOCALIZER, TRANSFORMER):
            piece = take_apart(network.transformer)[part]
            path = folder / f"{number}-{part}.onnx"
            write_part(piece.module, path, inputs=piece.inputs, outputs=piece.outputs, example=piece.example(2))
            feeds = dict(zip(piece.inputs, (tensor.numpy() for tensor in piece.example(1)), strict=True))
            entrants.append(Entrant(f"{part}: {name}", ONNX_RUNTIME, partial(session, path, feeds)))
    race = run_race(entrants, seconds=seconds, seed=0)
    return {"what": "localizer and transformer alone, batch 1", "times": times_of(race, entrants[0].subject)}


class Stage(nn.Module):
    """A network up to its warp: pixels (N, H, W, 3) uint8 -> crops and theta."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return crops (N, 3, h, w) float32 and theta (N, 2, 3) float32."""
        crops, theta = self.network.transform(pixels)
        assert theta is not None
        return crops, theta


class SomePixels(BlockMean):
    """A view of one pixel in the middle of each block, or of the mean of four around it."""

    def __init__(self, block: BlockMean, *, four: bool) -> None:
        super().__init__(block.view_hw, block.factors)
        self._four = four

    def forward(self, images: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """As `BlockMean`, in the place of which it stands."""
        if tuple(images.shape[2:]) == self.view_hw:
            return images
        places = [(k // 4, k - 1 - k // 4) if self._four else (k // 2,) for k in self.factors]
        down, across = self.factors
        read = [images[:, :, y::down, x::across] for y in places[0] for x in places[1]]
        view = torch.stack(read).mean(0) if self._four else read[0]
        return view if scale is None or shift is None else view * scale + shift


def stages(batch: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Race everything up to the warp, from pixels on; and ways to make the view and to normalise."""
    chosen = contracts("cnn").values()
    made: dict[str, Classifier] = {}
    for contract in chosen:
        if contract.loc is not Loc.NONE:
            made[name_of(contract)] = ready_to_time(contract)
    zoom = max((each for each in chosen if each.crop_hw), key=lambda each: each.image_hw)
    for name, view in (("view of one pixel in a block", False), ("view of four pixels in a block", True)):
        network = made[f"{name_of(zoom)}, {name}"] = ready_to_time(zoom)
        features = network.transformer.localizer.get_submodule("features")  # type: ignore[union-attr]
        assert isinstance(features, nn.Sequential)
        assert isinstance(features[0], BlockMean)
        features[0] = SomePixels(features[0], four=view)
    made[f"{name_of(zoom)}, image normalised"] = ready_to_time(zoom)
    made[f"{name_of(zoom)}, image normalised"]._reads_first = False
    entrants = []
    for number, (name, network) in enumerate(made.items()):
        path = folder / f"{number}.onnx"
        images = torch.from_numpy(sample_images("digits", network.contract.image_hw, seed=0, count=max(batch, 2)))
        write_part(Stage(network), path, inputs=(PIXELS,), outputs=("crops", THETA), example=(images,))
        feeds = {PIXELS: images[:batch].numpy()}
        entrants.append(Entrant(name, ONNX_RUNTIME, partial(session, path, feeds)))
        entrants.append(Entrant(name, OPENVINO, partial(openvino_session, path, feeds)))
    race = run_race(entrants, seconds=seconds, seed=0)
    return {"what": f"pixels to crop and theta, batch {batch}", "times": times_of(race, entrants[0].subject)}


def ready_to_time(contract: Contract) -> Classifier:
    """Make a network that costs what a trained one does."""
    torch.manual_seed(0)
    network = Classifier(contract)
    make_usual(network)
    return network


@contextmanager
def openvino_session(path: Path, feeds: dict[str, Any]) -> Iterator[TimedCall]:
    """Open a part in OpenVINO with one thread."""
    graph = OpenVinoGraph(path, threads=1)
    try:
        yield lambda: graph.run(feeds)
    finally:
        graph.close()


@contextmanager
def session(path: Path, feeds: Mapping[str, Any]) -> Iterator[TimedCall]:
    """Open a part in ONNX Runtime with one thread."""
    opened = OnnxSession(path, threads=1)
    yield lambda: opened.run(feeds)


def times_of(race: Race, reference: str) -> list[dict[str, Any]]:
    """Return median times, and each as a share of the reference's in the same engine, with intervals."""
    return [
        {
            "network": name,
            "engine": via,
            "ms": asdict(race.time_ms((name, via))),
            "share": asdict(race.ratio((name, via), (reference, via))),
        }
        for name, via in race.names
    ]


def lines_of(race: Mapping[str, Any]) -> Sequence[str]:
    """Lay one race out as a table of Markdown."""
    columns = ("network", "engine", "time, 95 % interval", "as a share of the first")
    rows = [(r["network"], r["engine"], f"{interval(r['ms'])} ms", interval(r["share"])) for r in race["times"]]
    return [f"## {race['what']}", "", markdown_table(columns, rows, words=2), ""]


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    machine = f"{result['cpu']}, two shared cores; {versions_of(result)}; load at the start {result['load']}"
    foot = f"{machine}. Each was timed for about {result['seconds']:g} s. Made with `python -m benchmarks views`."
    return page_of_models(HEAD, map(lines_of, result["races"]), foot)
