"""Generators measured: what a classifier learns from their pictures, whether those can be told from real ones, engines.

    python -m benchmarks generation [--epochs 15] [--side 32] [--kinds 'placed;whole'] [--work runs/generation]

Two generators learn the embedded digits, which are turned, scaled and shifted among clutter: one paints a digit upright
and places it, the other paints the picture as a whole. Each paints as many pictures as there are real ones to learn
from. A classifier learns from the painted ones, and is tested on real ones (Ravuri and Vinyals 2019, classification
accuracy score); another learns from the real ones. A third one learns to tell real from painted (Lopez-Paz and Oquab
2017). What a kind came to is kept in --work; another call with the same arguments goes on with what is missing.

Needs: openvino.
"""

import json
import shutil
import statistics
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import run_quietly
from lstn.contract import Contract, Loc, Task, ThetaForm
from lstn.data.dataset import open_data
from lstn.evaluation.scores import wilson
from lstn.export.onnx.verify_generator import compare_pictures, of_torch, onnx_runner
from lstn.export.openvino.openvino_generator import openvino_runner
from lstn.health.run_health import METRICS
from lstn.imports import require
from lstn.interval import Interval
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.checkpoint_answers import answering_of
from lstn.nn.generation.generator import Generator
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.runtime.engines.opening import open_generator
from lstn.runtime.inference.painting_pictures import in_turn, noise_of
from lstn.synthesis.painted_folder import write_painted
from lstn.warps.drawn_warp import contact_sheet, draw_outline

RESULT = "results/generation/generation.json"
KINDS = {"placed": "--loc glance", "whole": "--loc none"}
ENGINES = {"ONNX Runtime": "model.onnx", "OpenVINO": "model.xml"}
LABELS = tuple("0123456789")
COMPARED, TIMED, SHOWN = 256, 300, 40
_LARGE = 88
STARTS = {10: 60, 100: 60, 1000: 20}
"""Labels that a classifier learns from, and epochs."""
_CHOOSING = 100
_CLASSIFIER = "--loc none --model cnn --device cpu --workers 0 --epochs 12 --patience 12"
_JUDGE = "--loc none --model cnn --device cpu --workers 0 --epochs 10 --patience 10"


def main(words: Sequence[str]) -> None:
    """Train and measure what is missing, and write the page after each kind."""
    arguments = _arguments(words)
    torch.set_num_threads(1)
    real = real_folder(arguments.work, arguments.side, arguments.pictures)
    kept = arguments.work / "real.json"
    if not kept.exists():
        told = {
            "right": asdict(accuracy_of(real, arguments)),
            "told_apart": asdict(told_by_classifier(real, None, arguments)),
        }
        kept.write_text(json.dumps(told))
    result = machine_of(("torch", "onnxruntime", "openvino")) | {
        "epochs": arguments.epochs,
        "side": arguments.side,
        "pictures": arguments.pictures,
        "real": json.loads(kept.read_text()),
        "kinds": {},
    }
    for kind in arguments.kinds:
        file = arguments.work / f"{kind}.json"
        if not file.exists():
            file.write_text(json.dumps(measured(kind, real, arguments)))
        result["kinds"][kind] = json.loads(file.read_text())
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(arguments.work / f"{kind}.png", arguments.out.with_name(f"{kind}.png"))
        write_result(arguments.out, result, page_of(result))
        print(json.dumps({kind: result["kinds"][kind]}), flush=True)
    started = arguments.work / "starts.json"
    if not started.exists():
        started.write_text(json.dumps([start_of(count, arguments) for count in STARTS]))
    result["starts"] = json.loads(started.read_text())
    write_result(arguments.out, result, page_of(result))


def _arguments(words: Sequence[str]) -> Namespace:
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--epochs", type=int, default=15, help="of the generators")
    parser.add_argument("--side", type=int, default=32, help="of the pictures, in pixels")
    parser.add_argument("--pictures", type=int, default=10_000, help="to learn from, real or painted")
    parser.add_argument("--work", type=Path, default=Path("runs/generation"), metavar="DIR", help="keeps what is done")
    parser.add_argument("--kinds", default=";".join(KINDS), help=f"some of: {';'.join(KINDS)}")
    arguments = parser.parse_args(words)
    arguments.kinds = [kind for kind in arguments.kinds.split(";") if kind in KINDS]
    arguments.work = arguments.work.absolute()
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments


def real_folder(work: Path, side: int, count: int) -> Path:
    """Write training digits as a generator's pictures are written, and return the folder."""
    folder = work / "real"
    if not folder.exists():
        split = open_data("digits", image_hw=(side, side)).train
        contract = Contract(Loc.NONE, "dcgan", (side, side), LABELS, task=Task.GENERATE, noise=1)
        write_painted(folder, ((*split[index], None) for index in range(min(count, len(split)))), contract)
    return folder


def measured(kind: str, real: Path, arguments: Namespace) -> dict[str, Any]:
    """Train one generator by lstn's commands, let it paint, and measure it."""
    folder = arguments.work / kind
    folder.mkdir(exist_ok=True)
    words = f"train --task generate {KINDS[kind]} --data digits --image-size {arguments.side} --device cpu --workers 0"
    if not (folder / "runs/it/test.json").exists():
        shutil.rmtree(folder / "runs", ignore_errors=True)
        budget = f"--epochs {arguments.epochs} --patience {arguments.epochs} --name it"
        run_quietly(folder, *words.split(), *budget.split(), threads=1)
    rows = [json.loads(line) for line in (folder / "runs/it" / METRICS).read_text().splitlines()]
    run_quietly(folder, "export", "runs/it", "--engine", "openvino", "--out", ".", threads=1)
    painted = folder / "painted"
    if not painted.exists():
        count = f"--count {arguments.pictures} --out painted --engine model.onnx --threads 1"
        run_quietly(folder, "infer", *count.split(), threads=1)
    draw_samples(folder / "model.onnx", arguments.work / f"{kind}.png")
    model = load_checkpoint(folder / "runs/it" / CHECKPOINT).model
    assert isinstance(model, Generator)
    return {
        "seconds": sum(row.get("seconds", 0) for row in rows),
        "parameters": sum(weight.numel() for name, weight in model.named_parameters() if "discriminator" not in name),
        "test": json.loads((folder / "runs/it/test.json").read_text()),
        "engines": engines_of(folder, model),
        "right": asdict(accuracy_of(painted, arguments)),
        "told_apart": asdict(told_by_classifier(real, painted, arguments)),
    }


def engines_of(folder: Path, model: Generator) -> dict[str, Any]:
    """Compare the files with PyTorch, and time them: one picture at a time, one thread."""
    ov, contract = require("openvino", extra="openvino"), model.contract
    runners = {
        "ONNX Runtime": onnx_runner(folder / "model.onnx"),
        "OpenVINO": openvino_runner(ov, ov.Core().read_model(folder / "model.xml")),
    }
    found: dict[str, Any] = {}
    for name, runner in runners.items():
        apart = compare_pictures(runner, of_torch(model), contract, count=COMPARED)
        with open_generator(folder / ENGINES[name], threads=1, spin=False) as engine:
            noise, took = noise_of(range(TIMED), contract.noise, 0), []
            for place in range(TIMED):
                began = time.perf_counter()
                engine.generate(noise[place : place + 1], np.array([place % len(LABELS)]))
                took.append(1000 * (time.perf_counter() - began))
        found[name] = asdict(apart) | {"ms": statistics.median(took)}
    return found


def accuracy_of(folder: Path, arguments: Namespace) -> Interval:
    """Train a classifier on a folder of digits, and return how many real test digits it answers right, in per cent."""
    where = folder.parent / f"classifier-{folder.name}"
    _trained(where, folder, _CLASSIFIER, arguments.side)
    return _right(where, arguments.side)


def _right(where: Path, side: int) -> Interval:
    model = load_checkpoint(where / "runs/it" / CHECKPOINT).model
    answers, split = answering_of(model), open_data("digits", image_hw=(side, side)).test
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    right = int((answers.both(np.stack(pixels))[0].argmax(1) == np.array(labels)).sum())
    return wilson(right, len(labels))


def told_by_classifier(real: Path, painted: Path | None, arguments: Namespace) -> Interval:
    """Train a classifier to tell real pictures from painted ones, half of all each, and return how many of those that
    it has not seen it tells, in per cent. painted: None for other real ones"""
    where = (real if painted is None else painted).parent / "judge"
    files, half = _in_order(real), len(_in_order(real)) // 2  # classes take turns, so a half has as many of each
    others = files[half:] if painted is None else _in_order(painted)[:half]
    for name, chosen in (("real", files[:half]), ("other", others)):
        (where / "set" / name).mkdir(parents=True, exist_ok=True)
        for path in chosen:
            shutil.copy(path, where / "set" / name)
    _trained(where, where / "set", _JUDGE, arguments.side)
    told = json.loads((where / "runs/it/test.json").read_text())
    return wilson(round(told["top1"] * told["images"]), told["images"])


def _in_order(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"), key=lambda path: path.name)


def start_of(count: int, arguments: Namespace) -> dict[str, Any]:
    """Train a classifier on so many labelled digits, from nothing and from the placed generator's discriminator."""
    folder, side = arguments.work / f"start-{count}", arguments.side
    split = open_data("digits", image_hw=(side, side)).train
    of_each, seen = count // len(LABELS), Counter[int]()
    for place in range(2 * (count + _CHOOSING)):
        pixels, label = split[place]
        seen[label] += 1
        if seen[label] <= of_each + _CHOOSING // len(LABELS):
            where = folder / "set" / ("train" if seen[label] <= of_each else "val") / LABELS[label]
            where.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(where / f"{place}.png")
    epochs = STARTS[count]
    how = f"--loc none --model dcgan --device cpu --workers 0 --epochs {epochs} --patience {epochs}"
    found: dict[str, Any] = {"labels": count, "epochs": epochs}
    for name, more in (("nothing", ""), ("discriminator", f" --weights {arguments.work / 'placed/runs/it'}")):
        _trained(folder / name, folder / "set", how + more, side)
        found[name] = asdict(_right(folder / name, side))
    return found


def _trained(where: Path, data: Path, how: str, side: int) -> None:
    """Train a classifier on a folder, unless it is trained already."""
    if (where / "runs/it/test.json").exists():
        return
    where.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(where / "runs", ignore_errors=True)
    words = f"train --data folder:{data} --image-size {side} --name it {how}"
    run_quietly(where, *words.split(), threads=1)


def draw_samples(engine_file: Path, path: Path) -> None:
    """Draw pictures of all classes, enlarged, with the box of the object where there is one."""
    with open_generator(engine_file, threads=1) as engine:
        labels = in_turn(SHOWN, range(len(LABELS)))
        found = engine.generate(noise_of(range(SHOWN), engine.contract.noise, 1), labels)
    pictures = []
    for place in range(SHOWN):
        large = Image.fromarray(found.pixels[place]).resize((_LARGE, _LARGE), Image.Resampling.BILINEAR)
        if found.theta is not None:
            draw_outline(large, found.theta[place], ThetaForm.AFFINE)
        pictures.append(large)
    contact_sheet(pictures, columns=len(LABELS), gap=2).save(path)


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    kinds, real = result["kinds"], result["real"]
    learned = markdown_table(
        ("trained on", "real test digits right, %", "told from real ones, %", "by the fixed judge, %"),
        [
            (f"{result['pictures']:,} real ones", Interval(**real["right"]), Interval(**real["told_apart"]), ""),
            *((f"as many of *{kind}*", *_scores(found)) for kind, found in kinds.items()),
        ],
    )
    costs = markdown_table(
        ("", "parameters", "training, minutes", "diversity", "ONNX Runtime, ms a picture", "OpenVINO"),
        [(f"*{kind}*", *_costs(found)) for kind, found in kinds.items()],
    )
    engines = markdown_table(
        ("", "engine", "largest difference of a pixel", "equal bytes, %", "drift of theta, px"),
        [row for kind, found in kinds.items() for row in _engines(kind, found)],
    )
    told = " ".join(_TOLD[kind] for kind in kinds)
    shown = "\n\n".join(f"![Digits that {kind} painted, four of each class]({kind}.png)" for kind in kinds)
    return f"""# Generators measured

The embedded digits at {result["side"]} x {result["side"]} pixels: each turned, scaled and shifted, with a scrap of
another one. {counted(result["epochs"], "epoch")} of 10,000 digits, drawn anew in each. {told} One seed each.

{learned}

*real test digits right* is the classification accuracy score (Ravuri and Vinyals 2019): `cnn` without a transformer
learns from 8 of 10 pictures alone, chooses its epoch by one of 10 more, and answers 1,000 test digits of other writers.
*told from real ones* is the two-sample test: `cnn` learns on half of the real and as many painted pictures, and is
asked about a tenth that it has not seen; 50 is chance. In the first row both halves are real. *the fixed judge* is what
`lstn train` says after every epoch (`lstn.synthesis.two_samples`). Intervals are of 95 % over pictures.

{costs}

*diversity* is the distance between two pictures of a class over that of two real ones. Milliseconds are medians of one
picture at a time. All times are of one thread, on two cores that some ten other processes shared.

{engines}

{COMPARED} pictures against PyTorch. Differences are before rounding to bytes, on the scale 0 to 1.

{_of_starts(result.get("starts", ()))}{shown}

{result["cpu"]}; {versions_of(result)}. Made by `python -m benchmarks generation --epochs {result["epochs"]} --side
{result["side"]} --pictures {result["pictures"]}`.
"""


_TOLD = {
    "placed": "*placed* is `lstn train --task generate --loc glance`, which paints a digit upright and places it by a "
    "theta.",
    "whole": "*whole* is `--loc none`, which paints the picture.",
}


def _of_starts(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    table = markdown_table(
        ("labels", "epochs", "from nothing, % right", "from the discriminator, % right"),
        [
            (f"{row['labels']:,}", row["epochs"], Interval(**row["nothing"]), Interval(**row["discriminator"]))
            for row in rows
        ],
    )
    return f"""{table}

`dcgan` without a transformer, trained on so many real digits with a label and tested on 1,000; {_CHOOSING} more choose
the epoch. The discriminator is that of *placed*, which has seen the labels of all 10,000: this says what its layers are
worth, and not what labels are saved.

"""


def _scores(found: Mapping[str, Any]) -> tuple[object, ...]:
    fixed = found["test"]["told_apart"]
    return Interval(**found["right"]), Interval(**found["told_apart"]), Interval(**fixed)


def _costs(found: Mapping[str, Any]) -> tuple[str, ...]:
    times = (f"{found['engines'][name]['ms']:.2f}" for name in ENGINES)
    diversity = f"{found['test']['variety']['diversity']:.2f}"
    return (f"{found['parameters']:,}", f"{found['seconds'] / 60:.1f}", diversity, *times)


def _engines(kind: str, found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"*{kind}*",
            name,
            f"{each['difference']:.0e}",
            f"{100 * each['same_bytes']:.4f}",
            "" if each["drift_px"] is None else f"{each['drift_px']:.0e}",
        )
        for name, each in found["engines"].items()
    ]
