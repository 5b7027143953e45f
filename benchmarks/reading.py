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

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.reader_runs import (
    by_kind,
    cost_table,
    engine_table,
    error_row,
    measure_kinds,
    read_by_engines,
    reader_arguments,
    train_reader,
)
from benchmarks.support.result_files import versions_of
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.transcription.reading_scores import ReadText

RESULT = "results/reading/reading.json"
KINDS = {
    "recurrent": "--loc glance --model cnn",
    "plain mobilenet_v3_small": "--loc none --model mobilenet_v3_small",
    "plain cnn": "--loc none --model cnn",
}
DATA, SIDE = "numbers-digits", 128


def main(words: Sequence[str]) -> None:
    """Train and measure what is missing, and write the page after each run."""
    measure_kinds(reader_arguments(words, __name__, __doc__, out=RESULT, kinds=KINDS), trained, page_of)


def trained(folder: Path, kind: str, arguments: Namespace, seed: int) -> dict[str, Any]:
    """Train and export one model by lstn's commands, and measure it."""
    seconds = train_reader(folder, KINDS[kind], DATA, epochs=arguments.epochs, seed=seed)
    read, figures = read_by_engines(folder, DATA, SIDE, seed)
    return {"cpu_seconds": seconds, "by_length": _by_length(read), **figures}


def _by_length(found: Sequence[ReadText]) -> dict[str, list[int]]:
    """Return how many texts of each length there are, and how many have an error."""
    lengths = sorted({len(each.truth) for each in found})
    counts = {length: [each.edits > 0 for each in found if len(each.truth) == length] for length in lengths}
    return {str(length): [len(wrong), sum(wrong)] for length, wrong in counts.items()}


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    there = by_kind(result, KINDS)
    errors = markdown_table(
        ("", "parameters", "seeds", "texts with an error, %", "wrong symbols, %", "IoU of crops and boxes, %"),
        [(kind, f"{runs[0]['parameters']:,}", len(runs), *error_row(runs)) for kind, runs in there.items()],
    )
    lengths = markdown_table(
        ("texts with an error, %", *(counted(length, "digit") for length in range(1, 6))),
        [(kind, *_lengths(runs)) for kind, runs in there.items()],
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

{cost_table(there, result["epochs"], "symbol")}

The same pictures by other engines: how many texts of the 1,000 are those of PyTorch, and the largest distances of 32
pictures, logits as a share of the largest.

{engine_table(there)}

{result["cpu"]}, shared; {versions_of(result)}. Made with
`python -m benchmarks reading --epochs {result["epochs"]}`.
"""


def _lengths(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for length in range(1, 6):
        pairs = [run["by_length"].get(str(length), [0, 0]) for run in runs]
        yield f"{100 * sum(wrong for _, wrong in pairs) / max(1, sum(count for count, _ in pairs)):.1f}"
