"""Preparation of a run: its data set, model, optimizer and folder, checked before the first epoch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lstn.contract import WHOLE_IMAGE, Contract, Loc, Task
from lstn.data.dataset import DataSet, Split
from lstn.data.objects import check_objects
from lstn.data.tags.tag_sets import check_tagged
from lstn.data.texts.text_sets import check_lengths
from lstn.errors import UsageError
from lstn.files import remove_leftovers
from lstn.imports import require
from lstn.machine.lock import locked
from lstn.nn.classifier import check_size
from lstn.nn.device import check_compiler
from lstn.nn.generation.generator import Generator, discriminated
from lstn.nn.models import Model, build_around, build_model
from lstn.nn.pretrained import load_backbone_weights
from lstn.nn.sources.own_models import OwnFactory
from lstn.nn.sources.starts import scale_dropout, start_weights
from lstn.terminal import note
from lstn.train.batches.augment import Augmentation, mixing_of
from lstn.train.batches.balancing import class_weights, labels_of
from lstn.train.batches.drawn_moves import Moves
from lstn.train.batches.loading import Images
from lstn.train.batches.mixing import Mixing
from lstn.train.computing.step_memory import check_memory
from lstn.train.computing.workplace import Workplace
from lstn.train.data_and_contract import described_contract, identity, opened
from lstn.train.downloads import download
from lstn.train.fitting import check_step
from lstn.train.freezing import check_freeze
from lstn.train.objectives.adversarial_objective import AdversarialObjective
from lstn.train.objectives.aligner_objective import AlignerObjective
from lstn.train.objectives.classifier_objective import ClassifierObjective
from lstn.train.objectives.detector_objective import DetectorObjective
from lstn.train.objectives.distillation import open_teacher
from lstn.train.objectives.objective import TrainingObjective
from lstn.train.objectives.reader_objective import ReaderObjective
from lstn.train.objectives.supervision import check_posed, check_supervise
from lstn.train.objectives.tagger_objective import TaggerObjective
from lstn.train.optimizer import dropout_share, make_optimizer
from lstn.train.runs.keeping import mend
from lstn.train.runs.options import Options
from lstn.train.runs.run_folder import claimed
from lstn.train.runs.run_state import LAST, Run, restore, write_state
from lstn.train.watch.probe import Probe
from lstn.train.watch.sample_sheet import SampleSheet

_OF_OBJECTS = (Task.TAG, Task.DETECT, Task.READ, Task.ALIGN)
"""Tasks that are shown all objects of an image, or all labels."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that stands before its next epoch.

    network:   the run's model as it trains
    probe:     of its transformer
    sheet:     of what it paints, if it is a generator
    objective: what it is trained for
    labels:    of the training images, (N,) int64, where classes are to count alike
    """

    options: Options
    at: Workplace
    data: DataSet
    run: Run
    network: nn.Module
    probe: Probe | None
    sheet: SampleSheet | None
    objective: TrainingObjective
    labels: Tensor | None

    @property
    def steps(self) -> int:
        """Steps of the optimizer in an epoch."""
        recipe = self.options.recipe
        return -(-len(self.data.train) // (recipe.batch_size * recipe.accumulate))

    def images(self, split: Split) -> Images:
        """Return a split as this run's measurements read it."""
        task = self.options.task
        posed = task is Task.CLASSIFY and self.options.supervise > 0
        return Images(split, posed=posed, with_objects=task in _OF_OBJECTS)

    def training_images(self) -> Images:
        """Return the training images as this run's steps read them."""
        options, contract, seed = self.options, self.run.contract, self.options.seed
        hw, mirrors, kinds = contract.image_hw, self.data.mirrors, mixing_of(options.augment)
        return Images(
            self.data.train,
            Augmentation(options.augment, image_hw=hw, mirrors=mirrors, seed=seed, mean=contract.mean),
            Moves(hw, seed) if options.recipe.equivariance and self.probe else None,
            Mixing(kinds, classes=len(contract.labels), seed=seed) if kinds else None,
            posed=options.task is Task.CLASSIFY and options.supervise > 0,
            with_objects=options.task in _OF_OBJECTS,
        )


@contextmanager
def prepared(
    options: Options, at: Workplace, *, resume: bool, compiled: bool, given: Model | None, own: OwnFactory | None
) -> Iterator[Prepared]:
    """Yield a run as it was left, or as it begins; its folder is locked until the end of the `with`.

    Each process says what is wrong before any of them goes on to the next step.

    Raises: what `lstn.train.loop.train_to_end` does before its first epoch.
    """
    world = at.world
    with ExitStack() as held:
        with world.together():
            if compiled:
                check_compiles(options.task)
                check_compiler()
            if world.rank == 0:  # and before the others, who then find the set unpacked and its images checked
                download(options.data)
                data = opened(options, given)
        with world.together():
            if world.rank > 0:
                data = opened(options, given)
            if own is not None:
                torch.manual_seed(options.seed)
                given = build_around(described_contract(options, data), own)
            labels = labels_of(data.train) if options.recipe.balance != "none" else None
            objective = _objective(options, data, labels, at.device)
            run = _begun(options, at, data, given)
            if options.weights and not resume:
                _fill_backbone(run, options)
            probe = _probe(options, run.contract, data)
        with world.together():
            world.same("the data set", run.identity)
            if world.rank == 0:
                _take_folder(at.folder, run, options, held, resume=resume)
        with world.together():
            _check_shared(at)
            if resume:
                restore(at.folder / LAST, run, shown=len(probe.shown()) if probe else 0)
                if world.rank == 0:
                    mend(run, at.folder, options, data)
        network = objective.network(run.model, options, compiled=compiled)
        network = world.wrapped(network, at.device, freezes=options.recipe.freeze > 0)
        if given is None:
            scale_dropout(run.model.backbone, dropout_share(options.recipe, options.epochs * len(data.train)))
        sheet = SampleSheet(run.contract) if options.task is Task.GENERATE else None
        yield Prepared(options, at, data, run, network, probe, sheet, objective, labels)


def check_compiles(task: Task) -> None:
    """Check that training of a task can be compiled.

    Raises:
        UsageError: it can't.
    """
    if task is Task.GENERATE:
        raise UsageError(
            "--compile: a generator's step takes the gradient of a gradient, which torch.compile can't",
            hint="leave it out",
        )


def _begun(options: Options, at: Workplace, data: DataSet, given: Model | None) -> Run:
    """Make the run, once it is known that a step of it can be taken."""
    contract, batch = described_contract(options, data, given), options.recipe.batch_size
    if options.task is Task.DETECT:  # what measures every epoch
        require("pycocotools.coco", extra="detect")
        check_objects(data.val, options.data)
    if options.task is Task.TAG:
        check_tagged(data.val, options.data)
    if options.task is Task.READ:
        for split in (data.train, data.val, data.test):
            check_lengths(split, contract.warps, options.data)
    if options.supervise and options.task is Task.CLASSIFY:
        check_supervise(contract.loc, options.supervise, contract.warps)
        check_posed(data.train, options.data)
    step = min(batch, len(data.train))
    if given is None:  # of a network that isn't lstn's nobody knows what it takes
        check_size(discriminated(contract) if options.task is Task.GENERATE else contract)
        check_memory(contract, step, at.device)
    run = start_training(options, contract, at.device, (data.train, data.val, data.test), given)
    if batch < 2 * at.world.size > 2:
        raise UsageError(f"a batch of {batch} is too small for {at.world.size} processes, of 2 images each")
    check_step(contract, step, given)
    check_freeze(run.model.backbone, options.recipe.freeze)
    return run


def _objective(options: Options, data: DataSet, labels: Tensor | None, device: torch.device) -> TrainingObjective:
    others: dict[Task, Callable[[], TrainingObjective]] = {
        Task.TAG: TaggerObjective,
        Task.DETECT: DetectorObjective,
        Task.READ: ReaderObjective,
        Task.ALIGN: AlignerObjective,
        Task.GENERATE: AdversarialObjective,
    }
    if options.task in others:
        return others[options.task]()
    weights = None
    if labels is not None and options.recipe.balance == "weights":
        weights = class_weights(labels, len(data.labels)).to(device)
    return ClassifierObjective(weights, open_teacher(options, data, device) if options.teacher else None)


def _fill_backbone(run: Run, options: Options) -> None:
    fresh = load_backbone_weights(run.model.backbone, options.model, options.weights, run.contract.backbone_hw)
    note(f"{options.model} starts from {options.weights}" + (f"; new: {', '.join(fresh)}" if fresh else ""))


def _probe(options: Options, contract: Contract, data: DataSet) -> Probe | None:
    """Return what looks at the transformer after every epoch, if there is one that learns."""
    if options.loc in (Loc.NONE, Loc.IDENTITY) or options.task not in WHOLE_IMAGE:
        return None
    return Probe(data.val, contract, training_images=len(data.train), batch_size=options.recipe.batch_size)


def _take_folder(folder: Path, run: Run, options: Options, held: ExitStack, *, resume: bool) -> None:
    """Make the run's folder, or clear up in it; `held` keeps it locked."""
    if not resume:
        with claimed(folder) as claim:
            write_state(claim / LAST, run, options)  # so that a run killed in its first epoch can be resumed too
    held.enter_context(locked(folder))
    if resume:
        remove_leftovers(folder)


def _check_shared(at: Workplace) -> None:
    if not (at.folder / LAST).is_file():
        raise UsageError(
            f"process {at.world.rank} sees no {at.folder / LAST}", hint="machines need one folder in common"
        )


def start_training(
    options: Options,
    contract: Contract,
    device: torch.device,
    splits: Sequence[Split],
    given: Model | None = None,
) -> Run:
    """Make the model, the optimizer and the loss scaler as they are before the first epoch."""
    torch.manual_seed(options.seed)
    if given is None:
        model = build_model(contract)
        start_weights(model.discriminator if isinstance(model, Generator) else model.backbone, options.seed)
        # Convolutions are fastest so, on a CPU too; pixels arrive so, and what the sampler warps then goes on so.
        model = model.to(device).to(memory_format=torch.channels_last)
    else:  # a network that isn't lstn's may call `view` on what it computes
        model = given.to(device)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    same = identity(contract, splits, supervised=options.supervise > 0, teacher=options.teacher)
    return Run(model, make_optimizer(model, options.recipe), scaler, same, contract)
