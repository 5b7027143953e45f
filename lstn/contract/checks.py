"""Checks of a contract: that there is such a model, whatever each field says by itself."""

from lstn.contract.bounds import MAX_WARPS, REGIONS, STEPS
from lstn.contract.choices import CONTROLS, VIEWLESS, At, Fit, Loc
from lstn.contract.contract_fields import ContractFields
from lstn.contract.tasks import WHOLE_IMAGE, Task, does
from lstn.contract.theta_forms import ThetaForm, check_crop, check_looks
from lstn.errors import UsageError
from lstn.report.wording import counted


def check_contract(contract: ContractFields) -> None:
    """Check what no field says by itself: that there is such a model.

    Raises:
        UsageError: there isn't, and why.
    """
    loc, at = contract.loc, contract.at
    if contract.task is Task.DETECT:
        _check_regions(contract)
    if contract.task is Task.READ:
        _check_reader(contract)
    elif contract.task is Task.ALIGN:
        _check_aligner(contract)
    elif contract.separator:
        raise UsageError(f"a model that {does(contract.task)} has no text whose words a separator is between")
    if contract.task is Task.GENERATE:
        _check_generator(contract)
    elif contract.noise:
        raise UsageError(f"a model that {does(contract.task)} takes no noise")
    if contract.task is Task.TAG:
        _check_tagger(contract)
    elif contract.thresholds:
        raise UsageError(f"a model that {does(contract.task)} has no thresholds of labels")
    if at is At.STEM and (contract.view_hw or contract.crop_hw):
        raise UsageError(
            "a transformer at the stem warps feature maps: it has no view of the image, and makes no crop of it",
            hint="leave out --view and --crop, or --at stem",
        )
    if contract.view_hw is not None and loc in VIEWLESS:
        raise UsageError(
            f"a model of loc {loc.value} has no localizer that looks at the image by itself",
            hint="leave out --view",
        )
    if contract.crop_hw is not None and loc in (Loc.NONE, Loc.DEAD):
        raise UsageError(f"a model of loc {loc.value} makes no crop of the image", hint="leave out --crop")
    check_looks(contract.iterations, contract.theta)
    if contract.task in WHOLE_IMAGE:
        _check_classifier(contract)
    if at is At.INPUT and loc is not Loc.NONE:
        check_crop(contract.crop_hw or contract.image_hw, contract.image_hw, contract.theta)


def check_warps(warps: int, loc: Loc, iterations: int) -> None:
    """Check that a localizer can choose so many warps of an image.

    Raises:
        UsageError: it can't.
    """
    if warps > MAX_WARPS:
        raise UsageError(f"{warps} warps of an image that is classified", hint=f"use {MAX_WARPS} at most")
    if warps > 1 and loc in (Loc.NONE, *CONTROLS):
        raise UsageError(f"a model of loc {loc.value} chooses no warps", hint="leave out --warps")
    if warps > 1 and iterations > 1:
        raise UsageError(
            f"{warps} warps and {iterations} iterations: a localizer of several warps looks once",
            hint="leave out --iterations or --warps",
        )


def _check_classifier(contract: ContractFields) -> None:
    """Check that a classifier can be so, whether an image has one label or several.

    Raises:
        UsageError: it can't.
    """
    check_warps(contract.warps, contract.loc, contract.iterations)
    if contract.at is At.MAP:
        raise UsageError("--at map is for detectors", hint="use --at stem, or --task detect")


def _check_tagger(contract: ContractFields) -> None:
    """Check that a model that tags can be so.

    Raises:
        UsageError: it can't.
    """
    if contract.temperature != 1:
        raise UsageError("the labels of a model that tags have thresholds, and no temperature")
    if contract.thresholds and len(contract.thresholds) != len(contract.labels):
        raise UsageError(
            f"{counted(len(contract.thresholds), 'threshold')} for {counted(len(contract.labels), 'label')}"
        )


def _check_boxes(contract: ContractFields, kind: str, *, once: str, answers: str) -> None:
    """Check what holds of every model whose warps are boxes of things in a photo: detectors and readers.

    once: what it looks once for; answers: what it is sure of
    """
    if contract.theta not in (ThetaForm.AFFINE, ThetaForm.CROP):
        raise UsageError(
            f"a {kind}'s boxes can't be {contract.theta.value}", hint="use --theta affine, or crop for upright boxes"
        )
    if contract.iterations > 1:
        raise UsageError(f"a {kind} looks once {once}", hint="leave out --iterations")
    if contract.temperature != 1:
        raise UsageError(f"a {kind}'s {answers} have no temperature")
    if contract.fit is not Fit.STRETCH:
        raise UsageError(
            f"a {kind} of fit {contract.fit.value}: its boxes are shares of a photo that is stretched",
            hint="leave out --fit",
        )


def _check_regions(contract: ContractFields) -> None:
    """Check that a detector can be so.

    Raises:
        UsageError: it can't.
    """
    loc, at = contract.loc, contract.at
    fewest, most = REGIONS
    if loc in (Loc.NONE, *CONTROLS):
        raise UsageError(f"a detector of loc {loc.value} finds no regions", hint="choose another --loc, such as glance")
    if not fewest <= contract.warps <= most:
        raise UsageError(
            f"a detector that looks at {counted(contract.warps, 'region')}", hint=f"use {fewest} to {most} --warps"
        )
    _check_boxes(contract, "detector", once="for regions, and refines each once", answers="scores")
    if at is At.STEM or (at is At.MAP) != (loc is Loc.SHARED):
        raise UsageError(
            f"a detector of loc {loc.value} at {at.value}",
            hint="--loc shared --at map finds regions in the backbone's maps and cuts them from there; others look at "
            "the image, and cut from it: --at input",
        )


def _check_aligner(contract: ContractFields) -> None:
    """Check that a model that aligns can be so.

    Raises:
        UsageError: it can't.
    """
    if contract.loc is Loc.NONE:
        raise UsageError("a model that aligns has regions", hint="choose a --loc that finds some, such as glance")
    if not contract.separator:
        raise UsageError("a model that aligns knows words", hint="name a set of sentences, such as captions-digits")
    _check_reader(contract)


def _check_reader(contract: ContractFields) -> None:
    """Check that a reader can be so.

    Raises:
        UsageError: it can't.
    """
    loc, (fewest, most) = contract.loc, STEPS
    if loc in (Loc.SHARED, *CONTROLS):
        raise UsageError(
            f"a reader of loc {loc.value}", hint="choose a --loc that looks at the image by itself, such as glance"
        )
    if contract.separator and (split := next((label for label in contract.labels if len(label.split()) != 1), None)):
        raise UsageError(f"a reader's word {split!r:.40}", hint="a word has no spaces")
    if not contract.separator and (long := next((label for label in contract.labels if len(label) > 1), None)):
        raise UsageError(f"a reader's symbol {long!r:.40}", hint="a symbol is one character")
    if not fewest <= contract.warps <= most:
        raise UsageError(
            f"a reader of {counted(contract.warps, 'symbol')}", hint=f"use {fewest} to {most} --warps, one for each"
        )
    _check_boxes(contract, "reader", once="for each symbol", answers="symbols")
    if contract.at is not At.INPUT:
        raise UsageError(f"a reader at {contract.at.value}", hint="a reader looks at the image: leave out --at")


def _check_generator(contract: ContractFields) -> None:
    """Check that a generator can be so.

    Raises:
        UsageError: it can't.
    """
    loc = contract.loc
    if loc in (Loc.SHARED, *CONTROLS):
        raise UsageError(
            f"a generator of loc {loc.value}",
            hint="choose a --loc that looks at the background by itself, such as glance; none places nothing",
        )
    if contract.noise < 1:
        raise UsageError("a generator without noise paints one picture of each class")
    if contract.warps > 1:
        raise UsageError(f"a generator of {contract.warps} objects", hint="it places one: leave out --warps")
    if contract.at is not At.INPUT:
        raise UsageError(f"a generator at {contract.at.value}", hint="it places its object in an image: leave out --at")
    _check_boxes(contract, "generator", once="where its object goes", answers="pictures")
