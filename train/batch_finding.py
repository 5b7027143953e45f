"""The batch-size finder: the largest batch of which a GPU's memory holds real steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from lstn.errors import UsageError
from lstn.files import scratch_folder
from lstn.nn.sources.own_models import OwnFactory
from lstn.train.batches.loading import ImageBatch, batches
from lstn.train.computing.distributed import ALONE
from lstn.train.computing.workplace import Workplace
from lstn.train.fitting import take_step
from lstn.train.preparing import Prepared, prepared
from lstn.train.runs.options import Options

LEAST = 2
"""Images, of which BatchNorm has a variance."""

FEWEST_STEPS = 50
"""Of an epoch: a larger batch would leave too few to learn in."""

_SHARE = 0.9
"""Of the GPU's memory that is used while batches are tried: later steps find it in other pieces."""

_EXAMPLES = 16
"""Images that are read; a larger batch repeats them."""

_TAKEN = 2
"""Steps of each size: the first makes what the optimizer keeps, and the second has it next to all activations."""


def find_batch_size(
    options: Options,
    *,
    device: torch.device,
    workers: int,
    own: OwnFactory | None = None,
    hear: Callable[[int], None] = lambda images: None,
) -> int:
    """Return the largest power of two of images that a step of this run can take here.

    An epoch of the run has FEWEST_STEPS steps or more. The steps are those of the run, on a model that is thrown away.

    hear: hears each batch size before it is tried

    Raises: what `lstn.train.loop.train_to_end` does before its first epoch, and
        UsageError: it computes on the CPU, or memory holds not even LEAST images.
    """
    if device.type != "cuda":
        raise UsageError(
            "--batch-size auto finds what the memory of an NVIDIA GPU holds, and this run computes on the CPU",
            hint="leave it out, or give a number: on a CPU memory is not what limits a batch",
        )
    small = replace(options, recipe=replace(options.recipe, batch_size=LEAST))
    with scratch_folder() as folder, _some_memory_left(device):
        at = Workplace(folder / "batches", device, workers, ALONE)
        with prepared(small, at, resume=False, compiled=False, given=None, own=own) as going:
            most = len(going.data.train) // (FEWEST_STEPS * options.recipe.accumulate)
            return largest_that_fits(steps_of(going), most, hear)


@contextmanager
def _some_memory_left(device: torch.device) -> Iterator[None]:
    """Have memory run out before all of the GPU's is used, until the end of the `with`."""
    with torch.cuda.device(device):  # which may have no number, as the functions in it want one
        torch.cuda.set_per_process_memory_fraction(_SHARE)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()


def largest_that_fits(take: Callable[[int], None], most: int, hear: Callable[[int], None] = lambda images: None) -> int:
    """Return the largest power of two, up to `most` but for LEAST, of images that `take` has memory for.

    Sizes are doubled until memory runs out, so nothing that is much too large is ever asked for.

    take: takes steps of so many images; raises torch.OutOfMemoryError where memory doesn't hold them

    Raises:
        UsageError: it doesn't hold LEAST.
    """
    fits, images = 0, LEAST
    while images <= max(most, LEAST):
        hear(images)
        try:
            take(images)
        except torch.OutOfMemoryError:
            break
        fits, images = images, 2 * images
    if not fits:
        raise UsageError(
            f"a step of {LEAST} images doesn't fit into the memory of the GPU",
            hint="use a smaller --model, --image-size or --crop, or --precision bf16",
        )
    return fits


def steps_of(going: Prepared) -> Callable[[int], None]:
    """Return what takes steps of a run, of so many images, that leave its weights as they are."""
    example = _example(going)
    for group in going.run.optimizer.param_groups:
        group["lr"] = 0.0
    going.run.model.train()

    def take(images: int) -> None:
        batch = repeated(example, images)
        for _ in range(_TAKEN):
            take_step(going.run, going.objective, going.network, [(images, batch)], going.options, going.at.device, 1)

    return take


def repeated(batch: ImageBatch, images: int) -> ImageBatch:
    """Return a batch of so many images: those of another, again and again."""
    rows = torch.arange(images) % len(batch.pixels)
    moves, poses, targets = (None if each is None else each[rows] for each in (batch.moves, batch.poses, batch.targets))
    objects = None if batch.objects is None else (batch.objects[0][rows], batch.objects[1][rows])
    return ImageBatch(batch.pixels[rows], batch.labels[rows], moves, poses, objects, targets)


def _example(going: Prepared) -> ImageBatch:
    loader = batches(
        going.training_images(), batch_size=_EXAMPLES, workers=0, shuffle_seed=None, device=going.at.device
    )
    return next(iter(loader))
