"""Words and regions aligned: sentences and images that find each other, and words that find their objects.

    python -m benchmarks alignment [--epochs 4] [--seeds 1] [--work runs/alignment]

`captions-digits`: one or two digits in drawn clutter and a sentence about them; digits and backgrounds of test pictures
are not seen in training. `with boxes` teaches the regions where the digits are; `pairs alone` teaches nothing but which
sentence belongs to which picture. What a run came to is kept in --work; another call with the same epochs goes on with
the runs that are missing.

Each model is exported, and measured in PyTorch, ONNX Runtime and OpenVINO. Control: sentences that are those of the
next picture.

Needs: openvino.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.reader_runs import (
    ENGINES,
    by_kind,
    command_of,
    figure,
    measure_kinds,
    reader_arguments,
    train_reader,
)
from benchmarks.support.result_files import versions_of
from lstn.alignment.aligning import align_all
from lstn.alignment.alignment_scores import AMONG, AlignedPair, score_alignment
from lstn.alignment.sentence_encoder import sentence_encoder
from lstn.data.texts.text_sets import open_texts
from lstn.interval import Interval
from lstn.nn.aligner import Aligner
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.checkpoint_answers import answering_of, encoding_of
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.runtime.engines.engine_answers import answering
from lstn.runtime.engines.opening import open_engine

RESULT = "results/captions/alignment.json"
OPTIONS = "--loc glance --model cnn"
KINDS = {"with boxes": OPTIONS, "pairs alone": f"{OPTIONS} --supervise 0"}
TOLD = {
    "with boxes": "`with boxes` is shown where the digits are.",
    "pairs alone": "`pairs alone` (`--supervise 0`) is shown which sentence belongs to which picture, no more.",
}
DATA, SIDE = "captions-digits", 128


def main(words: Sequence[str]) -> None:
    """Train and measure what is missing, and write the page after each run."""
    measure_kinds(reader_arguments(words, __name__, __doc__, out=RESULT, kinds=KINDS), trained, page_of)


def trained(folder: Path, kind: str, arguments: Namespace, seed: int) -> dict[str, Any]:
    """Train and export one model by lstn's commands, and measure it."""
    seconds = train_reader(folder, KINDS[kind], DATA, epochs=arguments.epochs, seed=seed, task="align")
    model = load_checkpoint(folder / "runs/it" / CHECKPOINT).model.eval()
    assert isinstance(model, Aligner)
    images = open_texts(DATA, image_hw=(SIDE, SIDE), seed=seed).test
    both = answering_of(model).both
    reference = align_all(both, encoding_of(model), images, batch=50, advance=lambda count: None)
    engines = {}
    for name, file in ENGINES.items():
        with open_engine(folder / file, threads=1) as engine, sentence_encoder(folder / file) as encode:
            found = align_all(answering(engine).both, encode, images, batch=50, advance=lambda count: None)
        engines[name] = {
            "scores": score_alignment(found).to_dict(),
            "regions_apart": _apart([each.regions for each in found], [each.regions for each in reference]),
            "words_apart": _apart([each.words for each in found], [each.words for each in reference]),
        }
    return {
        "cpu_seconds": seconds,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "scores": score_alignment(reference).to_dict(),
        "shuffled": _shuffled(reference),
        "engines": engines,
    }


def _apart(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Return the largest difference, as a share of the largest number."""
    one, other = np.concatenate(found), np.concatenate(wanted)
    return float(np.abs(one - other).max() / np.abs(other).max())


def _shuffled(pairs: Sequence[AlignedPair]) -> dict[str, Any]:
    """Return what the same model comes to if each picture has the next one's sentence."""
    others = [*pairs[1:], *pairs[:1]]
    mixed = [
        AlignedPair(each.regions, each.theta, other.words, other.truth)
        for each, other in zip(pairs, others, strict=True)
    ]
    return score_alignment(mixed).to_dict()


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    there = by_kind(result, KINDS)
    rows = [
        row
        for kind, runs in there.items()
        for row in (
            (kind, *_found([run["scores"] for run in runs])),
            (f"{kind}, shuffled", *_found([run["shuffled"] for run in runs])),
        )
    ]
    found = markdown_table(
        ("", "sentence of a picture, %", "picture of a sentence, %", "IoU of words and objects, %"), rows
    )
    costs = markdown_table(
        ("", "parameters", "seeds", "training, CPU ms a picture"),
        [
            (
                kind,
                f"{runs[0]['parameters']:,}",
                len(runs),
                figure([1000 * run["cpu_seconds"] / (10_000 * result["epochs"]) for run in runs], 1),
            )
            for kind, runs in there.items()
        ],
    )
    engines = markdown_table(
        ("", "engine", "both recalls as in PyTorch", "regions apart", "words apart"),
        [row for kind, runs in there.items() for row in _engines(kind, runs)],
    )
    return f"""# Words and regions aligned

`{DATA}` of {SIDE} x {SIDE} pixels: one or two digits in clutter and a sentence about them; 10,000 pictures drawn anew
for each of {counted(result["epochs"], "epoch")}, and 1,000 to test, of digits and backgrounds that training has not
seen. `lstn train --task align {OPTIONS}`: the whole picture and four regions. {" ".join(TOLD[kind] for kind in there)}
Nothing is pretrained, and the losses still fall at the end.

Recall at 1 among {AMONG}: how often the best sentence of a picture, and the best picture of a sentence, is the right
one. Chance is about 1 %; sentences of the same words are equally right. IoU: of the region that a word is about, and of
its digit. Shuffled: each picture has the next one's sentence. Recalls of one seed have the 95 % interval over the
pictures.

{found}

{costs}

Other engines: the largest differences from PyTorch, of all test pictures and sentences, as a share of the largest
number.

{engines}

{result["cpu"]}, shared; {versions_of(result)}. Made with
`{command_of("alignment", result, KINDS)}`.
"""


def _found(scores: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in ("sentence_recall", "image_recall"):
        one = [each[name] for each in scores]
        yield str(Interval(**one[0])) if len(one) == 1 else figure([each["value"] for each in one], 1)
    yield figure([100 * each["overlap"] for each in scores], 1)


def _engines(kind: str, runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name in ENGINES:
        same = all(
            run["engines"][name]["scores"][recall] == run["scores"][recall]
            for run in runs
            for recall in ("sentence_recall", "image_recall")
        )
        far = [max(run["engines"][name][what] for run in runs) for what in ("regions_apart", "words_apart")]
        yield kind, name, "yes" if same else "no", *(f"{each:.0e}" for each in far)
