"""Reports of explanations: what JSON says of each image, and one page that shows the pictures."""

from collections.abc import Sequence
from html import escape
from os import fsencode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lstn.contract import Contract
from lstn.errors import ImageError
from lstn.explanation.explaining import Explanation, HeatMap, points, shift
from lstn.explanation.feature_pictures import PICTURE, FeatureMap
from lstn.explanation.occlusion import Heat, Window
from lstn.report.web_page import bullets, section, strip, whole_page
from lstn.warps.drawn_warp import outline_px
from lstn.warps.warp import warps_of

HOW_TO_READ = (
    "Orange: covering this part lowers the label's probability, or moves the warp. Blue: covering it raises the "
    "probability. grad-cam and gradients show what in the crop speaks for the label, carried back onto the photo. Each "
    "map has its own scale, and one that shows less than a point or 0.1 px stays pale; the number above it is the most "
    "that one window did. The outline is what the transformer samples; its top edge is orange."
)


def figures_of(explanation: Explanation, contract: Contract, window: Window) -> dict[str, Any]:
    """Return what JSON says of one image: the answer, the quadrilaterals, and every map's peak; of occlusion, all."""
    label, theta = explanation.label, explanation.theta
    told: dict[str, Any] = {
        "label": contract.labels[label],
        "probability": round(float(explanation.probabilities[label]), 6),
    }
    if theta is not None:
        outlines = [outline_px(each, contract.image_hw, contract.theta).reshape(-1, 2) for each in warps_of(theta)]
        told["theta"] = _rounded(theta, 6)
        told["outlines_px"] = [_rounded(each, 2) for each in outlines]
    told["maps"] = {each.shows: _told(each) for each in explanation.maps}
    if explanation.occlusion is not None:
        found = explanation.occlusion
        told["occlusion"] = {
            "window_px": window.side,
            "rows_px": window.starts(contract.image_hw[0]),
            "columns_px": window.starts(contract.image_hw[1]),
            "fall": _rounded(found.fall, 6),
            "moved_px": None if found.moved_px is None else _rounded(found.moved_px, 3),
        }
    return told


def sentence_of(told: dict[str, Any]) -> str:
    """Say in words what the figures of one image say."""
    parts = [f"{told['label']} with {100 * told['probability']:.1f} %"]
    if found := told.get("occlusion"):
        parts.append(f"one window lowers it by {points(np.max(found['fall']), 'up to ')}")
        if found["moved_px"] is not None:
            parts.append(f"and moves the warp by {shift(np.max(found['moved_px']), 'up to ')}")
    return f"{parts[0]}: {' '.join(parts[1:])}." if parts[1:] else f"{parts[0]}."


def unreadable(path: Path | str, error: ImageError) -> dict[str, Any]:
    """Return what JSON says of an image that can't be read."""
    return {"path": str(path), "error": error.message.removeprefix(f"{path}: ")}


def explanation_page(source: str, where: str, images: Sequence[dict[str, Any]], features: str = "") -> str:
    """Return the page.

    where:    how many images
    images:   what JSON says of each: path and picture, or path and error
    features: a section of HTML on feature maps
    """
    sections = [features] if features else []
    if drawn := "".join(_drawn(each) for each in images if "error" not in each):
        sections.insert(0, section("What moves the answer", f'<p class="note">{escape(HOW_TO_READ)}</p>{drawn}'))
    if failed := [f"{each['path']}: {each['error']}" for each in images if "error" in each]:
        sections.append(section("Images that could not be read", bullets(failed)))
    return whole_page(f"Explanation of {source}", where, sections)


def features_section(layer: str, features: Sequence[FeatureMap]) -> str:
    """Show the picture of a layer's feature maps."""
    numbers = f"map {features[0].number}" if len(features) == 1 else f"maps 0 to {features[-1].number}, in rows of 4"
    caption = (
        f"Layer {layer}, {numbers}. Right of each pair: the parts of up to nine images that excite the map most, one "
        "place each. Left: what in them does, by a deconvnet (Zeiler and Fergus 2013); gray is nothing."
    )
    return section("What excites the feature maps", strip(PICTURE, caption))


def _drawn(each: dict[str, Any]) -> str:
    return strip(quote(fsencode(each["picture"])), f"{each['path']}: {sentence_of(each)}")


def _told(each: HeatMap) -> dict[str, Any]:
    row, column = np.unravel_index(int(each.heat.argmax()), each.heat.shape)
    return {"largest": each.largest, "peak_px": [int(column), int(row)]}


def _rounded(numbers: Heat | np.ndarray, places: int) -> list[Any]:
    told: list[Any] = np.round(numbers.astype(np.float64), places).tolist()
    return told
