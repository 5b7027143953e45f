"""`lstn infer` on this machine: images -> rows, and pictures of the warps."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.cli.parsing.engine_choice import chosen_engine
from lstn.cli.parsing.infer_format import KINDS, Format, row_format
from lstn.cli.parsing.infer_request import InferRequest
from lstn.cli.steps.infer_video import infer_video
from lstn.cli.steps.row_sink import RowCount, doing, sink, write_all
from lstn.errors import LstnError, UsageError
from lstn.formats.outputs import OutputFile, check_folder, check_outputs, check_pictures, files_of
from lstn.machine.cores import decoders, within_cores
from lstn.report.wording import counted
from lstn.terminal import note

if TYPE_CHECKING:
    from lstn.alignment.sentence_encoder import EncodedSentence
    from lstn.contract import Contract


def infer_here(paths: list[str], asked: InferRequest) -> None:
    """Answer the images that `paths` stand for, or the frames of a video.

    Raises:
        UsageError: an option that can't be followed here.
        LstnError: an image has no answer, or the engine can't be opened.
    """
    from lstn.runtime.inference.video import is_video

    if asked.out is not None:
        raise UsageError("--out: only with --ray, whose results are a folder", hint="name a file with --output")
    within_cores(asked.threads)
    within_cores(asked.workers)
    wanted = row_format(asked.format_, asked.output)
    if videos := [path for path in paths if is_video(path)]:
        if len(paths) > 1:
            raise UsageError(f"{videos[0]}: a video is answered alone", hint="name no other images or videos with it")
        if asked.sentence is not None:
            raise UsageError("--sentence: not of a video", hint="name images")
        infer_video(videos[0], asked, wanted)
    else:
        _infer_images(paths, asked, wanted)


def _infer_images(paths: list[str], asked: InferRequest, wanted: Format) -> None:
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import batch_size, check_drawable, least_sure, predict
    from lstn.runtime.inference.result_rows import look_for

    if asked.every is not None:
        raise UsageError("--every: only of a video", hint="leave it out")
    images = listed_images(paths)
    engine = chosen_engine(asked.engine)
    _check_places(paths, images, engine, asked, wanted)
    # The decoders want the cores that ONNX Runtime's threads would spin on: measured, a quarter more images/s without.
    with open_engine(engine, device=asked.device, threads=asked.threads, spin=False) as opened:
        if asked.warps is not None:
            check_drawable(opened.contract, engine)
        size, workers = batch_size(asked.batch, opened.contract, opened.max_batch, engine), decoders(asked.workers)
        started, count = time.perf_counter(), RowCount()
        contract, top = opened.contract, asked.top
        least = least_sure(contract, asked.score, asked.reject_below)
        sentence = _encoded(asked.sentence, contract, engine)
        answered = predict(
            opened,
            images,
            batch=size,
            top=top,
            least=least,
            workers=workers,
            limits=asked.limits,
            keep=asked.warps is not None,
        )
        what = f"{doing(contract)} {counted(len(images), 'image')}"
        into = sink(wanted, asked.output, contract, images, top or 1, what=what, total=len(images))
        rows = answered if sentence is None else look_for(sentence, answered)
        with closing(answered), into as write:
            write_all(rows, write, asked.warps, contract, count)
    took = time.perf_counter() - started
    goal = f" -> {asked.output}" if asked.output else ""
    note(f"{counted(len(images), 'image')} in {took:.1f} s, {len(images) / took:.0f} images/s{goal}")
    if asked.reject_below is not None:
        note(f"{count.rejected} of them rejected, less probable than {asked.reject_below:g}")
    if count.failed:
        raise LstnError(
            f"no answer for {count.failed} of {counted(len(images), 'image')}", hint="the error in their rows says why"
        )


def _encoded(sentence: str | None, contract: "Contract", engine: Path) -> "EncodedSentence | None":
    """Return the sentence that is looked for, by a model that aligns.

    Raises:
        UsageError: there is one for another model, or none for such a model; or it has a word that this one hasn't.
        ArtifactError: the file next to the engine, which knows the words, is missing or damaged.
    """
    from lstn.alignment.sentence_encoder import encoded, sentence_encoder
    from lstn.contract import Task, check_task

    if sentence is not None:
        check_task(contract.task, Task.ALIGN, "--sentence", hint="leave it out")
    elif contract.task is Task.ALIGN:
        raise UsageError("a model that aligns looks for a sentence", hint="add --sentence 'a large 3'")
    if sentence is None:
        return None
    with sentence_encoder(engine) as encode:
        return encoded(sentence, contract.labels, encode)


def listed_images(paths: list[str]) -> list[Path | str]:
    """Return the images that `paths` stand for, and say what was left out."""
    from lstn.data.folders.listing import Skipped
    from lstn.runtime.inference.sources import is_url, list_images

    skipped = Skipped()
    images = [name if is_url(name) else Path(name) for name in list_images(paths, skipped)]
    if left_out := skipped.describe():
        note(left_out)
    return images


def paths_of(images: Sequence[Path | str]) -> list[Path]:
    """Return the images that are files here, and not URLs."""
    return [image for image in images if isinstance(image, Path)]


def _check_places(
    paths: list[str], images: Sequence[Path | str], engine: Path, asked: InferRequest, wanted: Format
) -> None:
    if asked.output is not None:
        read = [*files_of(engine), *paths_of(images)]
        check_outputs([OutputFile(asked.output, KINDS[wanted], "--output")], inputs=read)
    if asked.warps is not None:
        from lstn.runtime.inference.warp_pictures import picture_names

        check_folder("--warps", asked.warps, [Path(path) for path in paths], paths_of(images))
        check_pictures("--warps", asked.warps, picture_names(images), paths_of(images))
