"""Contract: what a model is, as one frozen value that every artifact carries, so that no command asks again."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from lstn.errors import ArtifactError, UsageError
from lstn.report.wording import counted
from lstn.untrusted.checked_json import Finite, Positive, checked, damaged, parsed

METADATA_KEY = "lstn"
"""Where the contract lives: an ONNX file's metadata_props and a checkpoint's header both use this key."""

PIXELS, LOGITS, THETA = "pixels", "logits", "theta"
"""Names of the input and the outputs of every exported model but a generator."""

NOISE, LABEL = "noise", "label"
"""Names of the inputs of an exported generator, whose outputs are PIXELS, and THETA if it places its object."""

VERSION = 8
"""Version 2 can say what theta is bounded to; version 3 a localizer that isn't the paper's, several iterations, and a
transformer that isn't in front of everything; version 4 the localizer `glance`, a view and a crop that are smaller than
the image, warps that aren't affine, several warps of an image, detectors, and a temperature; version 5 how a photo of
another shape becomes an input; version 6 readers; version 7 readers of words; version 8 generators. A contract is
written in the oldest version that can say it."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_MAX_JSON = 4 << 20
_MAX_SIDE = 8192
TRAINED_SIDES = (8, 4096)
"""The shortest and the longest side of an image that lstn trains on, in pixels."""
MAX_LABELS, MAX_NAME = 100_000, 200
"""Classes of a model, and characters of a class's or a backbone's name."""

MAX_ITERATIONS = 8
MAX_WARPS = 16
"""Of one image that is classified: the backbone's last layer grows with them."""
REGIONS = (2, 300)
"""The fewest and the most regions of an image in which a detector looks for objects."""
SPACE = 64
"""Numbers of a vector of a region or of a word, of a model that aligns."""
STEPS = (2, 64)
"""The fewest and the most symbols of the longest text that a reader reads: each is a step of its exported graph."""

_SINCE = {
    "theta": 2,
    "iterations": 3,
    "at": 3,
    "view_hw": 4,
    "crop_hw": 4,
    "warps": 4,
    "task": 4,
    "temperature": 4,
    "fit": 5,
    "separator": 7,
    "noise": 8,
}
"""Fields that a contract of version 1 lacks, and the first version that has them."""

_LATER = ("warps", "task", "temperature")
"""Fields that were added to version 4 later: older files of version 4 lack them, and mean their defaults."""

_Side: TypeAlias = Annotated[int, Meta(ge=1, le=_MAX_SIDE)]
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
_Labels: TypeAlias = Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=MAX_LABELS)]
Iterations: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_ITERATIONS)]
Warps: TypeAlias = Annotated[int, Meta(ge=1, le=REGIONS[1])]
MOST_NOISE = 4096
"""Numbers that a generator paints a picture from, at most."""
NoiseCount: TypeAlias = Annotated[int, Meta(ge=0, le=MOST_NOISE)]
TEMPERATURES = (0.05, 20.0)
"""The lowest and the highest temperature."""
Temperature: TypeAlias = Annotated[float, Meta(ge=TEMPERATURES[0], le=TEMPERATURES[1])]
Separator: TypeAlias = Literal["", " "]
"""What stands between the symbols of a text: nothing between characters, a space between words."""


class Task(str, Enum):
    """What a model answers: the class of an image; its objects, each with its class and where it is; its text, with
    where each symbol is; vectors of its regions, which are near those of the words that are said of them; or, asked for
    a class, a picture of it, with where its object is."""

    CLASSIFY = "classify"
    DETECT = "detect"
    READ = "read"
    ALIGN = "align"
    GENERATE = "generate"


_TASK_SINCE = {Task.READ: 6, Task.ALIGN: 7, Task.GENERATE: 8}
"""Tasks that a contract of version 4 can't name, and the first version that can."""


class Loc(str, Enum):
    """The localizer: none, one of the paper's (L-STN paper, Tables 1-3), one for a small view, one on the backbone's
    own first layers, or a control, which an experiment compares the others with (`lstn.nn.warping.localizers`)."""

    NONE = "none"
    STN = "stn"
    VSTN = "vstn"
    LSTN = "lstn"
    GLANCE = "glance"
    SHARED = "shared"
    IDENTITY = "identity"
    DEAD = "dead"


PAPER_LOCS = (Loc.NONE, Loc.STN, Loc.VSTN, Loc.LSTN)
"""Those that the paper compares."""

_LOC_SINCE = {Loc.SHARED: 3, Loc.IDENTITY: 3, Loc.DEAD: 3, Loc.GLANCE: 4}
"""Localizers that a contract of version 1 can't name, and the first version that can."""

CONTROLS = (Loc.IDENTITY, Loc.DEAD)
"""Whose warp is always the identity: trained to be compared with, and of no use otherwise."""


class At(str, Enum):
    """What the transformer warps: the image; the feature map behind the backbone's first layers; or, for a detector,
    the last map of at least a sixteenth of the image's side."""

    INPUT = "input"
    STEM = "stem"
    MAP = "map"


class Fit(str, Enum):
    """How a photo becomes an input of another shape: stretched to it; shrunk until all of it is inside, with the mean
    around it; or scaled until it covers the input, of which its middle is taken."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    CENTRE = "centre"


class ThetaForm(str, Enum):
    """Which warps a localizer can answer with (`lstn.nn.warping.forms`): affine ones, all or some; perspective; a thin
    plate spline through 16 points; or a log-polar picture of a disc."""

    AFFINE = "affine"
    SIMILARITY = "similarity"
    CROP = "crop"
    PROJECTIVE = "projective"
    TPS = "tps"
    POLAR = "polar"


SPLINE_SIDE = 4
"""Control points of a thin plate spline along each side of its crop."""


@dataclass(frozen=True, slots=True)
class FormTraits:
    """What is true of all thetas of a form.

    affine:  an affine matrix says it all: the crop is a parallelogram, and composing two gives another of this form
    bounded: it can't leave the image by more than its bounds
    dense:   its grid keeps numbers for each point of the crop, and composing two gives none of this form
    shape:   of one warp's theta
    since:   the first version of a contract that can name it
    """

    affine: bool
    bounded: bool
    dense: bool = False
    shape: tuple[int, int] = (2, 3)
    since: int = 1


FORM_TRAITS: dict[ThetaForm, FormTraits] = {
    ThetaForm.AFFINE: FormTraits(affine=True, bounded=False),
    ThetaForm.SIMILARITY: FormTraits(affine=True, bounded=True),
    ThetaForm.CROP: FormTraits(affine=True, bounded=True),
    ThetaForm.PROJECTIVE: FormTraits(affine=False, bounded=False, shape=(3, 3), since=4),
    ThetaForm.TPS: FormTraits(affine=False, bounded=False, dense=True, shape=(SPLINE_SIDE**2, 2), since=4),
    ThetaForm.POLAR: FormTraits(affine=False, bounded=True, dense=True, since=4),
}
"""Total over `ThetaForm`."""

AFFINE_FORMS = tuple(form for form, traits in FORM_TRAITS.items() if traits.affine)
UNBOUNDED = tuple(form for form, traits in FORM_TRAITS.items() if not traits.bounded)


def theta_shape(form: ThetaForm) -> tuple[int, int]:
    """Return the shape of one warp's theta: (2, 3), of a projective one (3, 3), of a spline its points (16, 2)."""
    return FORM_TRAITS[form].shape


_VIEWLESS = (Loc.NONE, Loc.SHARED, Loc.IDENTITY)
"""Localizers that don't look at the image by themselves."""

_MOST_POINTS = 1 << 20
"""That are read for a crop whose form keeps numbers for each: a contract from somewhere could ask for gigabytes."""


def taps(side: int, of_crop: int) -> int:
    """Return how many points along an axis make a pixel of the crop: as many as keep them 4 pixels apart at most.

    At the identity points are up to 4 pixels apart, and up to 2 where an object fills half of the picture, which is as
    much as bilinear sampling sees. Twice as many points take ONNX Runtime four times the sampler's time, and brought
    nothing: 37.4 and 38.3 % right on digits of 0.18 to 0.5 of a picture's side after the same three epochs.
    """
    return max(1, math.ceil(side / (4 * of_crop)))


def check_crop(crop_hw: tuple[int, int], image_hw: tuple[int, int], form: ThetaForm) -> None:
    """Check that a crop of what is warped can be made.

    Raises:
        UsageError: it is larger than that, or has more pixels than its form can keep numbers for.
    """
    if crop_hw[0] > image_hw[0] or crop_hw[1] > image_hw[1]:
        raise UsageError(
            "a crop of {} x {} pixels is larger than the image, {} x {}".format(*crop_hw, *image_hw),
            hint="use a smaller crop, or larger images",
        )
    read = math.prod(side * taps(of_image, side) for side, of_image in zip(crop_hw, image_hw, strict=True))
    if FORM_TRAITS[form].dense and read > _MOST_POINTS:
        raise UsageError(
            "a crop of {} x {} pixels is too large for theta {}, which keeps numbers for each point".format(
                *crop_hw, form.value
            ),
            hint="use smaller crops and images, or another theta",
        )


def check_looks(iterations: int, form: ThetaForm) -> None:
    """Check that several looks can be one theta.

    Raises:
        UsageError: two such warps are no third one.
    """
    if iterations > 1 and FORM_TRAITS[form].dense:
        raise UsageError(
            f"a localizer of theta {form.value} looks once: two such warps are no third", hint="leave out iterations"
        )


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


_VERBS = {
    Task.CLASSIFY: ("classify", "classifies"),
    Task.DETECT: ("detect", "detects"),
    Task.READ: ("read", "reads"),
    Task.ALIGN: ("align", "aligns"),
    Task.GENERATE: ("generate", "generates"),
}
"""Of several models, and of one."""


def does(task: Task) -> str:
    """Return what a model of a task does, as a verb."""
    return _VERBS[task][1]


def meant_for(wanted: Task, task: Task, what: str) -> str:
    """Return that `what` is for models of one task, and this one has another."""
    return f"{what} is for models that {_VERBS[wanted][0]}, and this one {does(task)}"


OF_LOOKING = "lstn infer, evaluate, export, serve and bench take models that look at images"
"""What may be done with a model that looks at pictures, instead of what is for models that classify."""

OF_GENERATORS = "lstn infer --count N, export, bench and inspect take generators"
"""What may be done with a model that paints pictures."""

_OF_ALIGNERS = "lstn infer --sentence TEXT, evaluate, export and bench take models that align"
"""What may be done with a model that knows what a sentence is about."""


def elsewhere(task: Task) -> str:
    """Return what may be done with a model of a task instead of what is for others."""
    return {Task.GENERATE: OF_GENERATORS, Task.ALIGN: _OF_ALIGNERS}.get(task, OF_LOOKING)


def check_task(task: Task, wanted: Task, what: str, *, hint: str = "") -> None:
    """Check that a model has the task that `what` is for: an option, a command or a method.

    hint: what to do instead; empty for what may be done with a model of that task

    Raises:
        UsageError: it has another.
    """
    if task is not wanted:
        raise UsageError(meant_for(wanted, task, what), hint=hint or elsewhere(task))


def check_sees(contract: "Contract", source: object) -> None:
    """Refuse a generator where a model that looks at images is wanted; `source` names its file.

    Raises:
        UsageError: it is one.
    """
    if contract.task is Task.GENERATE:
        raise UsageError(f"{source}: a generator, which looks at no image", hint=OF_GENERATORS)


def check_classifier(contract: "Contract") -> None:
    """Check that a classifier can be so.

    Raises:
        UsageError: it can't.
    """
    check_warps(contract.warps, contract.loc, contract.iterations)
    if contract.at is At.MAP:
        raise UsageError("--at map is for detectors", hint="use --at stem, or --task detect")


def _check_boxes(contract: "Contract", kind: str, *, once: str, answers: str) -> None:
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


def check_regions(contract: "Contract") -> None:
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


def check_aligner(contract: "Contract") -> None:
    """Check that a model that aligns can be so.

    Raises:
        UsageError: it can't.
    """
    if contract.loc is Loc.NONE:
        raise UsageError("a model that aligns has regions", hint="choose a --loc that finds some, such as glance")
    if not contract.separator:
        raise UsageError("a model that aligns knows words", hint="name a set of sentences, such as captions-digits")
    check_reader(contract)


def check_reader(contract: "Contract") -> None:
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


def check_generator(contract: "Contract") -> None:
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


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model is.

    loc:      the localizer; `none` means that the model has no theta output
    backbone: a name that `lstn.nn.backbones.backbone_named` knows, or `module:NAME` for one that lstn doesn't make
    image_hw: height and width of the input, in pixels
    labels:   one name per class, in the order of the logits
    mean, std: per RGB channel on the 0..1 scale; the graph itself normalises
    theta:    what the transformer can do: any affine matrix, as in the paper, a bounded one, or another kind of warp
    iterations: how often the localizer looks, each time at what it chose so far; theta composes them
    at:       what the transformer warps; theta means the same there, for each map spans -1..1
    view_hw:  height and width at which the localizer sees the input; None: as it is
    crop_hw:  height and width of what the backbone gets; None: those of the input
    warps:    how many places of an image the localizer chooses. The backbone sees the crop of each, and its last layer
              what it found in all of them (Jaderberg et al. 2015, section 4.3); of a detector or a reader, in each by
              itself
    task:     classify; detect: logits and theta are then of each region, and a last logit says that none is there;
              read: they are of each symbol in the order of reading, labels are the alphabet, and a last logit says that
              the text has ended; align: they are a vector of each region, of which the first is the whole image, and
              labels are the words; generate: noise and a label go in, and pixels and theta come out. image_hw is then
              that of the picture, and crop_hw that of the object as it is painted upright
    temperature: what the backbone's answers are divided by, so that the softmax of the logits is as sure as it is right
              (Guo et al. 2017); the graph itself divides
    fit:      how a photo becomes an input (`lstn.imaging.framing`); theta means places of the input
    separator: of a reader, what stands between the symbols of a text: nothing, or a space if they are words
    noise:    how many numbers a generator paints a picture from, drawn from the standard normal distribution; 0 for all
              other tasks
    """

    loc: Loc
    backbone: _Name
    image_hw: tuple[_Side, _Side]
    labels: _Labels
    mean: tuple[Finite, Finite, Finite] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    theta: ThetaForm = ThetaForm.AFFINE
    iterations: Iterations = 1
    at: At = At.INPUT
    view_hw: tuple[_Side, _Side] | None = None
    crop_hw: tuple[_Side, _Side] | None = None
    warps: Warps = 1
    task: Task = Task.CLASSIFY
    temperature: Temperature = 1.0
    fit: Fit = Fit.STRETCH
    separator: Separator = ""
    noise: NoiseCount = 0

    def check(self) -> None:
        """Check what no field says by itself: that there is such a model.

        Raises:
            UsageError: there isn't, and why.
        """
        loc, at = self.loc, self.at
        if self.task is Task.DETECT:
            check_regions(self)
        if self.task is Task.READ:
            check_reader(self)
        elif self.task is Task.ALIGN:
            check_aligner(self)
        elif self.separator:
            raise UsageError(f"a model that {does(self.task)} has no text whose words a separator is between")
        if self.task is Task.GENERATE:
            check_generator(self)
        elif self.noise:
            raise UsageError(f"a model that {does(self.task)} takes no noise")
        if at is At.STEM and (self.view_hw or self.crop_hw):
            raise UsageError(
                "a transformer at the stem warps feature maps: it has no view of the image, and makes no crop of it",
                hint="leave out --view and --crop, or --at stem",
            )
        if self.view_hw is not None and loc in _VIEWLESS:
            raise UsageError(
                f"a model of loc {loc.value} has no localizer that looks at the image by itself",
                hint="leave out --view",
            )
        if self.crop_hw is not None and loc in (Loc.NONE, Loc.DEAD):
            raise UsageError(f"a model of loc {loc.value} makes no crop of the image", hint="leave out --crop")
        check_looks(self.iterations, self.theta)
        if self.task is Task.CLASSIFY:
            check_classifier(self)
        if at is At.INPUT and loc is not Loc.NONE:
            check_crop(self.backbone_hw, self.image_hw, self.theta)

    @property
    def backbone_hw(self) -> tuple[int, int]:
        """Height and width of what the backbone gets, in pixels."""
        return self.image_hw if self.crop_hw is None or self.at is At.MAP else self.crop_hw

    @property
    def logits_shape(self) -> tuple[int, ...]:
        """Shape of one image's logits: (C,) for C labels, of a detector or a reader (K, C + 1), of an aligner
        (K, SPACE). A generator has none."""
        classes = len(self.labels)
        if self.task is Task.ALIGN:
            return (self.warps, SPACE)
        return (classes,) if self.task is Task.CLASSIFY else (self.warps, classes + 1)

    @property
    def theta_shape(self) -> tuple[int, ...]:
        """Shape of one image's theta: that of a warp (`theta_shape`), and of several warps one more axis, (K, …)."""
        of_warp = theta_shape(self.theta)
        return of_warp if self.warps == 1 else (self.warps, *of_warp)

    @property
    def plain(self) -> bool:
        """Whether the transformer is one that the paper has: its localizer looks once, at all of the image."""
        whole = self.at is At.INPUT and self.view_hw is None and self.crop_hw is None
        once = self.iterations == self.warps == 1 and FORM_TRAITS[self.theta].affine
        return self.task is Task.CLASSIFY and self.loc in PAPER_LOCS and whole and once

    def to_json(self) -> str:
        """Return the contract as one JSON string, in the oldest version that can say it."""
        version, told = self._oldest(), asdict(self)
        first = {name: value for name, value in told.items() if name not in _SINCE}
        later = {name: told[name] for name, since in _SINCE.items() if since <= version}
        if self.temperature == 1:  # a run's identity is made of this text: runs from before temperatures go on
            later.pop("temperature", None)
        return json.dumps(first | {"version": version} | later, ensure_ascii=False)

    def _oldest(self) -> int:
        """Return the oldest version that can say all of it."""
        usual = {each.name: each.default for each in fields(Contract)}
        used = [since for name, since in _SINCE.items() if getattr(self, name) != usual[name]]
        named = (_LOC_SINCE.get(self.loc, 1), FORM_TRAITS[self.theta].since, _TASK_SINCE.get(self.task, 1))
        return max([1, *named, *used])

    @staticmethod
    def checked(given: Mapping[str, object]) -> "Contract":
        """Make a contract of values that a program gives: names for enums, and any sequences.

        given: every field of a contract, by its name

        Raises:
            UsageError: a value that no contract allows.
        """
        named: dict[str, type[Enum]] = {"loc": Loc, "theta": ThetaForm, "at": At, "fit": Fit, "task": Task}
        for name, choices in named.items():
            if name in given and given[name] not in (known := [each.value for each in choices]):
                raise UsageError(
                    f"no model can be so: {name} {given[name]!r:.80}", hint=f"choose one of: {', '.join(known)}"
                )
        try:
            return checked(parsed(json.dumps(dict(given), default=float)), Contract)
        except (ValueError, TypeError) as error:
            raise UsageError(f"no model can be so: {error}") from error

    @staticmethod
    def from_json(text: str, *, source: str) -> "Contract":
        """Read a contract from untrusted text; `source` names the file in errors.

        Raises:
            ArtifactError: not JSON, a field missing or of the wrong kind, or a newer version.
        """
        if len(text) > _MAX_JSON:
            raise ArtifactError(f"{source}: its contract is {len(text)} characters long, more than {_MAX_JSON}")
        try:
            given = checked(parsed(text), dict[str, Any])
        except ValueError as error:
            raise damaged(source, "contract", error) from error
        version = given.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise ArtifactError(
                f"{source}: contract version {version!r:.80}, this lstn reads up to version {VERSION}",
                hint="export it again with this version of lstn",
            )
        try:
            names = [each.name for each in fields(Contract) if version >= _SINCE.get(each.name, 1)]
            known = {name: value for name, value in given.items() if name in names}
            contract = checked(known, Contract, required=[name for name in names if name not in _LATER])
            if version < _LOC_SINCE.get(contract.loc, 1):
                raise ValueError(f"version {version} knows no loc {contract.loc.value}")
            if version < FORM_TRAITS[contract.theta].since:
                raise ValueError(f"version {version} knows no theta {contract.theta.value}")
            if version < _TASK_SINCE.get(contract.task, 1):
                raise ValueError(f"version {version} knows no task {contract.task.value}")
            contract.check()
            return contract
        except ValueError as error:
            raise damaged(source, "contract", error) from error
        except UsageError as error:
            raise damaged(source, "contract", ValueError(error.message)) from error
