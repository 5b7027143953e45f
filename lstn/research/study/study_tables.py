"""A study in tables: errors by localizer, differences by seed."""

from itertools import combinations

from lstn.contract import CONTROLS, Loc
from lstn.health.follow import UNITS
from lstn.interval import Interval
from lstn.report.table import Table
from lstn.report.wording import counted
from lstn.research.study.study_results import Study

_POSE = {
    "rotation_deg": "turned by, degrees",
    "centre_px": "off centre, px",
    "centre_share": "in % of the object's side",
    "overlap": "overlap",
}


def error_table(study: Study) -> Table:
    """Return a row for each localizer: its test error, what that is against none, and whether it is alive."""
    rows = []
    for loc in study.locs:
        cells, error = study.of(loc), study.error(loc)
        if error is None:
            continue
        alive = [cell.state == "live" for cell in cells if cell.state is not None]
        rows.append(
            (
                _name(loc),
                str(len(cells)),
                _said(error, len(cells)),
                " ".join(f"{cell.error:.2f}" for cell in cells),
                _gain(study, loc, Loc.NONE) if loc is not Loc.NONE else "",
                f"{sum(alive)} of {len(alive)}" if alive else "",
                f"{cells[0].parameters:,}",
                f"{sum(cell.seconds for cell in cells) / len(cells):.0f}",
            )
        )
    columns = (
        "localizer", "seeds", "test error %", "by seed", "points below none", "alive", "parameters", "training s",
    )  # fmt: skip
    images = study.cells[0].test_images if study.cells else 0
    note = f"{counted(images, 'test image')}. Mean over seeds with its 95 % interval (Student's t); points below none: "
    note += "paired by seed, so above 0 is fewer errors. Alive: transformers that were live in the tested epoch."
    return Table("Test error by localizer", columns, tuple(rows), 1, note)


def study_follow_table(study: Study) -> Table:
    """Return a row for each localizer whose follow was measured: how much of known moves its crop follows."""
    rows = []
    for loc in study.locs:
        found = {name: study.follow(loc, name) for name in UNITS}
        seeds = sum(cell.follow is not None for cell in study.of(loc))
        if seeds:
            shown = ["" if each is None else _said(each, seeds) for each in found.values()]
            rows.append((_name(loc), str(seeds), *shown))
    note = "1: the crop moves with the object; 0: it ignores the move. Mean over seeds with its 95 % interval. "
    note += "Empty: this theta cannot turn."
    return Table("Follow of known moves of test images", ("localizer", "seeds", *UNITS), tuple(rows), 1, note)


def study_pose_table(study: Study) -> Table:
    """Return a row for each localizer whose crops were compared with true poses."""
    rows = []
    for loc in study.locs:
        if found := study.pose(loc):
            seeds = sum(cell.pose is not None for cell in study.of(loc))
            shown = [_said(found[name], seeds) if name in found else "" for name in _POSE]
            rows.append((_name(loc), str(seeds), *shown))
    note = (
        "Medians, and of the overlap of crop and object the mean, over test images; then the mean over seeds with its "
    )
    note += "95 % interval. Rotation is without the slant that a class has in all of its crops."
    return Table(
        "Crops against true poses of test images", ("localizer", "seeds", *_POSE.values()), tuple(rows), 1, note
    )


def pair_table(study: Study) -> Table:
    """Return a row for every two localizers: what one gains over the other, seed by seed."""
    rows = []
    for one, other in combinations(study.locs, 2):
        found = study.gain(other, one)
        if found is None:
            continue
        gain, seeds = found
        verdict = "not significant"
        if seeds > 1 and (gain.low > 0 or gain.high < 0):
            verdict = f"{_name(other)} makes {'fewer' if gain.low > 0 else 'more'} errors"
        rows.append((f"{_name(other)} against {_name(one)}", verdict, str(seeds), _said(gain, seeds)))
    columns = ("pair", "", "seeds", "points fewer errors")
    note = "A difference is significant if its interval does not contain 0. One in twenty is significant by chance."
    return Table("Paired differences", columns, tuple(rows), 2, note)


def _gain(study: Study, loc: Loc, over: Loc) -> str:
    found = study.gain(loc, over)
    return "" if found is None else _said(*found)


def _said(figure: Interval, seeds: int) -> str:
    """Return it with its interval, which one seed doesn't have."""
    return str(figure) if seeds > 1 else f"{figure.value:.2f}"


def _name(loc: Loc) -> str:
    return f"{loc.value} (control)" if loc in CONTROLS else loc.value
