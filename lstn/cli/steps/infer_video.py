"""`lstn infer` of a video, a stream or a camera: frames -> rows, and pictures of the steadied warps."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lstn.cli.parsing.engine_choice import chosen_engine
from lstn.cli.parsing.infer_format import KINDS, Format
from lstn.cli.parsing.infer_request import InferRequest
from lstn.cli.steps.row_sink import RowCount, doing, sink, write_all
from lstn.contract import Task
from lstn.errors import DataError, LstnError, UsageError
from lstn.formats.outputs import OutputFile, check_folder, check_outputs, check_pictures, files_of
from lstn.report.wording import counted
from lstn.terminal import note

if TYPE_CHECKING:
    from lstn.runtime.engines.base import Engine
    from lstn.runtime.inference.video import Video

_LONG_S = 99_999.0
"""A time whose name is as wide as any in a table."""


def infer_video(source: str, asked: InferRequest, wanted: Format) -> None:
    """Answer the frames of a video until it ends, or until Ctrl-C; what was answered is kept.

    Raises:
        LstnError: the video or the engine can't be opened; the video is damaged or cut off; a frame has no answer.
    """
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import check_drawable
    from lstn.runtime.inference.video import open_video

    engine = chosen_engine(asked.engine)
    _check_places(source, engine, asked, wanted)
    with (
        open_video(source, asked.limits) as video,
        open_engine(engine, device=asked.device, threads=asked.threads, spin=False) as opened,
    ):
        if asked.warps is not None:
            check_drawable(opened.contract, engine)
        if opened.contract.task is Task.ALIGN:
            raise UsageError("a model that aligns answers images, and no videos", hint="name images, and a --sentence")
        started = time.perf_counter()
        count = _answer(video, opened, engine, asked, wanted)
        took = time.perf_counter() - started
    goal = f" -> {asked.output}" if asked.output else ""
    if video.stopped.is_set():
        note("stopped")
    note(f"{counted(count.written, 'frame')} in {took:.1f} s, {count.written / took:.0f} frames/s{goal}")
    if asked.reject_below is not None:
        note(f"{count.rejected} of them rejected, less probable than {asked.reject_below:g}")
    if video.fault:
        raise DataError(f"{source}: {video.fault}", hint="the frames before that were answered")
    if count.failed:
        hint = "the error in their rows says why"
        raise LstnError(f"no answer for {count.failed} of {counted(count.written, 'frame')}", hint=hint)


def _answer(video: "Video", opened: "Engine", engine: Path, asked: InferRequest, wanted: Format) -> RowCount:
    """Write the rows of all frames, and return how many there are."""
    from lstn.runtime.inference.predict import batch_size, least_sure
    from lstn.runtime.inference.video import is_live
    from lstn.runtime.inference.video_rows import answer_frames, frame_name

    contract, count = opened.contract, RowCount()
    frames = video.frames(asked.every or 0.0)
    rows = answer_frames(
        opened,
        frames,
        video.source,
        batch=1 if is_live(video.source) else batch_size(asked.batch, contract, opened.max_batch, engine),
        top=asked.top,
        least=least_sure(contract, asked.score, asked.reject_below),
        keep=asked.warps is not None,
    )
    names = [frame_name(video.source, _LONG_S)]
    what = f"{doing(contract)} the frames of {video.source}"
    into = sink(wanted, asked.output, contract, names, asked.top or 1, what=what, total=None)
    with into as write, closing(frames), closing(rows), _until_ctrl_c(video):
        write_all(rows, write, asked.warps, contract, count)
    return count


@contextmanager
def _until_ctrl_c(video: "Video") -> Iterator[None]:
    """Let Ctrl-C end the video, and not the writing of its rows; a second one ends all."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if video.stopped.is_set():
            raise KeyboardInterrupt
        video.stopped.set()

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _check_places(source: str, engine: Path, asked: InferRequest, wanted: Format) -> None:
    read = [*files_of(engine), Path(source)]
    if asked.output is not None:
        check_outputs([OutputFile(asked.output, KINDS[wanted], "--output")], inputs=read)
    if asked.warps is not None:
        from lstn.runtime.inference.warp_pictures import picture_name

        check_folder("--warps", asked.warps)
        there = sorted(asked.warps.iterdir()) if asked.warps.is_dir() else []
        ending = picture_name(source, 1).removeprefix("000001")
        check_pictures("--warps", asked.warps, (each.name for each in there if each.name.endswith(ending)))
