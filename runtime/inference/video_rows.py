"""Frames of a video -> rows, in order; where the transformer looks is steadied over time."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from lstn.contract import WHOLE_IMAGE
from lstn.images import pixels_of
from lstn.runtime.engines.base import Engine
from lstn.runtime.inference.result_rows import ResultRow, row_maker
from lstn.runtime.inference.video import Frame
from lstn.terminal import without_secrets
from lstn.warps.steadying import SteadyWarp


def frame_name(source: str, seconds: float) -> str:
    """Return what a row calls a frame: `clip.mp4#t=1.240`, a media fragment as the W3C has it."""
    return f"{without_secrets(source)}#t={seconds:.3f}"


def answer_frames(
    engine: Engine,
    frames: Iterable[Frame],
    source: str,
    *,
    batch: int,
    top: int | None,
    least: float | None,
    keep: bool = False,
) -> Generator[list[ResultRow], None, None]:
    """Answer the frames of one video; yield their rows batch by batch.

    batch: frames a call of the engine, at most its max_batch; of a live video 1, so that no frame waits for others
    top, least, keep: as for `lstn.runtime.inference.predict.predict`

    Raises:
        LstnError: the engine failed, or what reading the frames raises.
    """
    steady, coming = SteadyWarp(), iter(frames)
    while piece := list(islice(coming, batch)):
        yield list(_rows(engine, piece, source, steady, top=top, least=least, keep=keep))


def _rows(
    engine: Engine,
    piece: list[Frame],
    source: str,
    steady: SteadyWarp,
    *,
    top: int | None,
    least: float | None,
    keep: bool,
) -> Iterator[ResultRow]:
    contract = engine.contract
    pixels = np.stack([pixels_of(frame.pixels, contract) for frame in piece])
    row_of = row_maker(engine.infer(pixels), contract, top, least)
    for number, frame in enumerate(piece):
        row = row_of(number, frame_name(source, frame.seconds), pixels[number] if keep else None)
        # The objects of one frame and of the next are in no order in which one could follow another.
        if row.theta is not None and contract.task in WHOLE_IMAGE:
            row = replace(row, steady=steady.steadied(row.theta, frame.seconds))
        yield row
