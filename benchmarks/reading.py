"""Readers compared on numbers in clutter: a recurrent transformer, and plain networks with one head for each symbol.

    python -m benchmarks reading [--epochs 8] [--seeds 2] [--kinds 'recurrent;plain cnn'] [--work runs/reading]

`numbers-digits`: one to five digits of MNIST in a row, at any place, size and angle up to 15 degrees, in drawn clutter;
digits and backgrounds of test pictures are not seen in training. All kinds see the same pictures as often, and a step
takes the plain ones as long as the recurrent one (milliseconds of training are on the page). What a run came to is kept
in --work; another call with the same epochs goes on with the runs that are missing.

Each model is exported, and reads the test pictures in PyTorch, ONNX Runtime and OpenVINO. Times: one picture at a time
with one thread, in ONNX Runtime.

Needs: openvino.
"""

import json
import resource
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, run_quietly
from lstn.data.splits import Split, spaced
from lstn.data.texts.text_sets import open_texts
from lstn.evaluation.answer import Answers
from lstn.interval import Interval
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.checkpoint_answers import answering_of
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.runtime.engines.engine_answers import answering
from lstn.runtime.engines.opening import open_engine
from lstn.transcription.reading import read_all
from lstn.transcription.reading_scores import ReadText, score_texts

RESULT = "results/reading/reading.json"
KINDS = {
    "recurrent": "--loc glance --model cnn",
    "plain mobilenet_v3_small": "--loc none --model mobilenet_v3_small",
    "plain cnn": "--loc none --model cnn",
}
ENGINES = {"ONNX Runtime": "model.onnx", "OpenVINO": "model.xml"}
DATA, SIDE = "numbers-digits", 128
TIMED = 200


def main(words: Sequence[str]) -> None:
    """Train and measure what is missing, and write the page after each run."""
    arguments = _arguments(words)
    torch.set_num_threads(1)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for kind in arguments.kinds:
            folder = arguments.work / f"{arguments.epochs}-{seed}-{kind.replace(' ', '-')}"
            kept = folder / "result.json"
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps({"kind": kind, "seed": seed, **trained(folder, kind, arguments, seed)}))
            runs.append(json.loads(kept.read_text()))
            print(json.dumps(runs[-1]), flush=True)
            libraries = machine_of(("torch", "torchvision", "onnxruntime", "openvino"))
            result = libraries | {"epochs": arguments.epochs, "runs": runs}
            write_result(arguments.out, result, page_of(result))


def _arguments(words: Sequence[str]) -> Namespace:
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/reading"), metavar="DIR", help="keeps finished runs")
    parser.add_argument("--kinds", default=";".join(KINDS), help=f"some of: {';'.join(KINDS)}")
    arguments = parser.parse_args(words)
    arguments.kinds = [kind for kind in arguments.kinds.split(";") if kind in KINDS]
    arguments.work = arguments.work.absolute()
    return arguments


def trained(folder: Path, kind: str, arguments: Namespace, seed: int) -> dict[str, Any]:
    """Train and export one model by lstn's commands, and measure it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = f"train --task read {KINDS[kind]} --data {DATA} --device cpu --workers 0 --seed {seed}"
    budget = f"--epochs {arguments.epochs} --patience {arguments.epochs} --name it"
    if not (folder / "runs/it").exists():
        run_quietly(folder, *words.split(), *budget.split(), threads=1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_quietly(folder, "export", "runs/it", "--engine", "openvino", "--out", ".", threads=1)
    return {"cpu_seconds": after.ru_utime - before.ru_utime, **measured(folder, seed)}


def measured(folder: Path, seed: int) -> dict[str, Any]:
    """Read the test pictures by every form of a model."""
    checkpoint = load_checkpoint(folder / "runs/it" / CHECKPOINT)
    images = open_texts(DATA, image_hw=(SIDE, SIDE), seed=seed).test
    labels = checkpoint.contract.labels
    reference = _read(answering_of(checkpoint.model.eval()).both, images, labels)
    probe = np.stack([images[index][0] for index in spaced(len(images), 32)])
    logits, theta = answering_of(checkpoint.model).both(probe)
    engines = {}
    for name, file in ENGINES.items():
        with open_engine(folder / file, threads=1) as engine:
            read = _read(answering(engine).both, images, labels)
            answer = engine.infer(probe)
            apart = np.abs(answer.logits - logits).max() / np.abs(logits).max()
            drift = None if theta is None else float(np.abs(np.asarray(answer.theta) - theta).max())
            same = sum(one.best.text == other.best.text for one, other in zip(read, reference, strict=True))
            engines[name] = {"same_texts": same, "logits_apart": float(apart), "theta_apart": drift}
            if name == "ONNX Runtime":
                times = _times(lambda pixels, engine=engine: engine.infer(pixels), images)
    return {
        "parameters": sum(weight.numel() for weight in checkpoint.model.parameters()),
        "scores": score_texts(reference).to_dict(),
        "by_length": _by_length(reference),
        "engines": engines,
        "ms": times,
    }


def _read(answers: Answers, images: Split, labels: tuple[str, ...]) -> list[ReadText]:
    return read_all(answers, images, labels, batch=50, advance=lambda count: None)


def _by_length(found: Sequence[ReadText]) -> dict[str, list[int]]:
    """Return how many texts of each length there are, and how many have an error."""
    lengths = sorted({len(each.truth) for each in found})
    counts = {length: [each.edits > 0 for each in found if len(each.truth) == length] for length in lengths}
    return {str(length): [len(wrong), sum(wrong)] for length, wrong in counts.items()}


def _times(infer: Callable[[np.ndarray], object], images: Split) -> float:
    """Return the median milliseconds of one picture."""
    pictures = [images[index][0][None] for index in spaced(len(images), TIMED)]
    took = []
    for pixels in pictures:
        began = time.perf_counter()
        infer(pixels)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    runs = {kind: [run for run in result["runs"] if run["kind"] == kind] for kind in KINDS}
    there = {kind: of_kind for kind, of_kind in runs.items() if of_kind}
    errors = markdown_table(
        ("", "parameters", "seeds", "texts with an error, %", "wrong symbols, %", "IoU of crops and boxes, %"),
        [(kind, f"{of_kind[0]['parameters']:,}", len(of_kind), *_errors(of_kind)) for kind, of_kind in there.items()],
    )
    lengths = markdown_table(
        ("texts with an error, %", *(counted(length, "digit") for length in range(1, 6))),
        [(kind, *_lengths(of_kind)) for kind, of_kind in there.items()],
    )
    times = markdown_table(
        ("", "training, CPU ms a picture", "ONNX Runtime, ms a picture", "ms a symbol"),
        [(kind, *_costs(of_kind, result["epochs"])) for kind, of_kind in there.items()],
    )
    engines = markdown_table(
        ("", "engine", "texts as in PyTorch", "logits apart", "theta apart"),
        [row for kind, of_kind in there.items() for row in _engines(kind, of_kind)],
    )
    return f"""# Readers compared

`numbers-digits` of {SIDE} x {SIDE} pixels: one to five digits in a row in clutter, 10,000 pictures drawn anew for each
of {counted(result["epochs"], "epoch")}, and 1,000 to test, of digits and backgrounds that training has not seen.
Nothing is pretrained. `recurrent` is `lstn train --task read --loc glance --model cnn`; `plain` has no transformer
(`--loc none`): one network over the picture with a head for each symbol (Goodfellow et al. 2014).

Means over seeds, and from the lowest to the highest; errors of a single seed with the 95 % interval over the pictures.
This is a budget of minutes on a shared core, and the losses still fall at its end: it says which network learns sooner,
and not what each can reach. Published, on other pictures and with far longer training: 1.5 % of texts with an error by
a recurrent transformer, 2.9 % by a plain network (Sønderby et al. 2015, three digits of MNIST in clutter of 100 x 100
pixels).

{errors}

{lengths}

Training includes drawing the pictures, which takes all kinds alike. One thread; a symbol's time is a picture's over the
mean length of the texts.

{times}

The same pictures by other engines: how many texts of the 1,000 are those of PyTorch, and the largest distances of 32
pictures, logits as a share of the largest.

{engines}

{result["cpu"]}, shared; {versions_of(result)}. Made with
`python -m benchmarks reading --epochs {result["epochs"]}`.
"""


def _errors(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in ("text_error", "symbol_error"):
        found = [run["scores"][name] for run in runs]
        yield str(Interval(**found[0])) if len(found) == 1 else mean_and_range([each["value"] for each in found], 1)
    yield _figure([100 * run["scores"]["overlap"] for run in runs if run["scores"]["overlap"] is not None], 1)


def _figure(values: Sequence[float], places: int) -> str:
    """Return a single value as it is, and several as their mean and range."""
    return f"{values[0]:.{places}f}" if len(values) == 1 else mean_and_range(values, places)


def _lengths(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for length in range(1, 6):
        pairs = [run["by_length"].get(str(length), [0, 0]) for run in runs]
        yield f"{100 * sum(wrong for _, wrong in pairs) / max(1, sum(count for count, _ in pairs)):.1f}"


def _costs(runs: Sequence[Mapping[str, Any]], epochs: int) -> Iterator[str]:
    yield _figure([1000 * run["cpu_seconds"] / (10_000 * epochs) for run in runs], 1)
    yield _figure([run["ms"] for run in runs], 2)
    yield _figure([run["ms"] * run["scores"]["images"] / run["scores"]["symbols"] for run in runs], 2)


def _engines(kind: str, runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name in ENGINES:
        of_engine = [run["engines"][name] for run in runs]
        thetas = [each["theta_apart"] for each in of_engine if each["theta_apart"] is not None]
        same = min(each["same_texts"] for each in of_engine)
        far = max(each["logits_apart"] for each in of_engine)
        yield kind, name, f"{same:,}", f"{far:.0e}", f"{max(thetas):.0e}" if thetas else ""
