"""Models that say what a scene shows: scenes that training never showed, combinations, and controls that don't look.

    python -m benchmarks captions [--epochs 8] [--seeds 1] [--kinds 'recurrent;plain cnn'] [--work runs/captions]

`captions-digits`: one or two digits in drawn clutter, and a sentence about them of 3 to 13 words. Half of the test
scenes with two digits show a combination (digit, relation, digit) that training never shows. All kinds see the same
pictures as often. What a run came to is kept in --work; another call with the same epochs goes on with the runs that
are missing.

Each model is exported, and reads the test pictures in PyTorch, ONNX Runtime and OpenVINO. Controls: the same model on
gray pictures, and the best sentence without a look, slot by slot. Times: one picture at a time with one thread, in ONNX
Runtime.

Needs: openvino.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.reader_runs import (
    by_kind,
    command_of,
    cost_table,
    engine_table,
    error_row,
    figure,
    measure_kinds,
    read_by_engines,
    reader_arguments,
    train_reader,
)
from benchmarks.support.result_files import versions_of
from lstn.data.scenes.described_scenes import DescribedScenes
from lstn.data.scenes.scene_sentences import SceneSentence, held_out, sentence_in
from lstn.data.texts.text_sets import open_texts
from lstn.evaluation.scores import wilson
from lstn.report.table import markdown_table
from lstn.report.wording import counted
from lstn.runtime.engines.opening import open_engine

RESULT = "results/captions/captions.json"
KINDS = {"recurrent": "--loc glance --model cnn", "plain cnn": "--loc none --model cnn"}
TOLD = {
    "recurrent": "`recurrent` is `lstn train --task read --loc glance --model cnn`.",
    "plain cnn": "`plain` has no transformer (`--loc none`): one network over the picture, with a head for each word.",
}
DATA, SIDE = "captions-digits", 128

GROUPS = {"one digit": "one digit", "seen": "two, a combination of training", "unseen": "two, a new combination"}

CONTROLS = {"gray": "on gray pictures", "blind": "without a look"}

_OTHER = "another"
"""What a slot has of a sentence that the grammar does not make, or that has no such slot."""

SLOTS: dict[str, Callable[[SceneSentence], object]] = {
    "number of digits": lambda said: len(said.objects),
    "relation": lambda said: said.relation,
    "first digit": lambda said: said.objects[0].digit,
    "its size": lambda said: said.objects[0].large,
    "its turn": lambda said: said.objects[0].side,
    "second digit": lambda said: said.objects[1].digit,
    "size of the second": lambda said: said.objects[1].large,
    "turn of the second": lambda said: said.objects[1].side,
}
"""What a sentence says, one thing after another; those of the second digit are asked where there are two."""


def main(words: Sequence[str]) -> None:
    """Train and measure what is missing, and write the page after each run."""
    measure_kinds(reader_arguments(words, __name__, __doc__, out=RESULT, kinds=KINDS), trained, page_of)


def trained(folder: Path, kind: str, arguments: Namespace, seed: int) -> dict[str, Any]:
    """Train and export one model by lstn's commands, and measure it."""
    seconds = train_reader(folder, KINDS[kind], DATA, epochs=arguments.epochs, seed=seed)
    read, figures = read_by_engines(folder, DATA, SIDE, seed)
    data = open_texts(DATA, image_hw=(SIDE, SIDE), seed=seed)
    assert isinstance(data.test, DescribedScenes)
    assert isinstance(data.train, DescribedScenes)
    truths = [data.test.sentence(index) for index in range(len(data.test))]
    blind = _best_without_a_look(data.train, truths)
    gray = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    with open_engine(folder / "model.onnx", threads=1) as engine:
        said = engine.read(gray[0]).text
    return {
        "cpu_seconds": seconds,
        **figures,
        "looking": _asked(truths, [sentence_in(each.best.text.split()) for each in read]),
        "gray": {"sentence": said, **_asked(truths, [sentence_in(said.split())] * len(truths))},
        "blind": {"sentence": str(blind), **_asked(truths, [blind] * len(truths))},
    }


def _best_without_a_look(train: DescribedScenes, truths: Sequence[SceneSentence]) -> SceneSentence:
    """Return what is most often true in training, slot by slot."""
    said = [train.sentence(index) for index in range(len(train))]

    def usual(of: Callable[[SceneSentence], Any], among: Sequence[SceneSentence]) -> Any:
        return Counter(map(of, among)).most_common(1)[0][0]

    several = [each for each in said if len(each.objects) == usual(lambda each: len(each.objects), said)]
    objects = [
        usual(lambda each, place=place: each.objects[place], several) for place in range(len(several[0].objects))
    ]
    return SceneSentence(tuple(objects), usual(lambda each: each.relation, several))


def _asked(truths: Sequence[SceneSentence], answers: Sequence[SceneSentence | None]) -> dict[str, Any]:
    """Return how many sentences are right word by word, of each group, and how many slots are."""
    groups: dict[str, list[int]] = {group: [0, 0] for group in GROUPS}
    slots: dict[str, list[int]] = {name: [0, 0] for name in SLOTS}
    for truth, answer in zip(truths, answers, strict=True):
        _count(groups[_group_of(truth)], truth == answer)
        for name, of in SLOTS.items():
            if "second" not in name or len(truth.objects) == 2:
                _count(slots[name], _slot(of, answer) == of(truth))
    return {"groups": groups, "slots": slots, "no_sentence": sum(each is None for each in answers)}


def _group_of(said: SceneSentence) -> str:
    if said.relation is None:
        return "one digit"
    one, other = (int(each.digit) for each in said.objects)
    return "unseen" if held_out(one, said.relation, other) else "seen"


def _slot(of: Callable[[SceneSentence], object], said: SceneSentence | None) -> object:
    try:
        return _OTHER if said is None else of(said)
    except IndexError:
        return _OTHER


def _count(pair: list[int], right: bool) -> None:
    pair[0] += 1
    pair[1] += right


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    there = by_kind(result, KINDS)
    errors = markdown_table(
        ("", "parameters", "seeds", "sentences with an error, %", "wrong words, %", "IoU of crops and boxes, %"),
        [(kind, f"{runs[0]['parameters']:,}", len(runs), *error_row(runs)) for kind, runs in there.items()],
    )
    first = next(iter(there.values()))
    controls = [
        ("on gray pictures", [run["gray"] for run in first]),
        ("without a look", [run["blind"] for run in first]),
    ]
    answers = [*((kind, [run["looking"] for run in runs]) for kind, runs in there.items()), *controls]
    groups = markdown_table(
        ("right, word by word, %", *GROUPS.values()),
        [(kind, *_shares(asked, "groups", GROUPS)) for kind, asked in answers],
    )
    slots = markdown_table(
        ("right, %", *(kind for kind, _ in answers)),
        [(name, *(next(_shares(asked, "slots", (name,))) for _, asked in answers)) for name in SLOTS],
    )
    return f"""# Captions of scenes

`{DATA}` of {SIDE} x {SIDE} pixels: one or two digits in clutter and a sentence about them, such as "a large 3 turned
left is just above a small 7 standing upright"; 10,000 pictures drawn anew for each of
{counted(result["epochs"], "epoch")}, and 1,000 to test, of digits and backgrounds that training has not seen. Half of
the test pictures of two digits show a combination (digit, relation, digit) that training never shows. Nothing is
pretrained. {" ".join(TOLD[kind] for kind in there)}

One seed has the 95 % interval over the pictures; several have their mean, and from the lowest to the highest. This is a
budget of minutes on a shared core.

{errors}

Sentences without an error, by what is in the picture. Two controls: the recurrent model on gray pictures, which always
says "{first[0]["gray"]["sentence"]}"; and what is most often true in training, without a look at any picture:
"{first[0]["blind"]["sentence"]}".

{groups}

Given the picture, no word depends on the words before it, so each thing that is said has a place of its own in these
sentences: [what such a model cannot do](../../docs/how-to/captions.md#what-such-a-model-cannot-do).

What a sentence says, one thing after another. Of a picture of one digit nobody asks for the second.

{slots}

Training includes drawing the pictures, which takes all kinds alike. One thread; a word's time is a picture's over the
mean length of the sentences.

{cost_table(there, result["epochs"], "word")}

The same pictures by other engines: how many sentences of the 1,000 are those of PyTorch, and the largest distances of
32 pictures, logits as a share of the largest.

{engine_table(there)}

{result["cpu"]}, shared; {versions_of(result)}. Made with
`{command_of("captions", result, KINDS)}`.
"""


def _shares(asked: Sequence[Mapping[str, Any]], what: str, names: Sequence[str] | Mapping[str, str]) -> Iterator[str]:
    for name in names:
        pairs = [each[what][name] for each in asked]
        if len(pairs) == 1:
            ((count, right),) = pairs
            yield str(wilson(right, count)) if what == "groups" else f"{100 * right / count:.1f}"
        else:
            yield figure([100 * right / count for count, right in pairs], 1)
