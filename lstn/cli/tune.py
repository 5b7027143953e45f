"""`lstn tune`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.screen import results
from lstn.cli.parsing.batch_sizes import batch_sizes
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.tuning_axes import crop_sides, tuned_engines, tuned_precisions, tuned_threads
from lstn.files import write_text
from lstn.formats.engine_kind import EngineKind
from lstn.formats.outputs import check_folder, check_outputs
from lstn.health.run_files import checkpoint_of
from lstn.machine.lock import locked
from lstn.terminal import note
from lstn.waiting import say_loading
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.research.tune.tuned import Tuned, TuningRequest


def tune(
    source: Annotated[
        Path | None,
        typer.Argument(
            callback=from_zoo,
            metavar="RUN|ONNX",
            help="A run's folder or a checkpoint; a float32 ONNX file of lstn; or zoo:NAME.",
            show_default="the newest run",
        ),
    ] = None,
    p99_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS", min=0.001, help="How long 99 of 100 calls may take at most.", show_default="any time"
        ),
    ] = None,
    max_drop: Annotated[float, typer.Option(metavar="POINTS", min=0, help="Top-1 accuracy that may be lost.")] = 0.5,
    max_drift_px: Annotated[
        float | None,
        typer.Option(metavar="PX", min=0, help="How far 99 % of the warps may move at most.", show_default="any way"),
    ] = None,
    engine: Annotated[
        list[EngineKind] | None,
        typer.Option(
            metavar="KIND", help="onnx or openvino. May be repeated.", show_default="those that are installed"
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="NAME,…", help="To try as well as fp32: of fp16, bf16 and int8.")
    ] = "int8",
    crop: Annotated[
        str | None,
        typer.Option(metavar="S,…", help="Sides of crops to try as well as the run's own.", show_default="none"),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,…", help="Images a call.")] = "1,2,4,8,16,32",
    threads: Annotated[
        str | None,
        typer.Option(metavar="N,…", help="Threads of an engine.", show_default="1, 2, 4 … up to the cores"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Settings to time.", show_default="a fifth of all, 10 at least"),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, max=600, help="To time a setting.")] = 1.0,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="As in lstn calibrate.", show_default="what the model was trained on"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of the data set, and of the search.", show_default="the model's own"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path("tune"),
) -> None:
    """Find the fastest setting of a model here.

    Makes the model's files for each engine, precision and crop, and refuses those that lose too much accuracy, or whose
    warps drift too far. Then Optuna proposes files, batch sizes and threads, and each is timed once. The best are timed
    in turn at the end. tune.json and tune.html have every figure. After a stop, the same command continues.
    """
    from lstn.research.tune.candidates import QualityLimits
    from lstn.research.tune.model_versions import VersionsWanted
    from lstn.research.tune.tuned import TuningRequest

    wanted = VersionsWanted(
        data=data or "",
        seed=seed,
        engines=tuned_engines(engine),
        precisions=tuned_precisions(precision),
        crops=crop_sides(crop),
    )
    request = TuningRequest(
        versions=wanted,
        limits=QualityLimits(max_drop, max_drift_px),
        batches=sorted(batch_sizes(batch)),
        threads=tuned_threads(threads),
        p99_ms=p99_ms,
        trials=trials,
        seconds=seconds,
        seed=seed or 0,
    )
    source = source if source is not None and source.suffix == ".onnx" else checkpoint_of(source)
    _show(_tuned(source, out, request), shown_path(source), out)


def _tuned(source: Path, out: Path, request: "TuningRequest") -> "Tuned":
    """Tune on the images that the model was trained on, unless others were named."""
    from lstn.research.tune.tuned import check_tunable, tuned_outputs

    check_folder("--out", out)
    check_outputs(tuned_outputs(out), inputs=[source])
    check_tunable(source)
    say_loading(f"tuning {shown_path(source)}")
    from lstn.data.trained_on import data_and_seed
    from lstn.formats.inspection import training_of
    from lstn.research.tune.tuned import tune as tune_model

    wanted = request.versions
    data, seed = data_and_seed(source, training_of(source), wanted.data or None, wanted.seed)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return tune_model(source, out, replace(request, versions=replace(wanted, data=data, seed=seed)))


def _show(tuned: "Tuned", source: str, out: Path) -> None:
    from lstn.report.table import print_table
    from lstn.research.tune.tune_report import advice, files_table, finalists_table, tuning_page, tuning_report

    write_text(out / "tune.json", json.dumps(tuning_report(tuned, source), ensure_ascii=False) + "\n")
    write_text(out / "tune.html", tuning_page(tuned, source))
    print_table(results(), files_table(tuned))
    print_table(results(), finalists_table(tuned))
    note(f"every trial, and the Pareto front: {out / 'tune.html'}")
    typer.echo(advice(tuned))
