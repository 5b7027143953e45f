"""`lstn infer --count N`: noise -> a folder of pictures with boxes, by a generator."""

import time
from collections.abc import Sequence
from pathlib import Path

from lstn.cli.parsing.engine_choice import chosen_engine
from lstn.cli.parsing.infer_request import InferRequest, PaintRequest
from lstn.contract import Contract
from lstn.errors import UsageError
from lstn.machine.cores import within_cores
from lstn.report.wording import counted
from lstn.terminal import note
from lstn.waiting import working


def infer_pictures(painting: PaintRequest, asked: InferRequest, images: Sequence[str]) -> None:
    """Paint pictures, and write them to a folder.

    images: what was named beside, of which there must be nothing

    Raises:
        UsageError: an option that can't be followed, or a model that looks at images.
        LstnError: the engine fails, or the folder can't be written.
    """
    from lstn.runtime.engines.opening import open_generator
    from lstn.runtime.inference.painting_pictures import BATCH, in_turn, paint_pictures
    from lstn.synthesis.painted_folder import check_folder_names, check_new_folder, write_painted

    count, folder = _checked(painting, asked, images)
    check_new_folder("--out", folder)
    within_cores(asked.threads)
    with open_generator(chosen_engine(asked.engine), device=asked.device, threads=asked.threads) as opened:
        contract, began = opened.contract, time.perf_counter()
        classes = wanted_classes(painting.label, contract)
        check_folder_names(contract.labels[each] for each in classes)
        size, labels = min(asked.batch or BATCH, opened.max_batch), in_turn(count, classes).tolist()
        with working(f"painting {counted(count, 'picture')}", count) as advance:
            paintings = paint_pictures(opened, labels, seed=painting.seed or 0, batch=size, advance=advance)
            boxes = write_painted(folder, paintings, contract)
    took = time.perf_counter() - began
    note(
        f"{counted(count, 'picture')} of {counted(len(classes), 'class')}, {boxes:,} with a box, in {took:.1f} s "
        f"-> {folder}; train on them with --data folder:{folder}"
    )


def _checked(painting: PaintRequest, asked: InferRequest, images: Sequence[str]) -> tuple[int, Path]:
    """Return how many pictures are wanted, and where."""
    if painting.count is None:
        raise UsageError("--label and --seed are for --count, by which a generator paints", hint="give --count N")
    about = {
        "--top": asked.top,
        "--score": asked.score,
        "--sentence": asked.sentence,
        "--reject-below": asked.reject_below,
        "--warps": asked.warps,
        "--every": asked.every,
        "--format": asked.format_,
    }
    for name in (*images, *(option for option, value in about.items() if value is not None)):
        raise UsageError(f"--count paints pictures, and {name:.80} is about images", hint="leave one of them out")
    if (folder := asked.folder("--count")) is None:
        raise UsageError("--count writes a folder of pictures", hint="name it with --out DIR")
    return painting.count, folder


def wanted_classes(labels: tuple[str, ...], contract: Contract) -> list[int]:
    """Return the numbers of these classes; of no labels, those of all classes.

    Raises:
        UsageError: a label that isn't a class.
    """
    for label in labels:
        if label not in contract.labels:
            known = ", ".join(contract.labels[:10]) + (", …" if len(contract.labels) > 10 else "")
            raise UsageError(f"--label {label!r:.60} is not a class of this model", hint=f"it has: {known}")
    return [contract.labels.index(label) for label in labels] or list(range(len(contract.labels)))
