"""`lstn infer`."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from lstn.cli.engine_choice import chosen_engine
from lstn.cli.infer_format import KINDS, Format, batch_size, row_format
from lstn.contract import Loc
from lstn.errors import LstnError, UsageError
from lstn.files import replacing
from lstn.formats.outputs import OutputFile, check_folder, check_outputs, files_of
from lstn.machine.cores import usable_cores, within_cores
from lstn.machine.gpu import Device
from lstn.terminal import messages, note
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.runtime.inference.predict import ResultRow
    from lstn.runtime.inference.rows import Write
    from lstn.warp import Colour

_FILE_WIDTH = 100
"""Columns of a table that goes to a file or a pipe."""


def infer(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, folders with images at any depth, globs, .txt lists and URLs.", metavar="PATH"),
    ],
    engine: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|RUN",
            help="model.onnx, model.plan or model.xml; or a run, which is exported first.",
            show_default="the one engine here, else the newest run",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows there; the file is whole or absent.")
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="How rows are written.",
            show_default="by --output's suffix: .json, .jsonl, .csv or .txt; else a table on a terminal, csv in a pipe",
        ),
    ] = None,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="Labels for each image, best first.")] = 1,
    warps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save a picture of what the transformer did to each image.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Images a call of the engine.", show_default="32, or what it takes"),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where an ONNX model runs.")] = Device.AUTO,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads of ONNX Runtime or OpenVINO.", show_default="one for each core"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads that decode images.", show_default="up to 8")
    ] = None,
    truncated: Annotated[
        Literal["read", "refuse"],
        typer.Option(help="JPEGs that end early: refuse them, or read them with gray for what is missing."),
    ] = "refuse",
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", min=0.001, max=100_000, help="Refuse images of more million pixels.")
    ] = 100,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on this Ray cluster, or on one started here: local. --output is a folder, which a second run "
            "completes.",
        ),
    ] = None,
) -> None:
    """Classify images.

    Prints a row for each image, in the order given. An image that cannot be read becomes a row with its error, the
    others go on, and the exit code is 1. JSON keeps every file name exactly; CSV and tables escape control characters.
    """
    from lstn.data.listing import Skipped
    from lstn.images import Reading
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import predict
    from lstn.runtime.inference.sources import is_url, list_images
    from lstn.warp import outside_of

    reading = Reading(max_pixels=round(max_megapixels * 1e6), truncated=truncated == "read")
    if ray is not None:
        if warps is not None:
            raise UsageError("--warps: not with --ray", hint="run those images on one machine")
        from lstn.cli.infer_ray import infer_on_ray

        infer_on_ray(
            ray,
            paths,
            chosen_engine(engine),
            output,
            format_,
            top=top,
            batch=batch,
            device=device,
            threads=threads,
            workers=workers,
            reading=reading,
        )
        return
    within_cores(threads)
    within_cores(workers)
    wanted = row_format(format_, output)
    skipped = Skipped()
    images = [name if is_url(name) else Path(name) for name in list_images(paths, skipped)]
    if left_out := skipped.describe():
        note(left_out)
    engine = chosen_engine(engine)
    if output is not None:
        read = [*files_of(engine), *(image for image in images if isinstance(image, Path))]
        check_outputs([OutputFile(output, KINDS[wanted], "--output")], inputs=read)
    if warps is not None:
        check_folder("--warps", warps, [Path(path) for path in paths])
    # The decoders want the cores that ONNX Runtime's threads would spin on: measured, a quarter more images/s without.
    with open_engine(engine, device=device, threads=threads, spin=False) as opened:
        if warps is not None and opened.contract.loc is Loc.NONE:
            raise UsageError(f"--warps: {engine} has no transformer; it was trained with --loc none")
        size = batch_size(batch, opened, engine)
        started = time.perf_counter()
        rows = predict(opened, images, batch=size, top=top, workers=workers or min(8, usable_cores()), reading=reading)
        with closing(rows), _sink(wanted, output, opened.contract.labels, images, top) as write:
            failed = _write_all(rows, write, warps, outside_of(opened.contract.mean))
    took = time.perf_counter() - started
    goal = f" -> {output}" if output else ""
    note(f"{len(images)} images in {took:.1f} s, {len(images) / took:.0f} images/s{goal}")
    if failed:
        raise LstnError(f"{failed} of {len(images)} images have no answer", hint="the error in their rows says why")


def _write_all(batches: Iterable[list["ResultRow"]], write: "Write", warps: Path | None, outside: "Colour") -> int:
    """Return how many rows hold an error."""
    from lstn.runtime.inference.warp_pictures import save_warp

    done = failed = 0
    for rows in batches:
        write(rows)
        for row in rows:
            done += 1
            failed += bool(row.error)
            if warps is not None:
                save_warp(row, warps, outside, number=done)
    return failed


@contextmanager
def _sink(
    wanted: Format, output: Path | None, labels: Sequence[str], images: Sequence[Path | str], top: int
) -> Iterator["Write"]:
    """Yield what writes the rows of one batch and moves the progress bar on."""
    from rich.console import Console

    from lstn.runtime.inference.rows import csv_rows, json_lines, json_rows, table_rows

    with _destination(output) as stream:
        console = Console(
            file=stream, highlight=False, width=None if output is None and sys.stdout.isatty() else _FILE_WIDTH
        )
        on_screen = output is None and console.is_terminal
        # A bar lives below rich's own output only, so the table brings its console; other rows on a screen go without.
        bar = console if on_screen and wanted is Format.TABLE else messages()
        writers: dict[Format, Callable[[], AbstractContextManager[Write]]] = {
            Format.TABLE: lambda: table_rows(console, labels=labels, paths=images),
            Format.JSON: lambda: json_rows(stream),
            Format.JSONL: lambda: json_lines(stream),
            Format.CSV: lambda: csv_rows(stream, top=min(top, len(labels))),
        }
        hidden = on_screen and bar is not console
        with (
            writers[wanted]() as write,
            working(f"classifying {len(images):,} images", len(images), console=bar, hidden=hidden) as advance,
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
