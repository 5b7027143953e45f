"""Measure what our affine grid buys: the L-STN transformer in ONNX Runtime, with it and with torch's `F.affine_grid`.

    python -m benchmarks grid [--image-size 224] [--seconds 10] [--json FILE]

One thread, batch 1, both exported, verified and raced as `lstn claims` does. Times are milliseconds.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of
from lstn.contract import Loc
from lstn.nn.costs.taken_apart import TRANSFORMER, Piece, default_piece, take_apart
from lstn.nn.warping.localizers import build_localizer
from lstn.nn.warping.transformer import Transformer
from lstn.research.claims.claims_request import ComparedEngine
from lstn.research.claims.contenders import part_run
from lstn.runtime.bench.race import Entrant, run_race

OURS, TORCHS = "lstn affine_grid", "torch F.affine_grid"


def main(words: Sequence[str]) -> None:
    """Export, race, print."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=10.0, help="to time each of the two")
    parser.add_argument("--json", type=Path, help="write the raw samples to this file")
    arguments = parser.parse_args(words)

    torch.manual_seed(0)
    side = arguments.image_size
    ours = take_apart(Transformer(build_localizer(Loc.LSTN, (side, side)), (side, side)))[TRANSFORMER]
    with tempfile.TemporaryDirectory() as folder:
        pieces = {OURS: ours, TORCHS: default_piece(ours)}
        entrants = [entrant(name, piece, Path(folder)) for name, piece in pieces.items()]
        race = run_race(entrants, seconds=arguments.seconds, seed=0)
    print(f"L-STN transformer, {side} x {side}, batch 1, one thread, {entrants[0].via}")
    for each in entrants:
        print(f"  {each.subject:<20} median {race.time_ms(each.name)} ms")
    gain = race.ratio(entrants[1].name, entrants[0].name)
    print(f"  times as long with torch's: {gain}")
    if arguments.json:
        samples = {name: [rounds[:, index].tolist() for rounds in race.sittings] for index, name in enumerate(pieces)}
        result = {"image_size": side, "ratio": [gain.value, gain.low, gain.high], "samples_ms": samples}
        arguments.json.write_text(json.dumps(result | machine_of(("onnxruntime", "torch"))))


def entrant(name: str, piece: Piece, folder: Path) -> Entrant:
    """Export a transformer; opened, it warps one image."""
    engine = ComparedEngine.ONNX
    opened = part_run(piece, folder / f"{name.replace(' ', '-')}.onnx", engine, batch=1, threads=1)
    return Entrant(name, engine.shown, opened)
