"""Contenders: the networks around one backbone that a race of the claims compares, untrained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstn.contract import Loc
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
from lstn.research.claims.timed_network import (
    TimedNetwork,
    engine_run,
    has_openvino,
    openvino_run,
    random_pixels,
    torch_run,
)

if TYPE_CHECKING:
    from lstn.nn.costs.taken_apart import Piece
    from lstn.research.claims.timed_network import Open
    from lstn.runtime.bench.race import Entrant, TimedCall


class Contenders:
    """The entrants around one backbone. Files are made when they are first needed, in `folder`."""

    def __init__(self, setup: ClaimsRequest, backbone: str, folder: Path, tell: Callable[[str], None]) -> None:
        """Build the models. `tell` hears what is going on.

        Raises:
            UsageError: no such backbone, or images too small for it or for a localizer.
        """
        from lstn.nn.backbones import backbone_named
        from lstn.nn.costs.taken_apart import build_models

        side = setup.image_size or backbone_named(backbone).image_size
        self.image_hw = (side, side)
        self._setup, self._backbone, self._folder, self._tell = setup, backbone, folder, tell
        models = build_models(backbone, self.image_hw, LABELS, setup.seed)
        self._networks = {
            loc: TimedNetwork(model, folder / f"{backbone}-{loc.value}.onnx", setup, tell)
            for loc, model in models.items()
        }
        self._openvino = setup.engine is ComparedEngine.OPENVINO or (setup.peers and has_openvino(tell))
        self._with_peers = setup.peers and setup.engine not in ON_GPU

    def networks(self, batch: int) -> list["Entrant"]:
        """Whole networks with each localizer on the engine, and L-STN's on its peers."""
        from lstn.runtime.bench.race import Entrant

        engine, ours = self._setup.engine, self._networks[Loc.LSTN]
        pixels = random_pixels(batch, self.image_hw, self._setup.seed)
        entrants = [
            Entrant(loc.value, engine.shown, network.opening(engine, pixels)) for loc, network in self._networks.items()
        ]
        if not self._with_peers:
            return entrants
        default, threads = self._default(), self._setup.threads
        self._tell("torch.compile is compiling")
        peers: dict[str, Open] = {
            ORT: ours.opening(ComparedEngine.ONNX, pixels),
            EAGER: ours.opening(ComparedEngine.TORCH, pixels),
            COMPILED: ours.in_torch(pixels, compiled=True),
            ORT_DEFAULT: engine_run(default, pixels, threads),
        }
        if self._openvino:
            peers[OPENVINO] = ours.opening(ComparedEngine.OPENVINO, pixels)
            peers[OPENVINO_DEFAULT] = openvino_run(default, pixels, threads)
        return entrants + [Entrant(Loc.LSTN.value, via, peer) for via, peer in peers.items() if via != engine.shown]

    def parts(self, batch: int) -> list["Entrant"]:
        """Transformers and localizers alone, grid and sampler on the engine, and L-STN's transformer on its peers."""
        from lstn.nn.costs.taken_apart import TRANSFORMER, default_piece
        from lstn.runtime.bench.race import Entrant

        engine, pieces = self._setup.engine, self._pieces()
        entrants = [
            Entrant(name, engine.shown, self._part(name, piece, batch, engine)) for name, piece in pieces.items()
        ]
        if not self._with_peers:
            return entrants
        name = f"{TRANSFORMER} {Loc.LSTN.value}"
        ours, usual = pieces[name], default_piece(pieces[name])
        self._tell("torch.compile is compiling")
        peers: dict[str, Open] = {
            ORT: self._part(name, ours, batch, ComparedEngine.ONNX),
            EAGER: self._part(name, ours, batch, ComparedEngine.TORCH),
            COMPILED: torch_run(ours.module, ours.example(batch), self._setup.threads, compiled=True),
            ORT_DEFAULT: self._part(f"{name} default", usual, batch, ComparedEngine.ONNX),
        }
        if self._openvino:
            peers[OPENVINO] = self._part(name, ours, batch, ComparedEngine.OPENVINO)
            peers[OPENVINO_DEFAULT] = self._part(f"{name} default", usual, batch, ComparedEngine.OPENVINO)
        return entrants + [Entrant(name, via, peer) for via, peer in peers.items() if via != engine.shown]

    def _pieces(self) -> dict[str, "Piece"]:
        """Every transformer and its localizer, but for one on a backbone's layers; grid and sampler are the same."""
        from lstn.nn.costs.taken_apart import GRID, SAMPLER, take_apart

        found: dict[str, Piece] = {}
        for loc, network in self._networks.items():
            if network.model.transformer is not None and loc is not Loc.SHARED:
                pieces = take_apart(network.model.transformer)
                shared = {name: pieces.pop(name) for name in (GRID, SAMPLER)}
                found |= {f"{name} {loc.value}": piece for name, piece in pieces.items()} | shared
        return found

    def _part(self, name: str, piece: "Piece", batch: int, engine: ComparedEngine) -> "Open":
        if engine is ComparedEngine.TORCH:
            return torch_run(piece.module, piece.example(batch), self._setup.threads, compiled=False)
        height, width = self.image_hw
        path = self._folder / f"{name.replace(' ', '-')}-{height}x{width}.onnx"
        if not path.exists():
            self._tell(f"exporting {name}")
        return part_run(piece, path, engine, batch, self._setup.threads)

    def _default(self) -> Path:
        from lstn.export.onnx.exported_parts import write_default
        from lstn.nn.costs.taken_apart import default_of

        path = self._folder / f"{self._backbone}-{Loc.LSTN.value}-default.onnx"
        if not path.exists():
            self._tell(f"{self._backbone}: exporting {Loc.LSTN.value} as torch does by default")
            model = self._networks[Loc.LSTN].model
            write_default(default_of(model, model.contract), path, model.contract)
        return path


def part_run(piece: "Piece", path: Path, engine: ComparedEngine, batch: int, threads: int | None) -> "Open":
    """Return what opens `piece`, in `path` or exported there, to run `batch` images again and again."""
    from lstn.export.onnx.exported_parts import write_part

    if not path.exists():
        write_part(piece.module, path, inputs=piece.inputs, outputs=piece.outputs, example=piece.example(2))
    feeds = {key: tensor.numpy() for key, tensor in zip(piece.inputs, piece.example(batch), strict=True)}
    return partial(_graph_run, path, engine, feeds, threads)


@contextmanager
def _graph_run(path: Path, engine: ComparedEngine, feeds: dict[str, Any], threads: int | None) -> "Iterator[TimedCall]":
    from lstn.runtime.engines.part_graphs import Library, open_graph

    with open_graph(path, Library(engine.value), device=Device.CPU, threads=threads) as run:
        yield partial(run, feeds)
