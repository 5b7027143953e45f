"""A study as one web page: errors, accuracy against disturbances, and the warps side by side."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from lstn.contract import Loc
from lstn.evaluation.disturb import UNITS, Kind
from lstn.images import Pixels
from lstn.report.charts import Point, dots, lines
from lstn.report.web_page import bullets, figure, section, table_section, whole_page
from lstn.report.wording import counted
from lstn.research.study.study_results import SWEPT_IMAGES, Study
from lstn.research.study.study_tables import error_table, pair_table, study_follow_table, study_pose_table
from lstn.warps.drawn_warp import contact_sheet, draw_warp
from lstn.warps.warp import CropSampling

_SIDE = 96
_ERRORS = "A point for each seed; the bar is the mean with its 95 % interval."


def study_page(study: Study, images: Sequence[Pixels], sampling: CropSampling) -> str:
    """Return the page. images: the test images that every cell's theta is of, each (H, W, 3) uint8."""
    errors = dots(
        {loc.value: (loc.value, [cell.error for cell in study.of(loc)], study.error(loc)) for loc in study.locs},
        x_title="test error %",
    )
    sections = [
        section("What was trained", bullets(f"{name}: {value}" for name, value in study.settings.items())),
        table_section(error_table(study)),
        section("Errors", f'<div class="pictures">{figure(errors, _ERRORS)}{_curves(study)}</div>'),
        table_section(pair_table(study)),
        *(table_section(table) for table in (study_follow_table(study), study_pose_table(study)) if table.rows),
        section("Accuracy against disturbances of the test images", f'<div class="pictures">{_sweeps(study)}</div>'),
    ]
    if warps := _warps(study, images, sampling):
        sections.append(section("What the transformers chose", f'<div class="pictures">{warps}</div>'))
    where = f"{study.settings['model']} on {study.settings['data']}, {counted(len(study.cells), 'run')}"
    return whole_page("Localizers compared", where, sections)


def _curves(study: Study) -> str:
    series = {
        loc.value: [Point(epoch, interval, loc.value, "") for epoch, interval in study.curve(loc).items()]
        for loc in study.locs
        if study.of(loc)
    }
    return figure(lines(series, x_title="epoch", y_title="validation error %"), "Mean over seeds; bars are 95 %.")


def _sweeps(study: Study) -> str:
    figures = []
    for kind in Kind:
        series = {
            loc.value: [Point(amount, interval, loc.value, "") for amount, interval in study.swept(loc, kind).items()]
            for loc in study.locs
            if study.of(loc)
        }
        curve = lines(series, x_title=f"{kind.value}: {UNITS[kind]}", y_title="top-1 %")
        figures.append(figure(curve, f"Mean over seeds, on up to {SWEPT_IMAGES:,} test images; bars are 95 %."))
    return "".join(figures)


def _warps(study: Study, images: Sequence[Pixels], sampling: CropSampling) -> str:
    """The first seed's transformers, each on the same images."""
    figures = []
    for loc in study.locs:
        cell = next((cell for cell in study.of(loc) if cell.theta is not None), None)
        if cell is None or cell.theta is None or loc is Loc.IDENTITY:
            continue
        pairs = zip(images, np.array(cell.theta, np.float32), strict=True)
        sheet = contact_sheet([draw_warp(image, matrix, sampling, side=_SIDE) for image, matrix in pairs], columns=2)
        buffer = io.BytesIO()
        sheet.save(buffer, format="png", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        what = f"{loc.value}, seed {cell.seed}: test images with the quadrilateral that theta chose, and the crop"
        figures.append(figure(f'<img src="data:image/png;base64,{data}" alt="{escape(what)}">', f"{what}."))
    return "".join(figures)
