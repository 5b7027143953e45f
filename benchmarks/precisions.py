"""Costs of each precision on trained models: accuracy, agreement, drift, and which layers are to blame.

    python -m benchmarks precisions RUN… [--out results/precision/precisions.json]

For each run: export, then every precision with the localizer lowered (all but its head) and with it kept, measured on
the run's validation images.

Needs: runs of `lstn train`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, page_of_models, versions_of, write_result
from lstn.calibration.calibrating import DEFAULT_KEEP, CalibrationSettings, calibrate
from lstn.calibration.cost.lowering_cost import ClassifierCost
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.health.run_files import checkpoint_of
from lstn.nn.checkpoint import load_checkpoint
from lstn.precision import Precision
from lstn.report.table import markdown_table

RESULT = "results/precision/precisions.json"
KEEPS = ("head", "localizer")
COLUMNS = (
    "precision", "kept in float32", "top-1", "same top-1", "drift p99", "drift max",
    "changed by warp / backbone alone", "noisiest by themselves",
)  # fmt: skip
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "onnxconverter-common")

HEAD = """# What each precision costs, on trained models

Cost: `lstn calibrate` on each run's validation images, in ONNX Runtime (bf16, fp8 emulated in float32). The
localizer's head, theta, the grid and the sampler are float32 throughout. Drift is in pixels of the input.
"""


def main(words: Sequence[str]) -> None:
    """Measure every run, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args(words)
    models = []
    for run in arguments.runs:
        with TemporaryDirectory() as folder:
            models.append(measure(run, Path(folder)))
        print(*lines_of(models[-1]), sep="\n", flush=True)
    result = machine_of(LIBRARIES) | {"models": models}
    write_result(arguments.out, result, page_of(result))


def measure(run: Path, folder: Path) -> dict[str, Any]:
    """Export one run, and measure what its precisions cost."""
    onnx_file = folder / "model.onnx"
    checkpoint = load_checkpoint(checkpoint_of(run))
    training = checkpoint.training
    export_checkpoint(checkpoint, onnx_file)
    costs = []
    for precision in Precision:
        for keep in KEEPS:
            settings = CalibrationSettings(
                precision=precision, data=training.data, seed=training.seed, keep=(keep,), force=True
            )
            made = calibrate(onnx_file, folder / keep, settings)
            cost = made.cost
            contract, height = cost.contract, cost.contract.image_hw[0]
            costs.append(
                {
                    "precision": precision.value,
                    "keep": keep,
                    "default": DEFAULT_KEEP[precision] == (keep,),
                    "images": cost.images,
                    "top1": asdict(cost.top1),
                    "agreement": cost.agreement,
                    "drift": None if cost.drift is None else asdict(cost.drift),
                    "changed": None if cost.changed is None else asdict(cost.changed),
                    "blamed": noisiest(cost),
                }
            )
    what = f"{contract.loc.value} + {contract.backbone}, {height} px, {training.data.split('/')[-1]}"
    return {"model": what, "val_accuracy": training.val_accuracy, "costs": costs}


def noisiest(cost: ClassifierCost) -> list[str]:
    """The three nodes that add most noise by themselves."""
    known = [layer for layer in cost.layers if layer.own_db is not None]
    return [layer.node for layer in sorted(known, key=lambda layer: layer.own_db or 0.0)[:3]]


def lines_of(model: Mapping[str, Any]) -> Iterator[str]:
    """Lay one model out as a table of Markdown."""
    yield f"## {model['model']}"
    yield ""
    first = model["costs"][0]
    yield f"float32: top-1 {percent(first['top1']['reference'])} of {first['images']} validation images."
    yield ""
    yield markdown_table(COLUMNS, map(_cells, model["costs"]), words=2)
    yield ""


def _cells(cost: Mapping[str, Any]) -> tuple[str, ...]:
    drift, changed = cost["drift"], cost["changed"]
    return (
        cost["precision"],
        f"{cost['keep']}{' (default)' if cost['default'] else ''}",
        percent(cost["top1"]["lowered"]),
        percent(cost["agreement"]),
        f"{drift['p99_px']:.3f} px",
        f"{drift['max_px']:.3f} px",
        f"{percent(changed['warp'])} / {percent(changed['backbone'])}",
        ", ".join(node.partition("/")[0] for node in cost["blamed"]),
    )


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    machine = f"{result['cpu']}, two shared cores; {versions_of(result)}"
    foot = f"{machine}. Made with `python -m benchmarks precisions RUN…`."
    return page_of_models(HEAD, map(lines_of, result["models"]), foot)


def percent(share: float) -> str:
    """0.915 -> 91.5 %."""
    return f"{100 * share:.1f} %"
