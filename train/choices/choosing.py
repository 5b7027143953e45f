"""Options of a run: what a user said, and for the rest what recipe, task and data set say."""

from collections.abc import Sequence
from dataclasses import replace

from lstn.contract import CONTROLS, WHOLE_IMAGE, Loc, Task, check_warps
from lstn.data.dataset import usual
from lstn.errors import UsageError
from lstn.health.run_files import checkpoint_of
from lstn.nn.backbones import FOREIGN, backbone_named
from lstn.recipe import RecipeName
from lstn.report.wording import counted
from lstn.train.batches.augment import check_augment, kinds_of
from lstn.train.choices.asked_run import ChosenNetwork, Course
from lstn.train.choices.recipe_changes import RecipeChanges, check_budget, option_of, recipe_for
from lstn.train.choices.task_choices import (
    check_choices,
    check_course,
    usual_moves,
    usual_network,
    usual_rates,
    usual_supervision,
)
from lstn.train.objectives.supervision import check_supervise
from lstn.train.runs.options import Options

GENERATOR_EPOCHS = 25
"""Of a generator, which learns for longer than a classifier: at least so many where nobody says otherwise."""


def choose_options(recipe: RecipeName, changes: RecipeChanges, network: ChosenNetwork, course: Course) -> Options:
    """Return the options of a run, whose budget the data set chooses where the user doesn't.

    Raises:
        UsageError: no such backbone or teacher, there is nothing to supervise, or there are two budgets.
    """
    task = network.task
    check_budget(changes.training.hours, course.epochs)
    check_augment(course.augment, task, supervised=bool(course.guide.supervise))
    _check_asked(changes, network, course)
    side, length = usual_budget(course.data, network.model, task)
    image_size = (side, side) if network.sizes.image is None else network.sizes.image
    network = usual_network(network, image_size, course.data)
    changes = changes if task in WHOLE_IMAGE else usual_rates(changes)
    weight, warps = usual_supervision(network, course.guide.supervise), network.warps or 1
    if task in WHOLE_IMAGE:
        check_warps(warps, network.loc, network.iterations)
    check_supervise(network.loc, weight, warps if task in WHOLE_IMAGE else 1)
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
        task=task,
        teacher=str(checkpoint_of(course.guide.teacher).absolute()) if course.guide.teacher else "",
        fit=network.sizes.fit,
    )
    contract = options.contract(("?",))
    if task is not Task.CLASSIFY:
        contract.check()
    moved = usual_moves(recipe, changes, contract, weight)
    return replace(options, recipe=recipe_for(recipe, network.model, moved, contract.backbone_hw))


def _check_asked(changes: RecipeChanges, network: ChosenNetwork, course: Course) -> None:
    training = changes.training
    asked = changes.transformer.numbers() | {
        "label_smoothing": training.label_smoothing,
        "balance": training.balance,
        "teacher": course.guide.teacher,
        "supervise": course.guide.supervise,
        "weights": network.weights,
        "freeze": training.freeze,
    }
    check_choices(network.task, asked)
    check_course(network.task, course)
    if training.freeze and not network.weights and not network.model.startswith(FOREIGN):
        raise UsageError("--freeze would keep a backbone as it was drawn", hint="give it --weights to start from")


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
