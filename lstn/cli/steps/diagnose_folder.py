"""`lstn doctor --data`: what a folder of images is like, and which labels a model doubts."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lstn.cli.display.screen import results, show_facts
from lstn.report.wording import agreeing, counted
from lstn.terminal import note, warn
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.data.folders.set_diagnosis import Copies, PlacedImage, SetDiagnosis
    from lstn.evaluation.doubted_labels import DoubtedLabel

    Doubts = Sequence[tuple[PlacedImage, str, DoubtedLabel]]

_SHOWN = 10
"""Copies and doubts that a terminal shows; JSON has all."""

_MOST_DOUBTED = 0.1
"""Share of the images. A model that doubts more of them is no judge."""


def diagnose_folder(spec: str, model: Path | None, *, as_json: bool) -> None:
    """Look at the images of a data set, and with a model at their labels; print what is found.

    Raises:
        LstnError: the set or the model can't be opened, or isn't for the other.
    """
    from lstn.data.dataset import open_data
    from lstn.data.folders.set_diagnosis import SIDE, diagnose_set

    if model is not None:
        _check_judge(model, spec)
    data = open_data(spec, image_hw=(SIDE, SIDE), seed=0, tolerant=True)
    if data.found:
        note(data.found)
    with working("comparing the images") as advance:
        found = diagnose_set(data, advance)
    if not as_json:
        _show(found)
    doubts: Doubts = ()
    if model is not None and found.refused:
        warn("no label is judged before the broken files are repaired or removed")
    elif model is not None:
        doubts = tuple(_doubts(model, spec))
        _tell_doubts(doubts, sum(found.images.values()))
    if as_json:
        typer.echo(json.dumps(_report(found, doubts), indent=1))


def _check_judge(file: Path, spec: str) -> None:
    """Refuse, before any image is read, a model that can't doubt these labels."""
    from lstn.contract import Task, check_task
    from lstn.data.dataset import open_data_of
    from lstn.formats.inspection import inspect_file
    from lstn.health.run_files import checkpoint_of

    contract = inspect_file(checkpoint_of(file) if file.is_dir() else file).contract
    if contract is not None:  # else the engine says what is wrong with it
        check_task(contract.task, Task.CLASSIFY, "lstn doctor RUN --data")
        open_data_of(contract, spec, seed=0)


def _doubts(file: Path, spec: str) -> Iterator[tuple["PlacedImage", str, "DoubtedLabel"]]:
    """Yield each image whose label the model doubts, and what it says instead."""
    import numpy as np

    from lstn.cli.steps.evaluated_model import evaluated_model
    from lstn.data.folders.class_folders import FolderSplit
    from lstn.data.folders.set_diagnosis import PlacedImage
    from lstn.data.splits import SPLIT_NAMES
    from lstn.evaluation.doubted_labels import doubted_labels
    from lstn.machine.memory import batch_of

    with evaluated_model(file, spec, 0, "auto") as model:
        placed, logits, labels = [], [], list[int]()
        size = batch_of(model.contract.image_hw, model.most)
        for name in SPLIT_NAMES:
            if name == "test" and model.data.test_is_val:
                continue
            split = model.data.split(name)
            assert isinstance(split, FolderSplit)  # the diagnosis refused others
            with working(f"classifying {counted(len(split), f'{name} image')}", len(split)) as advance:
                for start in range(0, len(split), size):
                    read = [split[index] for index in range(start, min(start + size, len(split)))]
                    logits.append(model.answering.classify(np.stack([pixels for pixels, _ in read])))
                    labels += [label for _, label in read]
                    advance(len(read))
            placed += [PlacedImage(path, name, model.data.labels[label]) for path, label in split.files]
        for each in doubted_labels(np.concatenate(logits), np.array(labels)):
            yield placed[each.image], model.contract.labels[each.answer], each


def _show(found: "SetDiagnosis") -> None:
    sides = f"{found.shortest} to {found.longest} px"
    if found.small:
        sides += f"; {counted(found.small, 'image')} below 32 px"
    if found.long:
        sides += f"; {counted(found.long, 'image')} more than three times as long as wide"
    files = sum(len(each.images) for each in found.copies)
    copied = f"{counted(len(found.copies), 'picture')} in {files} files" if found.copies else "none"
    if not found.compared:
        copied += "; exact ones only, there are too many images to compare all pixels"
    facts = {
        "images": ", ".join(f"{name} {count}" for name, count in found.images.items()),
        "classes": _classes(found),
        "sides": sides,
        "copies": copied,
    }
    show_facts(results(), facts)
    _warn(found)


def _classes(found: "SetDiagnosis") -> str:
    (largest, most), (smallest, fewest) = found.classes[0], found.classes[-1]
    if most == fewest:
        return f"{len(found.classes)}, of {counted(most, 'training image')} each"
    return f"{len(found.classes)}; {largest}: {counted(most, 'training image')}, {smallest}: {fewest}"


def _tell_doubts(doubts: "Doubts", images: int) -> None:
    if len(doubts) > _MOST_DOUBTED * images:
        warn(f"the model doubts {len(doubts)} of {images} labels: it knows these images too little to judge them")
        note("  train it for longer, or take another one")
    elif doubts:
        told = [
            f"{_named(image)}: {answer} {100 * doubt.probability:.0f} %, its label {100 * doubt.of_label:.0f} %"
            for image, answer, doubt in doubts
        ]
        what = f"{counted(len(doubts), 'image')} may be mislabelled"
        _warn_of(what, told, "look at them: some are the model's mistakes")
    else:
        note(f"the model doubts none of {images} labels")


def _warn(found: "SetDiagnosis") -> None:
    """Warn of what makes a training or its figures worse."""
    if found.broken:
        _warn_of_broken(found)
    if across := [_shown(each) for each in found.copies if each.across_splits]:
        what = f"{counted(len(across), 'picture')} {agreeing(len(across), 'are')} in more than one split"
        _warn_of(f"{what}, so accuracies are too high", across, "keep each in one split")
    if differing := [_shown(each) for each in found.copies if each.across_labels]:
        _warn_of(f"{counted(len(differing), 'picture')} with more than one label", differing, "remove the wrong ones")
    if found.unequal:
        (largest, most), (smallest, fewest) = found.classes[0], found.classes[-1]
        warn(f"class {largest!r:.60} has {most} training images, and {smallest!r:.60} only {fewest}")
        note("  add images of the small classes; judge the model by the recall of each class")


def _warn_of_broken(found: "SetDiagnosis") -> None:
    from lstn.data.folders.checking import MAX_BROKEN
    from lstn.data.folders.division import listed

    files = len(found.broken) + sum(found.images.values())
    cure = "repair or remove them"
    if found.refused:
        of = f"more than {MAX_BROKEN:.0%} of {listed(found.refused)}"
        cure += f"; lstn train refuses this set, because {of} are broken"
    _warn_of(
        f"{len(found.broken)} of {counted(files, 'image')} {agreeing(len(found.broken), 'are')} broken",
        found.broken,
        cure,
    )


def _warn_of(what: str, told: Sequence[str], cure: str) -> None:
    """Warn of something, show the first that it is about, and say what to do."""
    warn(f"{what}:")
    for line in told[:_SHOWN]:
        note(f"  {line}")
    if len(told) > _SHOWN:
        note(f"  and {len(told) - _SHOWN} more; --format json has all")
    note(f"  {cure}")


def _shown(copies: "Copies") -> str:
    """Show one file of each split and label, and how many more there are."""
    kinds = {(each.split, each.label): each for each in reversed(copies.images)}
    first = [each for each in copies.images if each in kinds.values()]
    rest = len(copies.images) - len(first)
    return " = ".join([*map(_named, first), *([f"{rest} more"] if rest else [])])


def _named(image: "PlacedImage") -> str:
    return f"{image.path} ({image.split}, {image.label})"


def _report(found: "SetDiagnosis", doubts: "Doubts") -> dict[str, object]:
    def place(image: "PlacedImage") -> dict[str, str]:
        return {"path": str(image.path), "split": image.split, "label": image.label}

    copies = [{"exact": each.exact, "images": [place(image) for image in each.images]} for each in found.copies]
    told = [
        place(image) | {"answer": answer, "probability": doubt.probability, "of_label": doubt.of_label}
        for image, answer, doubt in doubts
    ]
    return {**asdict(found), "copies": copies, "doubted": told}
