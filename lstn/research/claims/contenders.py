"""Contenders around one backbone: models in memory, their files in a folder, and ways to open them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstn.contract import PAPER_LOCS, Contract, Loc
from lstn.errors import MissingExtra
from lstn.images import Pixels
from lstn.machine.gpu import Device
from lstn.research.claims.claims_request import (
    COMPILED,
    EAGER,
    LABELS,
    ON_GPU,
    OPENVINO,
    OPENVINO_DEFAULT,
    ORT,
    ORT_DEFAULT,
    ClaimsRequest,
    ComparedEngine,
)

if TYPE_CHECKING:
    from lstn.nn.taken_apart import Piece
    from lstn.runtime.bench.race import Entrant, TimedCall

    Open = Callable[[], AbstractContextManager[TimedCall]]


class Contenders:
    """The entrants around one backbone. Files are made when they are first needed, in `folder`."""

    def __init__(self, setup: ClaimsRequest, backbone: str, folder: Path, tell: Callable[[str], None]) -> None:
        """Build the models. `tell` hears what is going on.

        Raises:
            UsageError: no such backbone, or images too small for it or for a localizer.
        """
        from lstn.nn.backbones import backbone_named
        from lstn.nn.taken_apart import build_models

        side = setup.image_size or backbone_named(backbone).image_size
        self.image_hw = (side, side)
        self._setup, self._backbone, self._folder, self._tell = setup, backbone, folder, tell
        self._models = build_models(backbone, self.image_hw, LABELS, setup.seed)
        self._openvino = setup.engine is ComparedEngine.OPENVINO or (setup.peers and _has_openvino(tell))
        self._with_peers = setup.peers and setup.engine not in ON_GPU

    def networks(self, batch: int) -> list["Entrant"]:
        """Whole networks with each localizer on the engine, and L-STN's on its peers."""
        from lstn.runtime.bench.race import Entrant

        engine, loc = self._setup.engine, Loc.LSTN
        pixels = random_pixels(batch, self.image_hw, self._setup.seed)
        entrants = [Entrant(each.value, engine.shown, self._network(each, pixels, engine)) for each in PAPER_LOCS]
        if not self._with_peers:
            return entrants
        default, threads = self._default(loc), self._setup.threads
        peers: dict[str, Open] = {
            ORT: self._network(loc, pixels, ComparedEngine.ONNXRUNTIME),
            EAGER: self._network(loc, pixels, ComparedEngine.TORCH),
            COMPILED: self._torch(self._models[loc], (pixels,), compiled=True),
            ORT_DEFAULT: engine_run(default, pixels, threads),
        }
        if self._openvino:
            peers[OPENVINO] = self._network(loc, pixels, ComparedEngine.OPENVINO)
            peers[OPENVINO_DEFAULT] = partial(_openvino_run, default, pixels, threads)
        return entrants + [Entrant(loc.value, via, peer) for via, peer in peers.items() if via != engine.shown]

    def parts(self, batch: int) -> list["Entrant"]:
        """Transformers and localizers alone, grid and sampler on the engine, and L-STN's transformer on its peers."""
        from lstn.nn.taken_apart import TRANSFORMER, default_piece
        from lstn.runtime.bench.race import Entrant

        engine, pieces = self._setup.engine, self._pieces()
        entrants = [
            Entrant(name, engine.shown, self._part(name, piece, batch, engine)) for name, piece in pieces.items()
        ]
        if not self._with_peers:
            return entrants
        name = f"{TRANSFORMER} {Loc.LSTN.value}"
        ours, usual = pieces[name], default_piece(pieces[name])
        peers: dict[str, Open] = {
            ORT: self._part(name, ours, batch, ComparedEngine.ONNXRUNTIME),
            EAGER: self._part(name, ours, batch, ComparedEngine.TORCH),
            COMPILED: self._torch(ours.module, ours.example(batch), compiled=True),
            ORT_DEFAULT: self._part(f"{name} default", usual, batch, ComparedEngine.ONNXRUNTIME),
        }
        if self._openvino:
            peers[OPENVINO] = self._part(name, ours, batch, ComparedEngine.OPENVINO)
            peers[OPENVINO_DEFAULT] = self._part(f"{name} default", usual, batch, ComparedEngine.OPENVINO)
        return entrants + [Entrant(name, via, peer) for via, peer in peers.items() if via != engine.shown]

    def _pieces(self) -> dict[str, "Piece"]:
        """Every localizer's transformer and itself; grid and sampler are the same for all."""
        from lstn.nn.taken_apart import GRID, SAMPLER, take_apart

        found: dict[str, Piece] = {}
        for loc, model in self._models.items():
            if model.transformer is not None:
                pieces = take_apart(model.transformer)
                shared = {name: pieces.pop(name) for name in (GRID, SAMPLER)}
                found |= {f"{name} {loc.value}": piece for name, piece in pieces.items()} | shared
        return found

    def _network(self, loc: Loc, pixels: Pixels, engine: ComparedEngine) -> "Open":
        if engine is ComparedEngine.TORCH:
            return self._torch(self._models[loc], (pixels,), compiled=False)
        if engine in ON_GPU:
            return engine_run(self._plan(loc, engine), pixels, None)
        if engine is ComparedEngine.OPENVINO:
            return partial(_openvino_run, self._onnx(loc), pixels, self._setup.threads)
        return engine_run(self._onnx(loc), pixels, self._setup.threads)

    def _part(self, name: str, piece: "Piece", batch: int, engine: ComparedEngine) -> "Open":
        if engine is ComparedEngine.TORCH:
            return self._torch(piece.module, piece.example(batch), compiled=False)
        height, width = self.image_hw
        path = self._folder / f"{name.replace(' ', '-')}-{height}x{width}.onnx"
        if not path.exists():
            self._tell(f"exporting {name}")
        return part_run(piece, path, engine, batch, self._setup.threads)

    def _torch(self, module: Any, inputs: tuple[Any, ...], *, compiled: bool) -> "Open":
        """Every sitting uses the one that was compiled: doing it again takes a minute."""
        from lstn.nn.taken_apart import runner

        if compiled:
            self._tell("torch.compile is compiling")
        run = runner(module, inputs, compiled=compiled, threads=self._setup.threads)
        return lambda: nullcontext(run)

    def _onnx(self, loc: Loc) -> Path:
        from lstn.export.onnx.to_onnx import write_onnx
        from lstn.export.onnx.verify_onnx import sample_images

        path = self._folder / f"{self._backbone}-{loc.value}.onnx"
        if not path.exists():
            self._tell(f"{self._backbone}: exporting {loc.value}")
            images = sample_images("digits", self.image_hw, seed=0, count=3)
            write_onnx(self._models[loc], path, self._contract(loc), images)
        return path

    def _plan(self, loc: Loc, engine: ComparedEngine) -> Path:
        from lstn.export.tensorrt.targets import choose_targets
        from lstn.export.tensorrt.to_plan import write_plan
        from lstn.export.tensorrt.tuning import BatchRange, BuildSettings
        from lstn.formats.plan_file import Flavour

        onnx_file, flavour, batches = self._onnx(loc), Flavour(engine.value), self._setup.batches
        path = onnx_file.with_suffix(".plan")
        if not path.exists():
            profile = BatchRange(min(batches), max(batches), max(batches))
            targets = choose_targets(flavour, ())
            write_plan(onnx_file, path, BuildSettings(flavour=flavour, profiles=(profile,), targets=targets))
        return path

    def _default(self, loc: Loc) -> Path:
        from lstn.export.onnx.exported_parts import write_default
        from lstn.nn.taken_apart import default_of

        path = self._folder / f"{self._backbone}-{loc.value}-default.onnx"
        if not path.exists():
            self._tell(f"{self._backbone}: exporting {loc.value} as torch does by default")
            write_default(default_of(self._models[loc], self._contract(loc)), path, self._contract(loc))
        return path

    def _contract(self, loc: Loc) -> Contract:
        return Contract(loc, self._backbone, self.image_hw, LABELS)


def random_pixels(batch: int, image_hw: tuple[int, int], seed: int) -> Pixels:
    """(N, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (batch, *image_hw, 3), dtype=np.uint8)


def engine_run(path: Path, pixels: Pixels, threads: int | None) -> "Open":
    """Return what opens an engine file, an ONNX file on the CPU, to infer `pixels` again and again."""
    return partial(_engine_run, path, pixels, threads)


def part_run(piece: "Piece", path: Path, engine: ComparedEngine, batch: int, threads: int | None) -> "Open":
    """Return what opens `piece`, in `path` or exported there, to run `batch` images again and again."""
    from lstn.export.onnx.exported_parts import write_part

    if not path.exists():
        write_part(piece.module, path, inputs=piece.inputs, outputs=piece.outputs, example=piece.example(2))
    feeds = {key: tensor.numpy() for key, tensor in zip(piece.inputs, piece.example(batch), strict=True)}
    return partial(_graph_run, path, engine, feeds, threads)


@contextmanager
def _engine_run(path: Path, pixels: Pixels, threads: int | None) -> "Iterator[TimedCall]":
    from lstn.runtime.engines.opening import open_engine

    device = Device.CPU if path.suffix == ".onnx" else Device.AUTO
    with open_engine(path, device=device, threads=threads, spin=False) as engine:
        yield partial(engine.infer, pixels)


@contextmanager
def _openvino_run(path: Path, pixels: Pixels, threads: int | None) -> "Iterator[TimedCall]":
    from lstn.runtime.engines.openvino_engine import open_openvino

    with open_openvino(path, threads=threads) as engine:
        yield partial(engine.infer, pixels)


@contextmanager
def _graph_run(path: Path, engine: ComparedEngine, feeds: dict[str, Any], threads: int | None) -> "Iterator[TimedCall]":
    from lstn.runtime.engines.part_graphs import Library, open_graph

    with open_graph(path, Library(engine.value), device=Device.CPU, threads=threads) as run:
        yield partial(run, feeds)


def _has_openvino(tell: Callable[[str], None]) -> bool:
    from lstn.imports import require

    try:
        require("openvino", extra="openvino")
    except MissingExtra as error:
        tell(f"left out: {error.message}; {error.hint}")
        return False
    return True
