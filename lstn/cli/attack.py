"""`lstn attack`."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstn.cli.display.screen import results, show_sentence
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.model_choice import OwnModel
from lstn.cli.parsing.report_options import HtmlReport, JsonReport
from lstn.contract import Task, check_task
from lstn.errors import UsageError
from lstn.files import write_text
from lstn.formats.outputs import ATTACK, PAGE, check_outputs, files_of, wanted_output
from lstn.health.run_files import checkpoint_of
from lstn.report.wording import counted
from lstn.terminal import note
from lstn.waiting import say_loading, working
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.contract import Contract
    from lstn.data.splits import AnySplit
    from lstn.evaluation.measuring import Answering
    from lstn.research.attack.attack_report import AttackReport
    from lstn.research.attack.attacking import AttackRequest

_LARGEST = {"linf": 255.0, "l2": 1000.0}


def attack(
    run: Annotated[
        Path | None,
        typer.Argument(
            callback=from_zoo,
            metavar="RUN",
            help="A run or a checkpoint.",
            show_default="the newest run under ./runs",
        ),
    ] = None,
    to: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Also show the pictures to this engine of the same model; may be repeated."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="As in lstn train.", show_default="what it was trained on")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        typer.Option(help="Whose images are attacked.", show_default="as in lstn evaluate"),
    ] = None,
    images: Annotated[int, typer.Option(min=1, metavar="N", help="How many images, evenly spaced.")] = 100,
    linf: Annotated[
        str, typer.Option(metavar="A,B,…", help="Largest change of each pixel, in grey levels of 255; or none.")
    ] = "2,8,32",
    l2: Annotated[
        str, typer.Option(metavar="A,B,…", help="Also bounds of the root of summed squares, pixels from 0 to 1.")
    ] = "none",
    steps: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Of every ascent.")] = 20,
    starts: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Of PGD: the image, and then random places.")
    ] = 2,
    move: Annotated[
        float, typer.Option(min=0.01, max=4096, metavar="PX", help="By how many pixels a crop is to be moved.")
    ] = 2.0,
    json_: JsonReport = None,
    html: HtmlReport = None,
    device: DeviceName = "auto",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of noise and random starts.")] = 0,
    model: OwnModel = None,
) -> None:
    """Mislead a checkpoint by small changes.

    Changes pixels by noise, FGSM and PGD to change the label, changes pixels to move the crop, and moves the crop to
    change the label. --to says whether the pictures mislead an exported engine too. lstn evaluate --worst moves the
    images instead, on any engine.
    """
    bounds = {name: tuple(dict.fromkeys(_bounds(name, text))) for name, text in (("linf", linf), ("l2", l2))}
    outputs = (wanted_output("--json", json_, ATTACK), wanted_output("--html", html, PAGE))
    checkpoint = _with_gradients(checkpoint_of(run))
    check_outputs(outputs, inputs=[checkpoint, *(each for file in to or [] for each in files_of(file))])
    say_loading(f"attacking {checkpoint}")
    from lstn.research.attack.attacking import AttackRequest

    request = AttackRequest(**bounds, steps=steps, starts=starts, move_px=move, seed=seed)
    found = _attacked(checkpoint, model, to or [], data, split, images, device, request)
    _show(found)
    if json_ is not None:
        write_text(json_, json.dumps(found.to_dict(), ensure_ascii=False) + "\n")
        note(f"every figure: {json_}")
    if html is not None:
        write_text(html, found.page())
        note(f"report: {html}")


def _with_gradients(checkpoint: Path) -> Path:
    """Return the checkpoint, unless it is an engine."""
    from lstn.formats.inspection import inspect_file

    shown = shown_path(checkpoint)
    if checkpoint.suffix in (".onnx", ".plan", ".xml"):
        contract = inspect_file(checkpoint).contract
        if contract is not None:  # for what a detector can't do, no other file of it helps
            check_task(contract.task, Task.CLASSIFY, "lstn attack")
        raise UsageError(
            f"{shown}: an engine, which has no gradients; expected a run or a checkpoint",
            hint=f"name it with --to next to its checkpoint, or move its images: lstn evaluate {shown} --worst …",
        )
    return checkpoint


def _bounds(name: str, text: str) -> Iterator[float]:
    for word in text.split(",") if text != "none" else ():
        try:
            bound = float(word)
        except ValueError:
            bound = math.nan
        if not 0 < bound <= _LARGEST[name]:
            hint = f"for example: --{name} 2,8; or none"
            raise UsageError(
                f"--{name}: {word!r:.40}; expected numbers above 0, up to {_LARGEST[name]:g}, separated by commas",
                hint=hint,
            )
        yield bound


def _attacked(
    checkpoint: Path,
    backbone: str | None,
    engines: Sequence[Path],
    data: str | None,
    split: "AnySplit | None",
    count: int,
    device: str,
    request: "AttackRequest",
) -> "AttackReport":
    from lstn.data.dataset import open_data_of
    from lstn.data.splits import spaced
    from lstn.data.trained_on import data_and_seed, split_to_test
    from lstn.nn.checkpoint import load_checkpoint
    from lstn.nn.checkpoint_answers import answering_of
    from lstn.nn.device import choose_device
    from lstn.research.attack.attack_report import AttackReport
    from lstn.research.attack.attacking import attack_all, rounds_of

    where = choose_device(device)
    loaded = load_checkpoint(checkpoint, backbone)
    contract, model = loaded.contract, loaded.classifier_for("lstn attack").to(where).requires_grad_(False)
    if not (rounds := rounds_of(request, model)):
        raise UsageError(
            "nothing to attack: --linf and --l2 are none, and this model has no transformer",
            hint="give bounds: --linf 2,8,32",
        )
    named, drawn = data_and_seed(checkpoint, loaded.training, data, None)
    with _opened(engines, contract) as opened:  # before any image is decoded
        data_set = open_data_of(contract, named, seed=drawn)
        chosen = split or split_to_test(loaded.training, data_set, named)
        images = data_set.split(chosen)
        numbers = spaced(len(images), count)
        targets = {checkpoint.name: answering_of(model), **opened}
        what = f"attacking {counted(len(numbers), 'image')} of {named}"
        with working(what, len(numbers) * rounds) as advance:
            outcomes = attack_all(model, targets, images, numbers, request, advance=advance)
    return AttackReport(str(checkpoint), contract, named, chosen, len(numbers), request.steps, *outcomes)


@contextmanager
def _opened(files: Sequence[Path], contract: "Contract") -> Iterator[dict[str, "Answering"]]:
    """Open engines of the same model as the checkpoint.

    Raises:
        UsageError: an engine takes other images or has other labels.
    """
    from lstn.runtime.engines.engine_answers import answering
    from lstn.runtime.engines.opening import open_engine

    with ExitStack() as held:
        found = {}
        for file in files:
            engine = held.enter_context(open_engine(file, spin=False))
            check_task(engine.contract.task, Task.CLASSIFY, f"--to {file}")
            same = (engine.contract.image_hw, engine.contract.labels) == (contract.image_hw, contract.labels)
            if not same or str(file) in found:
                why = "is named twice" if same else "takes other images or has other labels than the checkpoint"
                raise UsageError(f"--to {file}: {why}", hint="name an engine that was made of this checkpoint, once")
            found[str(file)] = answering(engine)
        yield found


def _show(found: "AttackReport") -> None:
    from lstn.report.table import print_table
    from lstn.research.attack.attack_report import masking_signs, tables

    console = results()
    for table in tables(found):
        print_table(console, table)
    for sign in masking_signs(found):
        show_sentence(console, f"a sign of masked gradients: {sign}", style="yellow")
