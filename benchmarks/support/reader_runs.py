"""What benchmarks of readers share: a run by lstn's commands, its answers in every engine, and the tables of both."""

import json
import resource
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, run_quietly
from lstn.contract import Contract
from lstn.data.splits import Split, spaced
from lstn.data.texts.text_sets import open_texts
from lstn.evaluation.answer import Answers
from lstn.interval import Interval
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.checkpoint_answers import answering_of
from lstn.report.table import markdown_table
from lstn.runtime.engines.engine_answers import answering
from lstn.runtime.engines.opening import open_engine
from lstn.transcription.reading import read_all
from lstn.transcription.reading_scores import ReadText, score_texts

ENGINES = {"ONNX Runtime": "model.onnx", "OpenVINO": "model.xml"}
TIMED = 200

Kinds = Mapping[str, Sequence[Mapping[str, Any]]]
"""The runs of each kind that has some."""


Trained = Callable[[Path, str, Namespace, int], dict[str, Any]]
"""Folder, kind, arguments and seed -> the figures of one run."""


def reader_arguments(words: Sequence[str], name: str, told: str | None, *, out: str, kinds: Iterable[str]) -> Namespace:
    """Read --epochs, --seeds, --kinds, --work and --out. kinds: all that there are"""
    parser = argument_parser(name, told, out=out)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    work = Path("runs") / Path(out).stem
    parser.add_argument("--work", type=Path, default=work, metavar="DIR", help="keeps finished runs")
    parser.add_argument("--kinds", default=";".join(kinds), help=f"some of: {';'.join(kinds)}")
    arguments = parser.parse_args(words)
    arguments.kinds = [kind for kind in arguments.kinds.split(";") if kind in kinds]
    arguments.work = arguments.work.absolute()
    return arguments


def measure_kinds(arguments: Namespace, trained: Trained, page_of: Callable[[Mapping[str, Any]], str]) -> None:
    """Train and measure what is missing, one seed after another, and write the page after each run."""
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


def train_reader(folder: Path, kind: str, data: str, *, epochs: int, seed: int, task: str = "read") -> float:
    """Train and export one model by lstn's commands, and return the seconds that training took the CPU.

    kind: options of `lstn train`
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = f"train --task {task} {kind} --data {data} --device cpu --workers 0 --seed {seed}"
    if not (folder / "runs/it").exists():
        budget = f"--epochs {epochs} --patience {epochs} --name it"
        run_quietly(folder, *words.split(), *budget.split(), threads=1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_quietly(folder, "export", "runs/it", "--engine", "openvino", "--out", ".", threads=1)
    return after.ru_utime - before.ru_utime


def read_by_engines(folder: Path, data: str, side: int, seed: int) -> tuple[list[ReadText], dict[str, Any]]:
    """Read the test pictures by every form of a model: what PyTorch reads, and the figures."""
    checkpoint = load_checkpoint(folder / "runs/it" / CHECKPOINT)
    images, contract = open_texts(data, image_hw=(side, side), seed=seed).test, checkpoint.contract
    reference = read_quietly(answering_of(checkpoint.model.eval()).both, images, contract)
    probe = np.stack([images[index][0] for index in spaced(len(images), 32)])
    logits, theta = answering_of(checkpoint.model).both(probe)
    engines, milliseconds = {}, {}
    for name, file in ENGINES.items():
        with open_engine(folder / file, threads=1) as engine:
            read = read_quietly(answering(engine).both, images, contract)
            answer = engine.infer(probe)
            apart = np.abs(answer.logits - logits).max() / np.abs(logits).max()
            drift = None if theta is None else float(np.abs(np.asarray(answer.theta) - theta).max())
            same = sum(one.best.text == other.best.text for one, other in zip(read, reference, strict=True))
            engines[name] = {"same_texts": same, "logits_apart": float(apart), "theta_apart": drift}
            milliseconds[name] = _times(engine.infer, images)
    return reference, {
        "parameters": sum(weight.numel() for weight in checkpoint.model.parameters()),
        "scores": score_texts(reference).to_dict(),
        "engines": engines,
        "ms": milliseconds["ONNX Runtime"],
    }


def read_quietly(answers: Answers, images: Split, contract: Contract) -> list[ReadText]:
    """Read all images of a split."""
    return read_all(answers, images, contract, batch=50, advance=lambda count: None)


def _times(infer: Callable[[np.ndarray], object], images: Split) -> float:
    """Return the median milliseconds of one picture."""
    pictures = [images[index][0][None] for index in spaced(len(images), TIMED)]
    took = []
    for pixels in pictures:
        began = time.perf_counter()
        infer(pixels)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def by_kind(result: Mapping[str, Any], kinds: Iterable[str]) -> Kinds:
    """Return the runs of a result by their kind, in the order of kinds."""
    runs = {kind: [run for run in result["runs"] if run["kind"] == kind] for kind in kinds}
    return {kind: of_kind for kind, of_kind in runs.items() if of_kind}


def command_of(name: str, result: Mapping[str, Any], kinds: Iterable[str]) -> str:
    """Return the command that makes a page. kinds: all that there are"""
    there = by_kind(result, kinds)
    chosen = "" if set(there) == set(kinds) else f" --kinds '{';'.join(there)}'"
    seeds = max(len(runs) for runs in there.values())
    return f"python -m benchmarks {name} --epochs {result['epochs']} --seeds {seeds}{chosen}"


def error_row(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield texts with an error, wrong symbols, and the overlap of crops and boxes, all in per cent."""
    for name in ("text_error", "symbol_error"):
        found = [run["scores"][name] for run in runs]
        yield str(Interval(**found[0])) if len(found) == 1 else mean_and_range([each["value"] for each in found], 1)
    yield figure([100 * run["scores"]["overlap"] for run in runs if run["scores"]["overlap"] is not None], 1)


def figure(values: Sequence[float], places: int) -> str:
    """Return a single value as it is, and several as their mean and range."""
    return f"{values[0]:.{places}f}" if len(values) == 1 else mean_and_range(values, places)


def cost_table(kinds: Kinds, epochs: int, symbol: str) -> str:
    """Return what a picture takes in training and in ONNX Runtime, and a symbol. symbol: what it is called"""
    rows = [
        (
            kind,
            figure([1000 * run["cpu_seconds"] / (10_000 * epochs) for run in runs], 1),
            figure([run["ms"] for run in runs], 2),
            figure([run["ms"] * run["scores"]["images"] / run["scores"]["symbols"] for run in runs], 2),
        )
        for kind, runs in kinds.items()
    ]
    return markdown_table(("", "training, CPU ms a picture", "ONNX Runtime, ms a picture", f"ms a {symbol}"), rows)


def engine_table(kinds: Kinds) -> str:
    """Return how far other engines are from PyTorch."""
    rows = [row for kind, runs in kinds.items() for row in _engines(kind, runs)]
    return markdown_table(("", "engine", "texts as in PyTorch", "logits apart", "theta apart"), rows)


def _engines(kind: str, runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name in ENGINES:
        of_engine = [run["engines"][name] for run in runs]
        thetas = [each["theta_apart"] for each in of_engine if each["theta_apart"] is not None]
        same = min(each["same_texts"] for each in of_engine)
        far = max(each["logits_apart"] for each in of_engine)
        yield kind, name, f"{same:,}", f"{far:.0e}", f"{max(thetas):.0e}" if thetas else ""
