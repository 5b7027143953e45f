"""A finished study, made by hand: its figures are given, and its networks untrained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lstn.contract import Contract, Loc
from lstn.health.follow import Follow, Followed
from lstn.nn.checkpoint import CHECKPOINT, save_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.warping.localizers import usual_view
from lstn.research.study.study_results import RESULTS, SHOWN, SWEEP, Study, StudyCell, folder_of, summary, whole_study

HW = (32, 32)
_IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def studied_cell(loc: Loc, seed: int, accuracy: float, follow: float | None = 0.5) -> StudyCell:
    """A run, whose transformer follows shifts by `follow`, and scale by half of that; None: it wasn't measured."""
    kinds = [
        Followed(value=value, low=value, high=value, residual=0.0) for value in (follow or 0.0, (follow or 0.0) / 2)
    ]
    known = loc is not Loc.NONE and follow is not None
    return StudyCell(
        loc=loc,
        seed=seed,
        best_epoch=1,
        accuracy=accuracy,
        test_images=100,
        seconds=1.0,
        parameters=100,
        state=None if loc is Loc.NONE else "live",
        curve=(accuracy,),
        plain=accuracy,
        disturbed=(accuracy,) * len(SWEEP),
        theta=None if loc is Loc.NONE else (_IDENTITY,) * SHOWN,
        follow=Follow(images=8, rotation=None, scale=kinds[1], shift=kinds[0]) if known else None,
    )


def study_with(accuracies: Mapping[Loc, Sequence[float]], follow: Mapping[Loc, float] | None = None) -> Study:
    """A study of one run for each accuracy, with seeds from 0 on."""
    cells = [
        studied_cell(loc, seed, accuracy, (follow or {}).get(loc, 0.5))
        for loc, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    return whole_study({"model": "cnn", "data": "digits", "image size": "32 pixels"}, accuracies, cells)


def write_study(folder: Path, study: Study, crop_hw: tuple[int, int] | None = None) -> Path:
    """Write its results, and the checkpoint of each first seed."""
    folder.mkdir()
    for loc in study.locs:
        own = crop_hw if loc is not Loc.NONE else None
        contract = Contract(loc, "cnn", HW, ("a", "b"), view_hw=usual_view(loc, HW), crop_hw=own)
        run = folder_of(folder, loc, 0)
        run.mkdir()
        save_checkpoint(Classifier(contract).eval(), run / CHECKPOINT)
    (folder / RESULTS).write_text(json.dumps(summary(study)))
    return folder
