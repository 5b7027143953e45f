"""`lstn tune`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.screen import results
from lstn.cli.parsing.batch_sizes import batch_sizes
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.tuning_axes import (
    check_mode,
    crop_sides,
    tuned_engines,
    tuned_precisions,
    tuned_threads,
    tuned_waits,
)
from lstn.cli.steps.tune_server import tune_server
from lstn.files import write_text
from lstn.formats.engine_kind import EngineKind
from lstn.formats.outputs import check_folder, check_outputs
from lstn.health.run_files import checkpoint_of
from lstn.machine.lock import locked
from lstn.terminal import note
from lstn.waiting import say_loading
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.research.tune.model_versions import VersionsWanted
    from lstn.research.tune.tuned import Tuned, TuningRequest

_MAX_DROP, _PRECISIONS = 0.5, "int8"
_SECONDS, _SECONDS_OF_LOAD = 1.0, 2.0


def tune(
    source: Annotated[
        Path | None,
        typer.Argument(
            callback=from_zoo,
            metavar="RUN|FILE",
            help="A run's folder or a checkpoint; a float32 ONNX file of lstn; zoo:NAME; with --load any engine.",
            show_default="the newest run",
        ),
    ] = None,
    p99_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS", min=0.001, help="How long 99 of 100 calls or requests may take.", show_default="any time"
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", min=0, help="Top-1 accuracy that may be lost.", show_default=str(_MAX_DROP)),
    ] = None,
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
        str | None,
        typer.Option(
            metavar="NAME,…", help="To try as well as fp32: of fp16, bf16 and int8.", show_default=_PRECISIONS
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="S,…", help="Sides of crops to try as well as the run's own.", show_default="none"),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N,…", help="Images a call; with --load, at most: --max-batch of lstn serve.")
    ] = "1,2,4,8,16,32",
    threads: Annotated[
        str | None,
        typer.Option(metavar="N,…", help="Threads of an engine.", show_default="1, 2, 4 … up to the cores"),
    ] = None,
    load: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Tune lstn serve under so many requests a second.", show_default="tune the files"
        ),
    ] = None,
    wait_ms: Annotated[
        str | None,
        typer.Option(metavar="W,…", help="With --load: --max-wait-ms of lstn serve.", show_default="0,2,5,10"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Settings to time.", show_default="a fifth of all, 10 at least"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.1, max=600, help="To time a setting.", show_default="1, or 2 with --load"),
    ] = None,
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

    With --load, finds the batch size and the wait with which lstn serve answers that many requests a second fastest:
    starts it with each, and sends it images. serving.json and serving.html have every figure.
    """
    of_files = {"--max-drop": max_drop, "--max-drift-px": max_drift_px, "--engine": engine, "--precision": precision,
                "--crop": crop, "--threads": threads, "--trials": trials}  # fmt: skip
    check_mode(load, of_files, {"--wait-ms": wait_ms})
    batches = sorted(batch_sizes(batch))
    if load is not None:
        from lstn.research.tune.serving_tuned import ServingRequest

        waits, seconds = tuned_waits(wait_ms), seconds or _SECONDS_OF_LOAD
        asked = ServingRequest(load=load, batches=batches, waits_ms=waits, p99_ms=p99_ms, seconds=seconds)
        tune_server(source, out, asked, data=data, seed=seed)
        return
    from lstn.research.tune.candidates import QualityLimits
    from lstn.research.tune.tuned import TuningRequest

    limits = QualityLimits(_MAX_DROP if max_drop is None else max_drop, max_drift_px)
    request = TuningRequest(versions=_versions(data, seed, engine, precision, crop), limits=limits, batches=batches,
                            threads=tuned_threads(threads), p99_ms=p99_ms, trials=trials, seconds=seconds or _SECONDS,
                            seed=seed or 0)  # fmt: skip
    source = source if source is not None and source.suffix == ".onnx" else checkpoint_of(source)
    _show(_tuned(source, out, request), shown_path(source), out)


def _versions(
    data: str | None, seed: int | None, engine: list[EngineKind] | None, precision: str | None, crop: str | None
) -> "VersionsWanted":
    from lstn.research.tune.model_versions import VersionsWanted

    return VersionsWanted(
        data=data or "",
        seed=seed,
        engines=tuned_engines(engine),
        precisions=tuned_precisions(_PRECISIONS if precision is None else precision),
        crops=crop_sides(crop),
    )


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
