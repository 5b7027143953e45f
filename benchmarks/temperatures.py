"""How far probabilities are off, before and after a temperature, in float32 and in int8.

    python -m benchmarks temperatures RUN… [--out results/confidence/temperatures.json]

Each run is exported and lowered to int8, as `lstn export` and `lstn calibrate` do. Its temperatures were fitted to
validation images; here all forms answer the test images, which are paired.

Needs: runs of `lstn train` that classify.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.calibration.calibrating import CalibrationSettings, calibrate
from lstn.data.dataset import open_data
from lstn.data.splits import Split
from lstn.evaluation.answer import Logits
from lstn.evaluation.confidence import Confidence, ConfidenceTally
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.health.run_files import checkpoint_of
from lstn.interval import Interval
from lstn.nn.checkpoint import load_checkpoint
from lstn.precision import Precision
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine

Labels: TypeAlias = npt.NDArray[np.int64]

RESULT = "results/confidence/temperatures.json"
BATCH = 64
DRAWS = 2000
"""Resamples of the test images, for the intervals."""

FORMS = {
    "raw": "float32, as the network answers",
    "fitted": "float32, with its temperature",
    "lowered": "int8, with float32's temperature",
    "refitted": "int8, with a temperature of its own",
}


def main(words: Sequence[str]) -> None:
    """Measure every run, and write the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    arguments = parser.parse_args(words)
    models = []
    for run in arguments.runs:
        with TemporaryDirectory() as folder:
            models.append(measure(run, Path(folder)))
        result = machine_of(("torch", "onnxruntime", "onnxruntime-gpu")) | {"models": models}
        write_result(arguments.out, result, page_of(result))
    print(page_of(result))


def measure(run: Path, folder: Path) -> dict[str, Any]:
    """Export a run, lower it, and say how far off each form is."""
    checkpoint = load_checkpoint(checkpoint_of(run))
    training, contract = checkpoint.training, checkpoint.contract
    float32 = folder / "model.onnx"
    export_checkpoint(checkpoint, float32)
    how = CalibrationSettings(precision=Precision.INT8, data=training.data, seed=training.seed, force=True)
    int8 = calibrate(float32, folder, how)
    split = open_data(training.data, image_hw=contract.image_hw, seed=training.seed).test
    (fitted, truth, cold), (lowered, _, own) = (answers(file, split) for file in (float32, int8.onnx))
    forms = {
        "raw": judged(fitted * np.float32(cold), truth),
        "fitted": judged(fitted, truth),
        "lowered": judged(lowered * np.float32(own / cold), truth),
        "refitted": judged(lowered, truth),
    }
    what = f"{contract.loc.value} + {contract.backbone}, {contract.image_hw[0]} px, {training.data.rpartition('/')[2]}"
    return {
        "model": what,
        "images": len(truth),
        "temperatures": {"float32": cold, "int8": own},
        "right": {name: float(each.right.mean()) for name, each in forms.items()},
        "errors": {name: errors_of(each) for name, each in forms.items()},
        "nll": {name: each.nll for name, each in forms.items()},
    }


def answers(file: Path, split: Split) -> tuple[Logits, Labels, float]:
    """Return a file's logits of a split's images, their labels, and the temperature that is in the logits."""
    found, labels = [], []
    with open_engine(file) as engine:
        for first in range(0, len(split), BATCH):
            images = [split[index] for index in range(first, min(first + BATCH, len(split)))]
            found.append(engine.infer(np.stack([pixels for pixels, _ in images])).logits)
            labels += [label for _, label in images]
        return np.concatenate(found), np.array(labels, np.int64), engine.contract.temperature


def judged(logits: Logits, truth: Labels) -> Confidence:
    """Return what the answers to all images come to."""
    tally = ConfidenceTally()
    tally.add(logits, truth)
    return tally.confidence()


def errors_of(confidence: Confidence) -> list[float]:
    """Return the expected calibration error, 0..1, and its 95 % interval: percentiles over images drawn anew."""
    count = len(confidence.sure)
    draws = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    drawn = [Confidence(confidence.sure[rows], confidence.right[rows], 0.0).error for rows in draws]
    return [confidence.error, *np.quantile(drawn, [0.025, 0.975]).tolist()]


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = [
        (
            model["model"] if name == "raw" else "",
            told,
            f"{100 * model['right'][name]:.1f}",
            str(Interval(*(100 * each for each in model["errors"][name]))),
            f"{model['nll'][name]:.3f}",
        )
        for model in result["models"]
        for name, told in FORMS.items()
    ]
    columns = ("model", "form", "right %", "calibration error, points", "cross-entropy, nats")
    counts = "; ".join(f"{model['model']}: {model['images']:,}" for model in result["models"])
    fitted = "; ".join(
        f"{model['model']}: {model['temperatures']['float32']:.2f} and {model['temperatures']['int8']:.2f}"
        for model in result["models"]
    )
    return f"""# What a temperature is worth

Expected calibration error (Guo et al. 2017, 15 bins) of test images, in points, with the 95 % interval of {DRAWS:,}
draws of these images. Temperatures are fitted to validation images: by `lstn train`, and by `lstn calibrate`. They
change no answer. In ONNX Runtime. By chance the error of so few images is one or two points, and that of a draw
a little more, so the intervals lie high.

{markdown_table(columns, rows, words=2)}

Test images: {counts}. Temperatures, float32 and int8: {fitted}.

{result["cpu"]}; {versions_of(result)}. Made with `python -m benchmarks temperatures RUN…`.
"""
