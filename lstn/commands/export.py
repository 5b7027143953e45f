"""`lstn export`."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.errors import LstnError, UsageError
from lstn.plan import Flavour, sidecar_path
from lstn.terminal import file_size, messages, note, warn

if TYPE_CHECKING:
    from lstn.export.builder import Batch

_DEFAULT_BATCH = "1,8,32"
_TRAIN = "make one with: lstn train --loc lstn --model effnet-b0"


class Engine(str, Enum):
    """What to make of a checkpoint."""

    ONNX = "onnx"
    TRT = Flavour.TRT.value
    TRT_RTX = Flavour.TRT_RTX.value


class Sampler(str, Enum):
    """How the sampler is written into model.onnx. The names are of whoever computes it."""

    NATIVE = "native"


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run's folder or a checkpoint; the newest run under ./runs if left out. "
            "From an ONNX file of lstn, only the plan is built.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="model.onnx alone, or also a plan for TensorRT (on its GPU) or TensorRT for RTX.")
    ] = Engine.ONNX,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path(),
    batch: Annotated[
        str | None,
        typer.Option(metavar="MIN,OPT,MAX", help="Batch sizes of the plan.", show_default=_DEFAULT_BATCH),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="SM,…",
            help="trt-rtx: compute capabilities to build for, such as sm86,sm89; no GPU is needed then.",
            show_default="this machine's GPU",
        ),
    ] = "",
    sampler: Annotated[
        Sampler, typer.Option(help="Who samples: native is ONNX's own GridSample, which every engine has.")
    ] = Sampler.NATIVE,
) -> None:
    """Write a trained model as model.onnx, checked against PyTorch, and as a TensorRT plan.

    A plan is model.plan with model.plan.json beside it. Where it can't be built, model.onnx is there all the same.
    """
    flavour = None if engine is Engine.ONNX else Flavour(engine.value)
    if flavour is None and (batch is not None or target):
        raise UsageError(
            "--batch and --target are for plans; model.onnx takes any batch", hint="use --engine trt or trt-rtx"
        )
    profile, targets, obstacle = _look_ahead(flavour, batch or _DEFAULT_BATCH, target)
    ready = run is not None and run.suffix == ".onnx"
    if ready and flavour is None:
        raise UsageError(
            f"{run} is an ONNX file already", hint=f"build a plan of it with: lstn export {run} --engine trt"
        )
    onnx_file = run if run is not None and ready else out / "model.onnx"
    if not ready:
        _export_onnx(_checkpoint(run), onnx_file)
    plan = out / f"{onnx_file.stem}.plan"
    if flavour is None:
        _warn_of_stale(plan, onnx_file)
        return
    try:
        if obstacle is not None:
            raise obstacle
        _export_plan(onnx_file, plan, flavour, profile, targets)
    except LstnError as error:
        _warn_of_stale(plan, onnx_file)
        if ready:
            raise
        instead = f"run it here with: lstn infer images/ --engine {onnx_file}"
        hint = f"{instead}; {error.hint}" if error.hint else instead
        raise type(error)(f"{onnx_file} is written and checked; {error.message}", hint=hint) from error


def _look_ahead(flavour: Flavour | None, batch: str, target: str) -> tuple["Batch", tuple[str, ...], LstnError | None]:
    """Read the plan's options before anything is made. What this machine lacks for a plan is no reason to stop yet."""
    from lstn.export.builder import choose_targets
    from lstn.export.to_plan import parse_batch, parse_targets

    profile, targets = parse_batch(batch), parse_targets(target)
    if flavour is None:
        return profile, targets, None
    try:
        return profile, choose_targets(flavour, targets), None
    except UsageError:
        raise
    except LstnError as error:
        return profile, targets, error


def _checkpoint(run: Path | None) -> Path:
    from lstn.train.checkpoint import CHECKPOINT

    if run is None:
        found = sorted(Path("runs").glob(f"*/{CHECKPOINT}"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise LstnError("there is no run under ./runs", hint=_TRAIN)
        note(f"newest run: {found[-1].parent}")
        return found[-1]
    path = run / CHECKPOINT if run.is_dir() else run
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint=f"name a run's folder or a checkpoint; {_TRAIN}")
    return path


def _export_onnx(checkpoint_file: Path, onnx_file: Path) -> None:
    from lstn.export.to_onnx import write_onnx
    from lstn.export.verify import sample_images
    from lstn.train.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(checkpoint_file)
    contract, training = checkpoint.contract, checkpoint.training
    images = sample_images(training.data, contract.image_hw, seed=training.seed)
    with messages().status(f"exporting {contract.loc.value} + {contract.backbone}"):
        agreement = write_onnx(checkpoint.model, onnx_file, contract, images)
    typer.echo(f"{onnx_file}  {file_size(onnx_file)}  {agreement.images} images against PyTorch: {agreement}")


def _export_plan(onnx_file: Path, plan: Path, flavour: Flavour, batch: "Batch", targets: tuple[str, ...]) -> None:
    from lstn.export.to_plan import write_plan

    with messages().status(f"building for {', '.join(targets)}"):
        made = write_plan(onnx_file, plan, flavour=flavour, batch=batch, targets=targets)
    what = f"{flavour.product} {made.version}, {made.precision}, {', '.join(made.targets)}"
    typer.echo(
        f"{plan}  {file_size(plan)}  {what}, batch {batch.minimum} to {batch.maximum}, fastest at {batch.optimum}"
    )
    sidecar = sidecar_path(plan)
    typer.echo(f"{sidecar}  {file_size(sidecar)}  what {plan.name} is; keep the two together")


def _warn_of_stale(plan: Path, onnx_file: Path) -> None:
    """An older plan stays, since it may be in use and what built it may be far away; but not in silence."""
    from lstn.export.to_plan import is_stale

    if onnx_file.is_file() and is_stale(plan, onnx_file):
        warn(f"{plan} was built from another model than {onnx_file}; build it again, or remove it")
