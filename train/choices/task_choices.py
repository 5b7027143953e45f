"""Choices that depend on the task: what a network has where nobody says otherwise, and what a task doesn't have."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from lstn.contract import WHOLE_IMAGE, At, Contract, Loc, Task, ThetaForm, check_task
from lstn.data.dataset import usual
from lstn.errors import UsageError
from lstn.nn.backbones import backbone_named
from lstn.nn.generation.painter import DOUBLINGS
from lstn.nn.sources.stems import COARSEST
from lstn.recipe import MOVES_WEIGHT, Recipe, RecipeName
from lstn.train.batches.augment import kinds_of
from lstn.train.choices.asked_run import ChosenNetwork, Course
from lstn.train.choices.recipe_changes import RecipeChanges, option_of, recipe_for
from lstn.train.runs.options import Size

USUAL_REGIONS = 16
"""Of each image, in which a detector looks for objects."""

USUAL_PLACES = 5
"""Of each image that a model aligns with sentences: the whole image, and four regions."""

SYMBOL_SIDE = 32
"""Of what the backbone sees of each symbol that a reader reads, in pixels."""

OBJECT_SHARE = 0.75
"""The side of an object that a generator paints upright, as a share of the picture's; it is placed somewhat smaller."""

REGION_SIDE, REGION_MAP_SIDE = 64, 14
"""Of what the backbone sees of each region: pixels of the image, or places of its map (Ren et al. 2015 have 14)."""


def usual_network(network: ChosenNetwork, image_size: Size, data: str) -> ChosenNetwork:
    """Return a network with what one of its task usually has, where nobody says otherwise."""
    return _USUAL[network.task](network, image_size, data)


def _classifier(network: ChosenNetwork, image_size: Size, data: str) -> ChosenNetwork:
    return network


def _detector(network: ChosenNetwork, image_size: Size, data: str) -> ChosenNetwork:
    """16 regions, and small crops."""
    sizes, warps = network.sizes, USUAL_REGIONS if network.warps is None else network.warps
    if network.at is At.INPUT:
        side = max(REGION_SIDE, backbone_named(network.model).smallest)
        crop = min(side, image_size[0]), min(side, image_size[1])
    else:  # a map has at least these places
        crop = min(REGION_MAP_SIDE, -(-image_size[0] // COARSEST)), min(REGION_MAP_SIDE, -(-image_size[1] // COARSEST))
    return replace(network, warps=warps, sizes=sizes if sizes.crop else replace(sizes, crop=crop))


def _reader(network: ChosenNetwork, image_size: Size, data: str) -> ChosenNetwork:
    """As many crops as the set's longest text has symbols, and small ones; a few regions to align with sentences."""
    fewest = USUAL_PLACES if network.task is Task.ALIGN else usual(data).symbols
    sizes, warps = network.sizes, fewest if network.warps is None else network.warps
    side = max(SYMBOL_SIDE, backbone_named(network.model).smallest)
    crop = None if network.loc is Loc.NONE else (min(side, image_size[0]), min(side, image_size[1]))
    return replace(network, warps=warps, sizes=sizes if sizes.crop else replace(sizes, crop=crop))


def _generator(network: ChosenNetwork, image_size: Size, data: str) -> ChosenNetwork:
    """An object of half of the picture."""
    if network.sizes.crop or network.loc is Loc.NONE:
        return network
    unit = 2**DOUBLINGS
    high, wide = (min(side, unit * max(1, round(OBJECT_SHARE * side / unit))) for side in image_size)
    return replace(network, sizes=replace(network.sizes, crop=(high, wide)))


_USUAL: dict[Task, Callable[[ChosenNetwork, Size, str], ChosenNetwork]] = {
    Task.CLASSIFY: _classifier,
    Task.TAG: _classifier,
    Task.DETECT: _detector,
    Task.READ: _reader,
    Task.ALIGN: _reader,
    Task.GENERATE: _generator,
}
"""What a network has where nobody says otherwise, from its image size and its data set. Total over `Task`."""


def usual_supervision(network: ChosenNetwork, asked: float | None) -> float:
    """Return the weight of true poses: what was asked for, or 1 for a transformer that reads, else none."""
    if asked is None and network.task in (Task.READ, Task.ALIGN):
        return float(network.loc is not Loc.NONE)
    return asked or 0.0


def usual_rates(changes: RecipeChanges) -> RecipeChanges:
    """Return what a network of another task than to classify or to tag is fitted by: its localizer at the full rate.

    A detector's is shown where objects are and can't run away. On red and blue rectangles, ten epochs of 96 images,
    AP50 was 70 % so, and 37 % at 0.3 of the rate (means of two seeds). Somebody may say otherwise.
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
    changes = RecipeChanges() if contract.task in WHOLE_IMAGE else usual_rates(RecipeChanges())
    return recipe_for(name, contract.backbone, usual_moves(name, changes, contract, supervise), contract.backbone_hw)


_OF_ONE_LABEL = dict.fromkeys(
    ("label_smoothing", "balance", "teacher"), "leave it out: it is about the one label of an image"
)
_OF_ITS_OBJECTS = dict.fromkeys(
    ("in_frame", "equivariance", "supervise"), "leave it out: a detector is shown where its objects are"
)
_OF_FOLLOWING = dict.fromkeys(("in_frame", "equivariance"), "leave it out")

_LACKS: dict[Task, dict[str, str]] = {
    Task.CLASSIFY: {},
    Task.TAG: _OF_ONE_LABEL | {"supervise": "leave it out: a model that tags is shown labels alone"},
    Task.DETECT: _OF_ONE_LABEL | _OF_ITS_OBJECTS,
    Task.READ: _OF_ONE_LABEL | _OF_FOLLOWING,
    Task.ALIGN: _OF_ONE_LABEL | _OF_FOLLOWING,
    Task.GENERATE: _OF_ONE_LABEL | _OF_FOLLOWING | dict.fromkeys(("supervise", "weights", "freeze"), "leave it out"),
}
"""Choices of a classifier that a model of another task doesn't have, and what to do. Total over `Task`."""


def check_choices(task: Task, asked: Mapping[str, object]) -> None:
    """Check that nothing is asked of a model that its task doesn't have. asked: choices, by their names

    Raises:
        UsageError: something is.
    """
    for name, hint in _LACKS[task].items():
        if asked.get(name) not in (None, 0, "", "none"):
            check_task(task, Task.CLASSIFY, option_of(name), hint=hint)


def check_course(task: Task, course: Course) -> None:
    """Check that a generator is shown pictures as they are, and in float32.

    Raises:
        UsageError: it isn't.
    """
    if task is not Task.GENERATE:
        return
    if kinds_of(course.augment):
        raise UsageError(
            f"--augment {course.augment:.80}: a generator would learn to paint images that are changed so",
            hint="leave it out",
        )
    if course.precision != "fp32":
        raise UsageError(f"a generator is trained in fp32, and not in {course.precision}", hint="leave out --precision")
