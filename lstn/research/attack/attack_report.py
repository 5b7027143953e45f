"""Report of attacks on a checkpoint: tables, JSON and a web page."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from lstn.contract import Contract
from lstn.data.splits import AnySplit
from lstn.evaluation.scores import wilson
from lstn.interval import Interval
from lstn.report.table import Table
from lstn.report.web_page import bullets, section, table_section, whole_page
from lstn.report.wording import counted

AS_THEY_ARE = "none"
GRAY = 128.0
"""Grey levels by which any picture can be made one gray, and no model be better than the commonest label."""

FEW_POINTS = 5.0
"""By how many points further random starts may lower the accuracy before they are taken for a sign of masking."""


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """What one attack on the label leaves.

    attack: its name; `none` for the images as they are
    norm:   linf or l2, or empty for images as they are
    bound:  linf: grey levels of 255; l2: of pixels from 0 to 1
    right:  images whose label is right, by the model that was asked, the attacked checkpoint first
    """

    attack: str
    norm: str
    bound: float
    right: dict[str, int]


@dataclass(frozen=True, slots=True)
class WarpOutcome:
    """The smallest pixel changes that move a crop.

    reach_px:   how far its landmark that moves most has to go, pixels of the input
    most:       grey levels beyond which no change was sought
    moved:      images of which one was found
    median:     of the changes' largest values, in grey levels, over all images; infinite if most were not found
    noise_px:   median drift under noise of the same size, of the images that were moved; not a number if none was
    drift_px:   median drift of those images, by the model that was asked
    followed:   of those images, how many have another label then, by the model that was asked
    """

    reach_px: float
    most: int
    moved: int
    median: float
    noise_px: float
    drift_px: dict[str, float]
    followed: dict[str, int]


@dataclass(frozen=True, slots=True)
class CropOutcome:
    """The smallest moves of a crop that change the label, the pixels as they are.

    most_px: pixels of the input beyond which no move was sought
    misled:  images of which one was found
    median:  drift over all images, pixels of the input; infinite if most were not found
    random:  of the images found, how many a random move of the same drift misleads too
    """

    most_px: float
    misled: int
    median: float
    random: int


@dataclass(frozen=True, slots=True)
class AttackReport:
    """All attacks on one checkpoint; warp and crop are None for a model without a transformer that learns.

    commonest: images of the commonest label, which a model that sees nothing may all have right
    """

    source: str
    contract: Contract
    data: str
    split: AnySplit
    images: int
    steps: int
    commonest: int
    labels: tuple[LabelOutcome, ...]
    warp: WarpOutcome | None
    crop: CropOutcome | None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; a median that is infinite is null."""
        model = {"attacked": self.source, "loc": self.contract.loc.value, "backbone": self.contract.backbone}
        about = {"data": self.data, "split": self.split, "images": self.images, "commonest": self.commonest}
        labels = [
            {"attack": each.attack, "norm": each.norm, "bound": each.bound}
            | {"top1": {name: right / self.images for name, right in each.right.items()}}
            for each in self.labels
        ]
        warp = None if self.warp is None else _values(self.warp)
        crop = None if self.crop is None else _values(self.crop)
        return {
            **model,
            **about,
            "steps": self.steps,
            "labels": labels,
            "warp": warp,
            "crop": crop,
            "signs": masking_signs(self),
        }

    def page(self) -> str:
        """Return it as one web page."""
        where = f"{self.contract.loc.value} + {self.contract.backbone} on {self.data}, {counted(self.images, 'image')}"
        sections = [table_section(table) for table in tables(self)]
        sections.append(section("Signs of masked gradients", bullets(masking_signs(self) or ["None."])))
        return whole_page(f"Attacks on {self.source}", where, sections)


def tables(report: AttackReport) -> list[Table]:
    """Return the tables of a report, those alone that have something to say."""
    found = [label_table(report)]
    if report.warp is not None:
        found.append(warp_table(report.warp, report.images))
    if report.crop is not None:
        found.append(crop_table(report.crop, report.images))
    return found


def label_table(report: AttackReport) -> Table:
    """Return a row for each attack and bound: top-1 accuracy of every model that was asked."""
    names = list(report.labels[0].right)
    rows = []
    for each in report.labels:
        shares = [_percent(wilson(each.right[name], report.images)) for name in names]
        rows.append((each.attack, _bound(each), *shares))
    note = (
        f"{counted(report.images, 'image')}, top-1 % and 95 % interval. Changes are made against {names[0]}, in whole "
        "grey levels; linf: of 255, l2: of pixels from 0 to 1. "
        f"PGD: {counted(report.steps, 'step')} from each start."
    )
    return Table("Accuracy under changed pixels", ("attack", "bound", *names), tuple(rows), 2, note)


def warp_table(found: WarpOutcome, images: int) -> Table:
    """Return a row for each model: how far its crop moves, and whether the label follows."""
    rows = [
        (name, f"{found.drift_px[name]:.1f}", f"{found.followed[name]} of {found.moved}") for name in found.drift_px
    ]
    note = (
        f"The smallest change of pixels that moves the crop by {found.reach_px:g} px was found for {found.moved} of "
        f"{counted(images, 'image')}; median: {_median(found.median, found.most)} grey levels."
    )
    if found.moved:
        note += f" Noise of the same size moves it by {found.noise_px:.1f} px."
    return Table("Pixels that move the crop", ("model", "drift px", "label changes"), tuple(rows), 1, note)


def crop_table(found: CropOutcome, images: int) -> Table:
    """Return what a displaced crop does to the label."""
    rows = (
        ("the worst direction", f"{found.misled} of {images}", _median(found.median, found.most_px)),
        ("a random direction, as far", f"{found.random} of {found.misled}", ""),
    )
    note = f"The pictures are as they are and the crop alone is moved, by up to {found.most_px:g} px."
    return Table("Moves of the crop that change the label", ("", "label changes", "median px"), rows, 1, note)


def masking_signs(report: AttackReport) -> list[str]:
    """Return what speaks for masked gradients, which make a model look more robust than it is; empty: nothing does.

    Athalye et al. 2018 (https://arxiv.org/abs/1802.00420) and Carlini et al. 2019 (https://arxiv.org/abs/1902.06705).
    """
    first = next(iter(report.labels[0].right))
    left = {(each.norm, each.bound, each.attack): wilson(each.right[first], report.images) for each in report.labels}
    signs, before = [], dict[str, Interval]()
    for norm, bound in dict.fromkeys((each.norm, each.bound) for each in report.labels if each.norm):
        at = {name: row for (of, size, name), row in left.items() if (of, size) == (norm, bound)}
        strongest = list(at)[-1]
        where = f"{norm} {bound:g}"
        for name in ("noise", "FGSM"):
            if at[name].value < at[strongest].low:
                signs.append(f"{where}: {name} leaves {at[name].value:.1f} %, {strongest} {at[strongest].value:.1f} %")
        points = at["PGD"].value - at[strongest].value
        if points > FEW_POINTS and at[strongest].value < at["PGD"].low:
            signs.append(f"{where}: further starts of PGD take {points:.1f} points more")
        if norm in before and at[strongest].value > before[norm].high:
            signs.append(f"{where}: a larger bound leaves more, {at[strongest].value:.1f} %")
        if norm == "linf" and bound >= GRAY and at[strongest].low > 100 * report.commonest / report.images:
            signs.append(f"{where}: every picture can become gray, and {at[strongest].value:.1f} % are still right")
        before[norm] = at[strongest]
    return signs


def _bound(outcome: LabelOutcome) -> str:
    return f"{outcome.norm} {outcome.bound:g}" if outcome.norm else ""


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1f} ({interval.low:.0f} to {interval.high:.0f})"


def _median(value: float, most: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else f"above {most:g}"


def _values(outcome: WarpOutcome | CropOutcome) -> dict[str, Any]:
    """Return its fields for JSON, which has no number for infinity."""
    infinite = {key for key, value in asdict(outcome).items() if isinstance(value, float) and not math.isfinite(value)}
    return asdict(outcome) | dict.fromkeys(infinite)
