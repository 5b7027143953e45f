"""`lstn claims`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.screen import results, show_sentence
from lstn.cli.parsing.batch_sizes import batch_sizes
from lstn.cli.parsing.old_spellings import renamed
from lstn.cli.parsing.report_options import HtmlReport, JsonReport
from lstn.errors import UsageError
from lstn.files import scratch_folder, write_text
from lstn.formats.outputs import CLAIMS, PAGE, check_outputs, files_of, wanted_output
from lstn.machine.cores import within_cores
from lstn.research.claims.claims_request import ClaimsRequest, ComparedEngine
from lstn.research.claims.verdict import Verdict
from lstn.terminal import note, printable

if TYPE_CHECKING:
    from rich.console import Console

    from lstn.research.claims.claims_report import ClaimsReport

_COLOURS = {Verdict.HOLDS: "green", Verdict.FAILS: "red", Verdict.NOISE: "yellow"}


def _compared_engine(typed: str) -> ComparedEngine:
    if typed == "onnxruntime":
        renamed("--engine onnxruntime", "--engine onnx")
        return ComparedEngine.ONNX
    try:
        return ComparedEngine(typed)
    except ValueError as error:
        kinds = ", ".join(f"'{each.value}'" for each in ComparedEngine)
        raise typer.BadParameter(f"'{typed}' is not one of {kinds}") from error


def claims(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Engine files to compare, one for each localizer, in any precision; "
            "if left out, untrained models are exported and compared.",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            metavar="FOLDER",
            help="Compare the networks of a finished study: errors and follow against time.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME,…", help="Backbones.")] = "resnet-18",
    image_size: Annotated[
        int | None,
        typer.Option(metavar="S", min=8, max=4096, help="Side of the input in pixels.", show_default="the backbone's"),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,…", help="Images a call; one comparison for each.")] = "1",
    threads: Annotated[
        int,
        typer.Option(
            callback=within_cores, metavar="N", min=0, help="Threads of each library; 0 leaves it the choice."
        ),
    ] = 1,
    engine: Annotated[
        ComparedEngine,
        typer.Option(
            parser=_compared_engine,
            metavar="|".join(each.value for each in ComparedEngine),
            help="The kind of engine that the localizers are compared on.",
            show_default=ComparedEngine.ONNX.value,
        ),
    ] = ComparedEngine.ONNX,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Race PyTorch, torch.compile, OpenVINO and default exports too.")
    ] = True,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=3600, metavar="S", help="Time each for about S seconds at each batch size.")
    ] = 6.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of weights, images, order and intervals.")] = 0,
    tables: Annotated[bool, typer.Option("--tables", help="Only count: the paper's tables next to ours.")] = False,
    html: HtmlReport = None,
    json_: JsonReport = None,
) -> None:
    """Check the L-STN paper's numbers and claims.

    Networks with each localizer around one backbone run in turns within one loop, and so do their transformers and the
    parts of those. The 95 % interval of a ratio of times decides whether a claim holds, does not hold, or is below the
    noise here. docs/how-to/claims.md says how.
    """
    console = results()
    names = tuple(dict.fromkeys(model.replace(" ", "").split(",")))
    setup = ClaimsRequest(names, image_size, batch_sizes(batch), threads or None, engine, peers, seconds, seed)
    _check_alone(files or [], study, setup, written=html is not None or json_ is not None, tables=tables)
    if tables:
        _print_tables(console)
        return
    outputs = (wanted_output("--html", html, PAGE), wanted_output("--json", json_, CLAIMS))
    check_outputs(outputs, inputs=[each for file in files or [] for each in files_of(file)])
    report = _measure(files or [], study, setup)
    if json_ is not None:
        write_text(json_, report.to_json())
    if html is not None:
        from lstn.research.claims.claims_page import claims_page

        write_text(html, claims_page(report))
    _show(console, report)
    for path in (html, json_):
        if path is not None:
            note(f"written: {printable(str(path))}")


def _check_alone(
    files: Sequence[Path], study: Path | None, setup: ClaimsRequest, *, written: bool, tables: bool
) -> None:
    """Refuse what one of several ways to say what is compared would ignore."""
    usual = ClaimsRequest()
    if tables and (files or study or written or setup != usual):
        raise UsageError(
            "--tables only counts and prints: FILE and all other options are for measuring",
            hint="leave out the one or the other",
        )
    if study and (files or (setup.models, setup.image_size) != (usual.models, usual.image_size)):
        raise UsageError(
            "--study says which networks are compared: its own", hint="leave out FILE, --model and --image-size"
        )


def _measure(files: Sequence[Path], folder: Path | None, setup: ClaimsRequest) -> "ClaimsReport":
    from lstn.machine.environment import describe_environment
    from lstn.nn.costs.counting import count_costs, count_rows
    from lstn.research.claims.claims_report import ClaimsReport, make_report
    from lstn.research.claims.paper import compare_counts
    from lstn.research.claims.races import check, race_all, race_files
    from lstn.research.claims.studied_networks import race_study, read_networks

    check(setup)
    networks = None if folder is None else read_networks(folder)
    environment = describe_environment()
    with scratch_folder(prefix="lstn-claims-") as made:
        if networks is not None:
            timed_races = list(race_study(networks, setup, made, tell=note))
        else:
            raced = race_files(files, setup, tell=note) if files else race_all(setup, made, tell=note)
            timed_races = list(raced)
    if files or networks:  # what was timed is what they are
        setup = replace(setup, models=(timed_races[0].backbone,), image_size=timed_races[0].image_hw[0])
    setup = replace(setup, peers=False) if files else setup
    studied = None if networks is None else networks.study
    cells = list(compare_counts(count_costs, count_rows))
    report: ClaimsReport = make_report(cells, timed_races, count_costs, setup, environment, studied)
    return report


def _show(console: "Console", report: "ClaimsReport") -> None:
    from rich.text import Text

    from lstn.report.table import print_table

    show_sentence(console, report.where, style="dim")
    console.print()
    claim = ""
    for line in report.lines:
        if line.claim != claim:
            console.print(line.claim, style="bold", markup=False)
            claim = line.claim
        place = f"{line.where}: " if line.where else ""
        console.print(Text.assemble("  ", (line.verdict.value, _COLOURS[line.verdict]), f"  {place}{line.figure}"))
    console.print()
    for table in report.timings:
        if table.rows:
            print_table(console, table)


def _print_tables(console: "Console") -> None:
    from lstn.nn.backbones import BACKBONES
    from lstn.nn.costs.counting import count_costs, count_rows
    from lstn.report.table import print_table
    from lstn.research.claims.cost_tables import agreement, others_table, paper_tables
    from lstn.research.claims.paper import INCONSISTENCIES, compare_counts, our_backbone, read_tables

    cells = list(compare_counts(count_costs, count_rows))
    for table in paper_tables(cells):
        print_table(console, table)
    in_paper = {our_backbone(name) for name in read_tables()["input_size"]}
    sides = {name: entry.image_size for name, entry in BACKBONES.items() if name not in in_paper}
    print_table(console, others_table(count_costs, sides))
    console.print("Where the paper contradicts itself, or its numbers need a word", style="bold")
    for sentence in INCONSISTENCIES:
        console.print(f"- {sentence}", markup=False)
    console.print(f"\n{agreement(cells)} agree with the paper.", markup=False)
