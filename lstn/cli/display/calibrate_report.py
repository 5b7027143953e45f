"""Display of a lowered model by `lstn calibrate` and `lstn export`: its cost, and whether it is faster."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lstn.cli.display.screen import results
from lstn.errors import LstnError
from lstn.machine.gpu import Device
from lstn.precision import Precision
from lstn.terminal import file_size, note, warn

if TYPE_CHECKING:
    from rich.console import Console

    from lstn.calibration.calibrating import Calibrated, CalibrationSettings
    from lstn.calibration.sensitivity import Outcome

_MOST_NAMED = 8
_RACE_S, _SLOWER = 0.7, 1.05
_WITHOUT_ONNX_RUNTIME = {
    Precision.BF16: "TensorRT and OpenVINO",
    Precision.FP8: "TensorRT",
    Precision.FP8_FP16: "TensorRT",
}


def show(made: "Calibrated", settings: "CalibrationSettings") -> None:
    """Print what a calibration cost, how its layers were chosen, and what it wrote."""
    from lstn.calibration.cost.cost_report import print_costs

    console = results()
    if made.search is not None:
        _print_search(console, made.search, made, settings)
    print_costs(console, {settings.precision.value: made.cost})
    kept = ", ".join(_named(made.kept, made.layers)) or "nothing"
    console.print(f"kept in float32: {kept}", markup=False, soft_wrap=True)
    for path in (made.onnx, made.json, made.html):
        typer.echo(f"{path}  {file_size(path)}")
    if made.beyond:
        warn(f"{made.onnx.name}: {made.beyond}; written because of --force")
    if (takers := _WITHOUT_ONNX_RUNTIME.get(settings.precision)) is not None:
        note(
            f"{settings.precision.value} was measured by rounding in float32, since ONNX Runtime has no kernels for "
            f"it; {made.onnx} is for {takers}: lstn export {made.onnx} --engine …"
        )


def compare_speed(reference: Path, lowered: Path, precision: Precision) -> None:
    """Time a lowered engine against the float32 ONNX file, and say so if it is the slower one, with what is faster."""
    if lowered.suffix == ".onnx" and (precision in _WITHOUT_ONNX_RUNTIME or precision.half_between):
        return
    from lstn.runtime.bench.timed_engines import BenchSetup, bench

    setup = BenchSetup((1,), _RACE_S, 0, Device.CPU, None, spin=False)
    with suppress(LstnError):  # an engine that isn't installed here: nothing is known
        ratio = bench([reference, lowered], setup, tell=lambda text: None)[1].ratio
        if ratio is None or ratio.low <= _SLOWER:
            return
        cure = "keep float32 here"
        if lowered.suffix == ".onnx":
            cure = f"{precision.value} is for OpenVINO and TensorRT: lstn export {lowered} --engine openvino, or trt"
        warn(f"on this CPU {lowered.name} takes {ratio.value:.2f} times as long as {reference.name}; {cure}")


def _print_search(console: "Console", search: "Outcome", made: "Calibrated", settings: "CalibrationSettings") -> None:
    """The path that --auto took."""
    score = next(iter(made.cost.scores))
    for layer, noise in list(search.noise.items())[:_MOST_NAMED]:
        console.print(f"alone, {layer} adds noise of {noise:.2e} of the logits' power", markup=False)
    for step in search.steps:
        kept = ", ".join(_named(step.kept, made.layers)) or "nothing more"
        console.print(f"keeping {kept}: {-step.drop:+.2f} points of {score}", markup=False, soft_wrap=True)
    console.print(f"--auto {settings.auto:g}: {-search.drop:+.2f} points", markup=False)


def _named(kept: Iterable[str], layers: tuple[str, ...]) -> list[str]:
    """Name layers in order of computation: a whole localizer or head as one, and a long list's rest by its number."""
    from lstn.formats.node_names import HEAD, ModelPart, part_of

    left, names = set(kept), []
    for whole, members in (
        ("the localizer", {layer for layer in layers if part_of(layer) is ModelPart.LOCALIZER}),
        ("the localizer's head", {layer for layer in layers if layer.startswith(f"{HEAD}.")}),
    ):
        if members and members <= left:
            names.append(whole)
            left -= members
    names += [layer for layer in layers if layer in left]
    more = len(names) - _MOST_NAMED
    return names if more <= 0 else [*names[:_MOST_NAMED], f"{more} more"]
