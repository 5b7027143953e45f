"""One epoch of fitting: batches -> steps of the optimizer."""

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.contract import UNBOUNDED, Contract, ThetaForm
from lstn.errors import TrainingError, UsageError
from lstn.nn.classifier import Classifier
from lstn.nn.forms import each_warp
from lstn.recipe import RECIPES, Recipe
from lstn.train.distributed import ALONE, Shares, World
from lstn.train.equivariance import move, unfollowed
from lstn.train.loading import ImageBatch
from lstn.train.optimizer import outside, set_rate
from lstn.train.options import Options, TrainingPrecision
from lstn.train.run_state import Run
from lstn.train.supervision import pose_loss
from lstn.train.threads import Threads
from lstn.train.watch.watcher import OnStep

_AMP = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Network(nn.Module):
    """A model as it trains: pixels (N, H, W, 3) uint8 -> logits (N, K) in `precision`, and thetas (N, …) or None.

    compiled: hand the backbone, or what of it comes after the warp, to torch.compile; the rest takes too little of the
              time for that
    """

    def __init__(self, model: Classifier, precision: TrainingPrecision, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        # Here and not in the model: evaluation and probe, in other modes and sizes, would each have it compiled anew.
        self._classify = torch.compile(model.classify) if compiled else model.classify

    def forward(self, pixels: Tensor, moves: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return logits, theta, and with `moves` (N, 2, 3) the theta of the moved images.

        Only the backbone runs in a lower precision. Coordinates in half precision would be 0.1 pixel coarse at 224, so
        the transformer stays outside.
        """
        of_moved = None
        if moves is None:
            frames, theta = self.model.transform(pixels)
        else:
            frames, theta, of_moved = self._with_moved(pixels, moves)
        with torch.autocast(pixels.device.type, _AMP[self.precision], enabled=self.precision != "fp32"):
            return self._classify(frames), theta, of_moved

    def _with_moved(self, pixels: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the warped frames and the theta of images, and the theta of the moved ones.

        The localizer sees all at once: its BatchNorm normalises moved images as it does the others.
        """
        model, transformer = self.model, self.model.transformer
        assert transformer is not None  # no other model is trained with moves
        images = model.normalise(pixels)
        frames = model.frames(torch.cat([images, move(images, moves)]))
        theta, of_moved = transformer.localize(frames, model.look).chunk(2)
        return transformer.warp(frames[: len(images)], theta), theta, of_moved


def forward(model: Classifier, pixels: Tensor, precision: TrainingPrecision) -> Tensor:
    """pixels (N, H, W, 3) uint8 -> logits (N, K), as training computes them."""
    logits: Tensor = Network(model, precision)(pixels)[0]
    return logits


def check_step(contract: Contract, images: int, given: Classifier | None = None) -> None:
    """Check that a step of `images` images can be taken.

    given: the model that the contract describes, if it is there already

    Raises:
        UsageError: it is one image, and BatchNorm somewhere sees it as a single value, of which there is no variance.
    """
    if images > 1:
        return
    with torch.device("meta"):  # all shapes, and no arithmetic
        model = Classifier(contract) if given is None else deepcopy(given).to("meta")
        try:
            model.train()(torch.empty(1, *contract.image_hw, 3, dtype=torch.uint8))
        except ValueError as error:
            height, width = contract.image_hw
            raise UsageError(
                f"{contract.loc.value} + {contract.backbone} can't train on one image of {height} x {width} pixels: "
                "BatchNorm would see a single value",
                hint="use 2 images per step or more, or a larger image size",
            ) from error


def train_epoch(
    run: Run,
    network: nn.Module,
    loader: torch.utils.data.DataLoader[ImageBatch],
    options: Options,
    device: torch.device,
    number: int,
    step: OnStep,
    threads: Threads,
    world: World = ALONE,
) -> tuple[float, float]:
    """Fit the weights to every batch once; return the mean loss (nats) and the accuracy (0..1) on the way.

    network: `run.model` as it trains, perhaps wrapped
    """
    assert isinstance(loader.batch_sampler, Shares)
    sizes = loader.batch_sampler.sizes()
    run.model.train()
    seen, loss_sum, right = 0, 0.0, 0.0
    for index, (size, batch) in enumerate(threads.over(zip(sizes, loader, strict=True))):
        set_rate(run.optimizer, options.recipe, number - 1 + (index + 0.5) / len(sizes), options.epochs)
        pixels, labels, moves, poses = batch = batch.to(device)
        logits, theta, of_moved = network(pixels, moves)
        entropy = F.cross_entropy(logits.float(), labels)
        loss = entropy + _of_theta(options.recipe, batch, theta, of_moved)
        if theta is not None and poses is not None:
            loss = loss + options.supervise * pose_loss(theta, poses, size, world)
        # Shares may differ by an image: each counts by what it holds, so that the mean over processes is the batch's.
        counts = len(labels) / (1 if world.shared(size) else world.size)
        hits = (logits.argmax(1) == labels).double().sum() * (counts / len(labels))
        of_batch = torch.stack([loss.double() * counts, entropy.double() * counts, hits])
        value, entropy_sum, hit_count = world.sum(of_batch)
        if not math.isfinite(value):
            raise world.told(diverged(run, value / size, number, options))
        _descend(run, loss * (counts * world.size / size))
        seen, loss_sum, right = seen + size, loss_sum + entropy_sum, right + hit_count
        step(number, seen, loss_sum / seen, right / seen)
    return loss_sum / seen, right / seen


def _of_theta(recipe: Recipe, batch: ImageBatch, theta: Tensor | None, of_moved: Tensor | None) -> Tensor | float:
    """Return what a step's loss has beside the labels': of where the crops lie."""
    if theta is None:
        return 0.0
    each = each_warp(theta)
    loss = recipe.in_frame * outside(each) if recipe.in_frame else torch.zeros((), device=theta.device)
    if of_moved is not None and batch.moves is not None:
        height, width = batch.pixels.shape[1:3]
        moves = batch.moves.repeat_interleave(len(each) // len(theta), dim=0)
        loss = loss + recipe.equivariance * unfollowed(each, each_warp(of_moved), moves, width / height)
    return loss


def _descend(run: Run, loss: Tensor) -> None:
    """Take one step down the gradient of `loss`, which this leaves in place for whoever looks at it."""
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    run.scaler.step(run.optimizer)
    run.scaler.update()


def diverged(run: Run, loss: float, number: int, options: Options) -> TrainingError:
    """Return what to say of a loss that is no number: what is kept, and what to change."""
    best, recipe = run.best, options.recipe
    kept = f"the checkpoint of epoch {best['epoch']} is kept" if best else "no epoch was finished before"
    weights = {"equivariance": recipe.equivariance, "supervise": options.supervise}
    cures = [f"--lr {min(recipe.lr / 10, RECIPES['robust'].lr):g}"]  # a tenth of 1e30 is as wrong
    cures += [f"a smaller --{name}" for name, weight in weights.items() if weight > 1]
    if recipe.loc_lr_scale > 0.1 and run.model.transformer is not None:
        cures.append("--loc-lr-scale 0.1")
    if recipe.theta in UNBOUNDED and run.model.transformer is not None:
        cures.append(f"--theta {ThetaForm.SIMILARITY.value}, which can't run away")
    if options.precision != "fp32":
        cures.append("--precision fp32")
    return TrainingError(
        f"the loss became {loss} in epoch {number}; {kept}", hint=f"start a new run with {', or '.join(cures)}"
    )
