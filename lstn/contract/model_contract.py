"""Contract: what a model is, as one frozen value that every artifact carries, so that no command asks again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from lstn.contract.bounds import MAX_JSON, SPACE
from lstn.contract.checks import check_contract
from lstn.contract.choices import PAPER_LOCS, At, Fit, Loc
from lstn.contract.contract_fields import ContractFields
from lstn.contract.tasks import WHOLE_IMAGE, Task
from lstn.contract.theta_forms import FORM_TRAITS, ThetaForm, theta_shape
from lstn.contract.versions import ADDED_LATER, FIELD_SINCE, VERSION, check_known, oldest_version, version_fields
from lstn.errors import ArtifactError, UsageError
from lstn.untrusted.checked_json import checked, damaged, parsed


@dataclass(frozen=True, slots=True)
class Contract(ContractFields):
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
    task:     classify; tag: an image may have any number of the labels, and the sigmoid of a label's logit is its
              probability; detect: logits and theta are then of each region, and a last logit says that none is there;
              read: they are of each symbol in the order of reading, labels are the alphabet, and a last logit says that
              the text has ended; align: they are a vector of each region, of which the first is the whole image, and
              labels are the words; generate: noise and a label go in, and pixels and theta come out. image_hw is then
              that of the picture, and crop_hw that of the object as it is painted upright
    temperature: what the backbone's answers are divided by, so that the softmax of the logits is as sure as it is right
              (Guo et al. 2017); the graph itself divides
    fit:      how a photo becomes an input (`lstn.imaging.framing`); theta means places of the input
    separator: of a reader, what stands between the symbols of a text: nothing, or a space if they are words
    thresholds: of a model that tags, from which probability on an image has each label; empty for a half for each
    noise:    how many numbers a generator paints a picture from, drawn from the standard normal distribution; 0 for all
              other tasks
    """

    def check(self) -> None:
        """Check what no field says by itself: that there is such a model.

        Raises:
            UsageError: there isn't, and why.
        """
        check_contract(self)

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
        return (classes,) if self.task in WHOLE_IMAGE else (self.warps, classes + 1)

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
        version, told = oldest_version(self), asdict(self)
        first = {name: value for name, value in told.items() if name not in FIELD_SINCE}
        later = {name: told[name] for name, since in FIELD_SINCE.items() if since <= version}
        if self.temperature == 1:  # a run's identity is made of this text: runs from before temperatures go on
            later.pop("temperature", None)
        return json.dumps(first | {"version": version} | later, ensure_ascii=False)

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
        if len(text) > MAX_JSON:
            raise ArtifactError(f"{source}: its contract is {len(text)} characters long, more than {MAX_JSON}")
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
            names = version_fields(version)
            known = {name: value for name, value in given.items() if name in names}
            contract = checked(known, Contract, required=[name for name in names if name not in ADDED_LATER])
            check_known(contract, version)
            contract.check()
            return contract
        except ValueError as error:
            raise damaged(source, "contract", error) from error
        except UsageError as error:
            raise damaged(source, "contract", ValueError(error.message)) from error
