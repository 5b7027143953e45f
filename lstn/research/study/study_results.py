"""The runs of a study, as their folders tell: one file for each, that nothing need be computed for again."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lstn.contract import Loc, ThetaForm, theta_shape
from lstn.data.splits import spaced
from lstn.errors import ArtifactError
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.files import write_text
from lstn.health.follow import Follow, judged_kinds
from lstn.health.liveness import State
from lstn.health.pose_error import PoseError
from lstn.interval import Interval, mean_interval
from lstn.untrusted.checked_json import Count, Finite, Natural, Share, checked, damaged, parsed, read_bytes

_MAX_BYTES = 16 << 20

CELL, RESULTS = "cell.json", "study.json"
"""What a finished run leaves in its folder, and what a study leaves in its own."""

ROTATIONS = (15.0, 30.0, 45.0, 60.0, 90.0)
SCALES = (0.5, 0.7, 0.85, 1.2, 1.5)
SHIFTS = (0.05, 0.1, 0.2, 0.3)

SWEEP = (
    *(Disturbance(Kind.ROTATE, amount) for amount in ROTATIONS),
    *(Disturbance(Kind.SCALE, amount) for amount in SCALES),
    *(Disturbance(Kind.SHIFT, amount) for amount in SHIFTS),
)
"""How test images are disturbed, to see what each localizer makes up for."""

SWEPT_IMAGES = 2000
"""Of the test images, evenly spaced; all would take longer than training does."""

CURVE_EPOCHS = 6
"""Of every run, how many are drawn."""

SHOWN = 6
"""Test images whose warps are drawn, the same ones for every run."""


_ORDER = {loc: number for number, loc in enumerate(Loc)}

ThetaMatrix: TypeAlias = tuple[tuple[Finite, ...], ...]
_ROWS = [[columns] * rows for rows, columns in map(theta_shape, ThetaForm)]
"""How long the rows of a theta may be, of each form."""


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One localizer, trained with one seed.

    best_epoch:  whose weights were tested: the first with the highest validation accuracy
    accuracy:    of all test images, 0..1
    seconds:     of training, all epochs
    parameters:  of the whole model
    state:       of the transformer in the best epoch; None where none was watched
    curve:       validation accuracy after every epoch, 0..1
    plain:       accuracy of the swept test images as they are, 0..1
    disturbed:   and under each of SWEEP
    theta:       of the shown test images, (n, …); None without a transformer
    follow:      how much of known moves of test images the transformer follows; None without one, or of an older lstn
    pose:        how far its crops are from the true poses of test images; None where none is known, and likewise
    """

    loc: Loc
    seed: Natural
    best_epoch: Count
    accuracy: Share
    test_images: Natural
    seconds: Finite
    parameters: Natural
    state: State | None
    curve: tuple[Share, ...]
    plain: Share
    disturbed: tuple[Share, ...]
    theta: tuple[ThetaMatrix, ...] | None
    follow: Follow | None = None
    pose: PoseError | None = None

    @property
    def error(self) -> float:
        """Return the test error in per cent."""
        return 100 * (1 - self.accuracy)


@dataclass(frozen=True, slots=True)
class Study:
    """Localizers, each trained with the same seeds and budget.

    settings: what they have in common, as it is to be read
    locs:     in the order of the tables
    cells:    those that are finished
    """

    settings: dict[str, str]
    locs: tuple[Loc, ...]
    cells: tuple[StudyCell, ...]

    def of(self, loc: Loc) -> tuple[StudyCell, ...]:
        """Return a localizer's runs by seed."""
        return tuple(sorted((cell for cell in self.cells if cell.loc is loc), key=lambda cell: cell.seed))

    def error(self, loc: Loc) -> Interval | None:
        """Return the mean test error in per cent; None where no run is finished."""
        return interval_of([cell.error for cell in self.of(loc)])

    def gain(self, loc: Loc, over: Loc) -> tuple[Interval, int] | None:
        """Return by how many points the test error of `loc` is below that of `over`, and the number of seeds.

        The two are compared seed by seed, which is why it takes less to see a difference than with two means.
        """
        other = {cell.seed: cell.error for cell in self.of(over)}
        gains = [other[cell.seed] - cell.error for cell in self.of(loc) if cell.seed in other]
        interval = interval_of(gains)
        return None if interval is None else (interval, len(gains))

    def follow(self, loc: Loc, kind: str) -> Interval | None:
        """Return the mean follow of a kind of move over seeds; None where no run has it."""
        found = [dict(judged_kinds(cell.follow)) for cell in self.of(loc) if cell.follow is not None]
        return interval_of([kinds[kind]["value"] for kinds in found if kind in kinds])

    def pose(self, loc: Loc) -> dict[str, Interval]:
        """Return the mean over seeds of each error against the true poses that was measured; shares in per cent."""
        known = [cell.pose for cell in self.of(loc) if cell.pose is not None]
        figures: dict[str, list[float]] = {
            "rotation_deg": [each["rotation_deg"] for each in known if each["rotation_deg"] is not None],
            "centre_px": [each["centre_px"] for each in known],
            "centre_share": [100 * each["centre_share"] for each in known],
            "overlap": [each["overlap"] for each in known],
        }
        intervals = {name: interval_of(values) for name, values in figures.items()}
        return {name: interval for name, interval in intervals.items() if interval is not None}

    def curve(self, loc: Loc) -> dict[float, Interval]:
        """Return epoch -> mean validation error in per cent, for a few epochs spread over all."""
        cells = self.of(loc)
        epochs = spaced(min(len(cell.curve) for cell in cells), CURVE_EPOCHS) if cells else ()
        errors = {epoch + 1: interval_of([100 * (1 - cell.curve[epoch]) for cell in cells]) for epoch in epochs}
        return {epoch: interval for epoch, interval in errors.items() if interval is not None}

    def swept(self, loc: Loc, kind: Kind) -> dict[float, Interval]:
        """Return amount -> mean accuracy in per cent, the images as they are among them."""
        cells = self.of(loc)
        found = {kind.leaves: [cell.plain for cell in cells]}
        for number, each in enumerate(SWEEP):
            if each.kind is kind:
                found[each.amount] = [cell.disturbed[number] for cell in cells]
        intervals = {amount: interval_of([100 * share for share in found[amount]]) for amount in sorted(found)}
        return {amount: interval for amount, interval in intervals.items() if interval is not None}


@dataclass(frozen=True, slots=True)
class _Summary:
    """What `study_of` takes of a study's RESULTS."""

    settings: dict[str, str]
    runs: tuple[dict[str, Any], ...]


def whole_study(settings: dict[str, str], named: Iterable[Loc], cells: Iterable[StudyCell]) -> Study:
    """Return a study of what is named and of all that has cells, in one order, however it came about."""
    made = tuple(sorted(cells, key=lambda cell: (cell.seed, _ORDER[cell.loc])))
    locs = {*named, *(cell.loc for cell in made)}
    return Study(settings, tuple(sorted(locs, key=lambda loc: _ORDER[loc])), made)


def interval_of(values: Sequence[float]) -> Interval | None:
    """Return the mean and its 95 % interval, which of one value is that value alone; None of no values."""
    if len(values) < 2:
        return Interval(values[0], values[0], values[0]) if values else None
    return mean_interval(values)


def summary(study: Study) -> dict[str, Any]:
    """Return all of it for JSON: errors in per cent, gains in points, shares 0..1."""
    gains = {
        f"{loc.value} over {over.value}": {**asdict(gain[0]), "seeds": gain[1]}
        for over in study.locs
        for loc in study.locs
        if loc is not over and (gain := study.gain(loc, over)) is not None
    }
    return {
        "settings": study.settings,
        "disturbances": [{"kind": each.kind.value, "amount": each.amount} for each in SWEEP],
        "errors": {loc.value: asdict(error) for loc in study.locs if (error := study.error(loc)) is not None},
        "gains": gains,
        "runs": [asdict(cell) | {"loc": cell.loc.value} for cell in study.cells],
    }


def folder_of(out: Path, loc: Loc, seed: int) -> Path:
    """Return where a study in `out` has the run of a localizer and a seed."""
    return out / f"{loc.value}-{seed}"


def runs_in(out: Path) -> list[tuple[Loc, int]]:
    """Return localizer and seed of every folder in `out` that is named like a run's, by seed."""
    name = re.compile(f"({'|'.join(loc.value for loc in Loc)})-(0|[1-9][0-9]*)")
    found = [(Loc(match[1]), int(match[2])) for path in out.iterdir() if (match := name.fullmatch(path.name))]
    return sorted(found, key=lambda run: (run[1], _ORDER[run[0]]))


def write_cell(folder: Path, cell: StudyCell) -> None:
    """Write CELL into a run's folder, whole or not at all."""
    write_text(folder / CELL, json.dumps(asdict(cell) | {"loc": cell.loc.value}) + "\n")


def read_cell(folder: Path) -> StudyCell:
    """Read a run's CELL.

    Raises:
        ArtifactError: damaged, or written by another version.
    """
    path, hint = folder / CELL, "delete it, and it is made again"
    try:
        cell = _cell_of(parsed(read_bytes(path, most=_MAX_BYTES, what="a run of a study", hint=hint)))
    except ValueError as error:
        raise damaged(path, "run of a study", error, hint=hint) from error
    if len(cell.disturbed) != len(SWEEP):
        raise ArtifactError(f"{path}: of another version of lstn", hint=hint)
    return cell


def study_of(summary: dict[str, Any]) -> Study:
    """Return the study that `summary` tells of."""
    cells = tuple(_cell_of(fields) for fields in summary["runs"])
    return Study(summary["settings"], tuple(dict.fromkeys(cell.loc for cell in cells)), cells)


def read_study(path: Path) -> Study:
    """Read a study's RESULTS.

    Raises:
        ArtifactError: no such file, damaged, or written by another version.
    """
    hint = "give the folder that lstn study --out made; its command writes the file again"
    try:
        summary = checked(parsed(read_bytes(path, most=_MAX_BYTES, what="a study", hint=hint)), _Summary)
        return study_of({"settings": summary.settings, "runs": summary.runs})
    except ValueError as error:
        raise damaged(path, "study", error, hint=hint) from error


def _cell_of(fields: object) -> StudyCell:
    cell = checked(fields, StudyCell, exactly=True)
    if cell.best_epoch > len(cell.curve):
        raise ValueError(f"best_epoch: expected one of {len(cell.curve)}, found {cell.best_epoch}")
    if cell.theta is not None and len(cell.theta) != min(cell.test_images, SHOWN):
        raise ValueError(f"theta: expected {min(cell.test_images, SHOWN)} images, found {len(cell.theta)}")
    if any([len(row) for row in theta] not in _ROWS for theta in cell.theta or ()):
        raise ValueError("theta: expected a warp's numbers for each image")
    return cell
