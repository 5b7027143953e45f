"""Choices of a run: what a user said, what recipe and data set say otherwise, and what a resumed run keeps."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lstn.contract import CONTROLS, At, Contract, Fit, Loc, Task, ThetaForm, check_task, check_warps
from lstn.data.dataset import usual
from lstn.errors import UsageError
from lstn.health.run_files import checkpoint_of
from lstn.nn.backbones import FOREIGN, backbone_named
from lstn.nn.generation.painter import DOUBLINGS
from lstn.nn.stems import COARSEST
from lstn.recipe import MOVES_WEIGHT, Recipe, RecipeName
from lstn.report.wording import counted
from lstn.train.batches.augment import Augment, check_augment, kinds_of
from lstn.train.objectives.supervision import check_supervise
from lstn.train.recipe_changes import RecipeChanges, option_of, recipe_for
from lstn.train.runs.options import Options, Size, TrainingPrecision, said
from lstn.train.runs.run_state import LAST, read_options

USUAL_REGIONS = 16
"""Of each image, in which a detector looks for objects."""

USUAL_PLACES = 5
"""Of each image that a model aligns with sentences: the whole image, and four regions."""

SYMBOL_SIDE = 32
"""Of what the backbone sees of each symbol that a reader reads, in pixels."""

OBJECT_SHARE = 0.75
"""The side of an object that a generator paints upright, as a share of the picture's; it is placed somewhat smaller."""

GENERATOR_EPOCHS = 25
"""Of a generator, which learns for longer than a classifier: at least so many where nobody says otherwise."""

REGION_SIDE, REGION_MAP_SIDE = 64, 14
"""Of what the backbone sees of each region: pixels of the image, or places of its map (Ren et al. 2015 have 14)."""

_MAY_CHANGE = frozenset({"data", "teacher", "epochs", "patience", "hours"})
"""Options of a resumed run that may be others: the rest make it another run. Of data and teacher the contents are
compared."""


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """Sizes that a user asks for; None leaves the image's to the data set, and the others as in `Options`.

    fit: how a photo becomes an image of that size
    """

    image: Size | None = None
    view: Size | None = None
    crop: Size | None = None
    fit: Fit = Fit.STRETCH


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a model is shown beside the labels: the weight of true poses, and the run or file of a teacher.

    supervise: None: none, but of a reader 1, where the set knows where symbols are
    """

    supervise: float | None = None
    teacher: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a model is trained on, as in `Options`; of epochs None are as many as the data set chooses.

    data: as a run keeps it (`lstn.data.dataset.named`)
    """

    data: str
    augment: Augment
    epochs: int | None
    precision: TrainingPrecision
    seed: int = 0
    guide: Guidance = Guidance()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenNetwork:
    """What is trained, as in `Options`; of warps None is one, or what a detector usually has."""

    loc: Loc
    model: str
    weights: str = ""
    iterations: int = 1
    at: At = At.INPUT
    warps: int | None = None
    sizes: NetworkSizes = NetworkSizes()
    task: Task = Task.CLASSIFY


def choose_options(recipe: RecipeName, changes: RecipeChanges, network: ChosenNetwork, course: Course) -> Options:
    """Return the options of a run, whose budget the data set chooses where the user doesn't.

    Raises:
        UsageError: no such backbone or teacher, there is nothing to supervise, or there are two budgets.
    """
    guide = course.guide
    _check_budget(changes.training.hours, course.epochs)
    check_augment(course.augment, network.task, supervised=bool(guide.supervise))
    training = changes.training
    check_labelled(
        network.task,
        {"label_smoothing": training.label_smoothing, "balance": training.balance, "teacher": guide.teacher},
    )
    if changes.training.freeze and not network.weights and not network.model.startswith(FOREIGN):
        raise UsageError("--freeze would keep a backbone as it was drawn", hint="give it --weights to start from")
    side, length = usual_budget(course.data, network.model, network.task)
    image_size = (side, side) if network.sizes.image is None else network.sizes.image
    weight = guide.supervise or 0.0
    if network.task is Task.DETECT:
        check_detector(changes.transformer.numbers() | {"supervise": weight})
        network, changes = usual_detector(network, image_size), usual_rates(changes)
    if network.task in (Task.READ, Task.ALIGN):
        check_reader_choices(network.task, changes.transformer.numbers())
        network, changes = usual_reader(network, image_size, course.data), usual_rates(changes)
        weight = float(network.loc is not Loc.NONE) if guide.supervise is None else guide.supervise
        check_supervise(network.loc, weight)
    if network.task is Task.GENERATE:
        check_generator_choices(changes, network, course)
        network, changes = usual_generator(network, image_size), usual_rates(changes)
    warps = network.warps or 1
    if network.task is Task.CLASSIFY:
        check_warps(warps, network.loc, network.iterations)
        check_supervise(network.loc, weight, warps)
    options = Options(
        recipe=recipe_for(recipe, network.model, changes),
        loc=network.loc,
        model=network.model,
        data=course.data,
        weights=network.weights,
        image_size=image_size,
        epochs=length if course.epochs is None else course.epochs,
        precision=course.precision,
        seed=course.seed,
        augment=",".join(kinds_of(course.augment)) or "none",
        iterations=network.iterations,
        at=network.at,
        view=network.sizes.view,
        crop=network.sizes.crop,
        supervise=weight,
        warps=warps,
        task=network.task,
        teacher=str(checkpoint_of(guide.teacher).absolute()) if guide.teacher else "",
        fit=network.sizes.fit,
    )
    contract = options.contract(("?",))
    if network.task is not Task.CLASSIFY:
        contract.check()
    return replace(options, recipe=recipe_for(recipe, network.model, usual_moves(recipe, changes, contract, weight)))


def _check_budget(hours: float | None, epochs: int | None) -> None:
    if hours and epochs is not None:
        raise UsageError("--hours takes as many epochs as fit", hint="leave out --epochs, or --hours")


def usual_detector(network: ChosenNetwork, image_size: Size) -> ChosenNetwork:
    """Return a detector with what it usually has where nobody says otherwise: 16 regions, and small crops."""
    sizes, warps = network.sizes, USUAL_REGIONS if network.warps is None else network.warps
    if network.at is At.INPUT:
        side = max(REGION_SIDE, backbone_named(network.model).smallest)
        crop = min(side, image_size[0]), min(side, image_size[1])
    else:  # a map has at least these places
        crop = min(REGION_MAP_SIDE, -(-image_size[0] // COARSEST)), min(REGION_MAP_SIDE, -(-image_size[1] // COARSEST))
    return replace(network, warps=warps, sizes=sizes if sizes.crop else replace(sizes, crop=crop))


def usual_reader(network: ChosenNetwork, image_size: Size, data: str) -> ChosenNetwork:
    """Return a reader with what it usually has where nobody says otherwise: the set's longest text, and small crops.

    A model that aligns has a few regions, however long sentences are.
    """
    fewest = USUAL_PLACES if network.task is Task.ALIGN else usual(data).symbols
    sizes, warps = network.sizes, fewest if network.warps is None else network.warps
    side = max(SYMBOL_SIDE, backbone_named(network.model).smallest)
    crop = None if network.loc is Loc.NONE else (min(side, image_size[0]), min(side, image_size[1]))
    return replace(network, warps=warps, sizes=sizes if sizes.crop else replace(sizes, crop=crop))


def usual_generator(network: ChosenNetwork, image_size: Size) -> ChosenNetwork:
    """Return a generator with what it usually has where nobody says otherwise: an object of half of the picture."""
    if network.sizes.crop or network.loc is Loc.NONE:
        return network
    unit = 2**DOUBLINGS
    high, wide = (min(side, unit * max(1, round(OBJECT_SHARE * side / unit))) for side in image_size)
    return replace(network, sizes=replace(network.sizes, crop=(high, wide)))


def usual_rates(changes: RecipeChanges) -> RecipeChanges:
    """Return what a detector is fitted by, or a reader: its localizer at the full rate, unless somebody says otherwise.

    It is shown where objects are and can't run away. On red and blue rectangles, ten epochs of 96 images, AP50 was 70 %
    so, and 37 % at 0.3 of the rate (means of two seeds).
    """
    how = changes.transformer
    return changes if how.loc_lr_scale is not None else replace(changes, transformer=replace(how, loc_lr_scale=1.0))


def usual_moves(name: RecipeName, changes: RecipeChanges, contract: Contract, supervise: float) -> RecipeChanges:
    """Return what a network is fitted by where nobody says otherwise: an L-STN by the loss of moved pictures as well.

    Its crop then follows the object. Its errors fell from 1.6 to 1.1 % on RTS, from 6.6 to 4.8 % on the embedded digits
    and from 20 to 17 % on signs, and stayed at 2.6 % on R and 25 % on photos; turned by 30 degrees it has fewer on all
    (results/following). STN and V-STN are left as they are: STN gains 9 points on signs, and loses 4 on photos.

    supervise: weight of true poses, which show the localizer where objects are
    """
    how = changes.transformer
    measured = name == "robust" and contract.plain and (contract.loc, contract.theta) == (Loc.LSTN, ThetaForm.AFFINE)
    if not measured or supervise or how.equivariance is not None:
        return changes
    rate = 1.0 if how.loc_lr_scale is None else how.loc_lr_scale
    return replace(changes, transformer=replace(how, equivariance=MOVES_WEIGHT, loc_lr_scale=rate))


def usual_recipe(name: RecipeName, contract: Contract, supervise: float) -> Recipe:
    """Return what a recipe chooses for a network, where nobody says otherwise.

    supervise: weight of true poses

    Raises:
        UsageError: no such backbone.
    """
    changes = RecipeChanges() if contract.task is Task.CLASSIFY else usual_rates(RecipeChanges())
    return recipe_for(name, contract.backbone, usual_moves(name, changes, contract, supervise))


def check_detector(asked: Mapping[str, object]) -> None:
    """Check that nothing is asked of a detector that it has not. asked: choices, by their names

    Raises:
        UsageError: something is.
    """
    for name in ("in_frame", "equivariance", "supervise"):
        if asked.get(name):
            hint = "leave it out: a detector is shown where its objects are"
            check_task(Task.DETECT, Task.CLASSIFY, option_of(name), hint=hint)


def check_labelled(task: Task, asked: Mapping[str, object]) -> None:
    """Check that what is about the one label of an image is asked of a classifier alone. asked: choices, by their names

    Raises:
        UsageError: it is asked of another.
    """
    for name in ("label_smoothing", "balance", "teacher"):
        if asked.get(name) not in (None, 0, "none"):
            check_task(task, Task.CLASSIFY, option_of(name), hint="leave it out: it is about the one label of an image")


def check_reader_choices(task: Task, asked: Mapping[str, float]) -> None:
    """Check that nothing is asked of a reader, or of a model that aligns, that it has not.

    asked: weights of losses, by their names

    Raises:
        UsageError: something is.
    """
    for name in ("in_frame", "equivariance"):
        if asked.get(name):
            check_task(task, Task.CLASSIFY, option_of(name), hint="leave it out")


def check_generator_choices(changes: RecipeChanges, network: ChosenNetwork, course: Course) -> None:
    """Check that nothing is asked of a generator that it has not.

    Raises:
        UsageError: something is.
    """
    asked: dict[str, object] = changes.transformer.numbers() | {"supervise": course.guide.supervise}
    asked |= {"weights": network.weights, "freeze": changes.training.freeze}
    for name in ("in_frame", "equivariance", "supervise", "weights", "freeze"):
        if asked.get(name):
            check_task(Task.GENERATE, Task.CLASSIFY, option_of(name), hint="leave it out")
    if kinds_of(course.augment):
        raise UsageError(
            f"--augment {course.augment:.80}: a generator would learn to paint images that are changed so",
            hint="leave it out",
        )
    if course.precision != "fp32":
        raise UsageError(f"a generator is trained in fp32, and not in {course.precision}", hint="leave out --precision")


def usual_budget(spec: str, model: str, task: Task = Task.CLASSIFY) -> tuple[int, int]:
    """Return the side of images in pixels, and the epochs, of a run of which nobody says them.

    The side is the set's, if it has one and the backbone takes it; or the backbone's. Larger images than a set has hold
    no more of it, and cost time with their area.
    """
    of_set, backbone = usual(spec), backbone_named(model)
    side = backbone.image_size if of_set.image_size is None else max(of_set.image_size, backbone.smallest)
    return side, max(of_set.epochs, GENERATOR_EPOCHS) if task is Task.GENERATE else of_set.epochs


def chosen_by_the_set(options: Options) -> str:
    """Return what to say of a budget that is the set's, so that nobody takes it for the backbone's; else nothing."""
    side, epochs = usual_budget(options.data, options.model, options.task)
    if usual(options.data).image_size is None or (options.image_size, options.epochs) != ((side, side), epochs):
        return ""
    made_for = backbone_named(options.model).image_size
    name = options.data.partition(":")[0]
    return (
        f"{name}: images of {side} x {side} pixels ({options.model} was made for {made_for}), "
        f"{counted(epochs, 'epoch')}; --image-size and --epochs change that"
    )


def check_localizer(locs: Sequence[Loc], changes: RecipeChanges) -> None:
    """Check that what is to fit a localizer has one; every recipe has these, so this is about what was asked for.

    locs: of the runs

    Raises:
        UsageError: none of them has one.
    """
    if any(loc not in (Loc.NONE, *CONTROLS) for loc in locs):
        return
    for name in changes.transformer.numbers():
        runs = " or ".join(loc.value for loc in locs)
        raise UsageError(f"a run of loc {runs} trains no localizer", hint=f"leave out {option_of(name)}")


def resumed(folder: Path, given: Options, typed: Collection[str]) -> Options:
    """Return the options of the run in `folder`, with what may change about them.

    given: what the command line says, or has as its defaults
    typed: names of the options that somebody gave

    Raises:
        UsageError: what was given would make it another one.
    """
    stored = read_options(folder / LAST)
    before, now = stored.values(), given.values()
    for name in sorted({"name", "recipe", *now} - _MAY_CHANGE & set(typed)):
        if name not in now or now[name] != before[name]:
            option = option_of(name)
            has = f"; {folder} has {_told(before[name])}" if name in before else ""
            raise UsageError(
                f"{option} can't change in a run that is resumed{has}",
                hint=f"leave {option} out, or start a new run",
            )
    recipe = replace(
        stored.recipe,
        patience=given.recipe.patience if "patience" in typed else stored.recipe.patience,
        hours=given.recipe.hours if "hours" in typed else stored.recipe.hours,
    )
    _check_budget(recipe.hours, given.epochs if "epochs" in typed else None)
    return replace(
        stored,
        data=given.data if "data" in typed else stored.data,
        teacher=given.teacher if "teacher" in typed else stored.teacher,
        epochs=given.epochs if "epochs" in typed else stored.epochs,
        recipe=recipe,
    )


def _told(value: object) -> str:
    return said((int(value[0]), int(value[1]))) if isinstance(value, (tuple, list)) else str(value)
