"""`lstn infer` on this machine: images -> rows, and pictures of the warps."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lstn.cli.display.screen import results
from lstn.cli.parsing.engine_choice import chosen_engine
from lstn.cli.parsing.infer_format import KINDS, Format, row_format
from lstn.cli.parsing.infer_request import InferRequest
from lstn.errors import LstnError, UsageError
from lstn.files import replacing
from lstn.formats.outputs import OutputFile, check_folder, check_outputs, check_pictures, files_of
from lstn.machine.cores import decoders, within_cores
from lstn.report.wording import counted
from lstn.terminal import messages, note
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.contract import Contract
    from lstn.runtime.inference.predict import ResultRow
    from lstn.runtime.inference.rows import Write


def infer_here(paths: list[str], asked: InferRequest) -> None:
    """Answer the images that `paths` stand for.

    Raises:
        UsageError: an option that can't be followed here.
        LstnError: an image has no answer, or the engine can't be opened.
    """
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import batch_size, check_warps, least_sure, predict

    if asked.out is not None:
        raise UsageError("--out: only with --ray, whose results are a folder", hint="name a file with --output")
    within_cores(asked.threads)
    within_cores(asked.workers)
    wanted = row_format(asked.format_, asked.output)
    images = listed(paths)
    engine = chosen_engine(asked.engine)
    _check_places(paths, images, engine, asked, wanted)
    # The decoders want the cores that ONNX Runtime's threads would spin on: measured, a quarter more images/s without.
    with open_engine(engine, device=asked.device, threads=asked.threads, spin=False) as opened:
        if asked.warps is not None:
            check_warps(opened.contract, engine)
        size, workers = batch_size(asked.batch, opened.contract, opened.max_batch, engine), decoders(asked.workers)
        started = time.perf_counter()
        contract, top = opened.contract, asked.top
        least = least_sure(contract, asked.score, asked.reject_below)
        rows = predict(
            opened,
            images,
            batch=size,
            top=top,
            least=least,
            workers=workers,
            reading=asked.reading,
            keep=asked.warps is not None,
        )
        with closing(rows), _sink(wanted, asked.output, contract, images, top or 1) as write:
            failed, rejected = _write_all(rows, write, asked.warps, contract)
    took = time.perf_counter() - started
    goal = f" -> {asked.output}" if asked.output else ""
    note(f"{counted(len(images), 'image')} in {took:.1f} s, {len(images) / took:.0f} images/s{goal}")
    if asked.reject_below is not None:
        note(f"{rejected} of them rejected, less probable than {asked.reject_below:g}")
    if failed:
        raise LstnError(
            f"no answer for {failed} of {counted(len(images), 'image')}", hint="the error in their rows says why"
        )


def listed(paths: list[str]) -> list[Path | str]:
    """Return the images that `paths` stand for, and say what was left out."""
    from lstn.data.listing import Skipped
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

        check_folder("--warps", asked.warps, [Path(path) for path in paths])
        check_pictures("--warps", asked.warps, picture_names(images), paths_of(images))


def _write_all(
    batches: Iterable[list["ResultRow"]], write: "Write", warps: Path | None, contract: "Contract"
) -> tuple[int, int]:
    """Return how many rows hold an error, and how many were rejected."""
    from lstn.runtime.inference.warp_pictures import save_warp

    done = failed = rejected = 0
    for rows in batches:
        write(rows)
        for row in rows:
            done += 1
            failed += bool(row.error)
            rejected += row.rejected
            if warps is not None:
                save_warp(row, warps, contract, number=done)
    return failed, rejected


@contextmanager
def _sink(
    wanted: Format, output: Path | None, contract: "Contract", images: Sequence[Path | str], top: int
) -> Iterator["Write"]:
    """Yield what writes the rows of one batch and moves the progress bar on."""
    from lstn.contract import Task
    from lstn.runtime.inference.rows import csv_objects, csv_rows, json_lines, json_rows, table_rows

    labels, detects = contract.labels, contract.task is Task.DETECT

    with _destination(output) as stream:
        console = results(stream)
        on_screen = output is None and console.is_terminal
        # A bar lives below rich's own output only, so the table brings its console; other rows on a screen go without.
        bar = console if on_screen and wanted is Format.TABLE else messages()
        writers: dict[Format, Callable[[], AbstractContextManager[Write]]] = {
            Format.TABLE: lambda: table_rows(console, labels=labels, paths=images),
            Format.JSON: lambda: json_rows(stream),
            Format.JSONL: lambda: json_lines(stream),
            Format.CSV: lambda: csv_objects(stream) if detects else csv_rows(stream, top=min(top, len(labels))),
        }
        hidden = on_screen and bar is not console
        doing = "looking for objects in" if detects else "classifying"
        with (
            writers[wanted]() as write,
            working(f"{doing} {counted(len(images), 'image')}", len(images), console=bar, hidden=hidden) as advance,
        ):

            def write_and_advance(rows: Sequence["ResultRow"]) -> None:
                write(rows)
                advance(len(rows))

            yield write_and_advance


@contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        yield stream
