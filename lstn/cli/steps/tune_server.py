"""`lstn tune --load` after its options: tunes a server, writes its report, and prints it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lstn.cli.display.screen import results
from lstn.cli.parsing.engine_choice import chosen_engine
from lstn.data.trained_on import data_and_seed
from lstn.files import write_text
from lstn.formats.inspection import training_of
from lstn.formats.outputs import check_folder, check_outputs, files_of
from lstn.machine.lock import locked
from lstn.terminal import note
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.research.tune.serving_tuned import ServingRequest, TunedServer


def tune_server(
    source: Path | None, out: Path, request: "ServingRequest", *, data: str | None, seed: int | None
) -> None:
    """Tune a server of `source` with images that the model was trained on, unless `data` names others.

    Raises:
        LstnError: what `opened_model` and `tune_serving` raise; or nothing can be written in `out`.
    """
    from lstn.research.tune.serving_tuned import opened_model, serving_outputs, tune_serving

    request.check()
    check_folder("--out", out)
    engine = chosen_engine(source)
    figures, page = serving_outputs(out)
    check_outputs([figures, page], inputs=files_of(engine))
    model = opened_model(engine, *data_and_seed(engine, training_of(engine), data, seed))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        tuned = tune_serving(model, figures.path, request)
        _show(tuned, shown_path(engine), figures.path, page.path)


def _show(tuned: "TunedServer", served: str, figures: Path, page: Path) -> None:
    from lstn.report.table import print_table
    from lstn.research.tune import serving_report

    write_text(figures, json.dumps(serving_report.serving_report(tuned, served), ensure_ascii=False) + "\n")
    write_text(page, serving_report.serving_page(tuned, served))
    print_table(results(), serving_report.served_trials_table(tuned))
    print_table(results(), serving_report.served_best_table(tuned))
    note(f"the same as a page: {page}")
    typer.echo(serving_report.serving_advice(tuned, served))
