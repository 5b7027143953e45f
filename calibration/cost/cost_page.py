"""The costs of one or several precisions as one web page: figures first, then each precision's pictures and layers."""

import base64
import io
import math
from collections.abc import Iterator
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.calibration.cost.cost_report import (
    LoweringCosts,
    blame,
    cost_conditions,
    decibel,
    headline,
    label_differences,
    warnings,
)
from lstn.calibration.cost.lowering_cost import BadCase, BadScene, ClassifierCost, DetectorCost, LoweringCost
from lstn.calibration.cost.noise import LayerNoise
from lstn.calibration.cost.tagger_cost import TaggerCost
from lstn.contract import ThetaForm
from lstn.detection.drawn_objects import draw_objects
from lstn.images import Pixels
from lstn.report.charts import histogram
from lstn.report.web_page import bullets, figure, section, table_body, whole_page
from lstn.report.wording import counted
from lstn.warps.drawn_warp import outline_px
from lstn.warps.warp import Theta, crop_image, sampling_of, warps_of

_SIDE = 160
"""The longer side of a picture in pixels: enough to judge a warp, and ten of them stay small."""

_BEYOND = 0.25
"""How much of the image's size is shown of a quadrilateral that reaches outside of it."""


def cost_page(costs: LoweringCosts) -> str:
    """Return the whole page."""
    sections = [section("At a glance", table_body(headline(costs)))]
    if found := warnings(costs):
        sections.append(section("Mind", bullets(found)))
    sections += [section(f"fp32 against {name}", "".join(_details(name, cost))) for name, cost in costs.items()]
    return whole_page("What lower precision costs", cost_conditions(costs), sections)


def _details(name: str, cost: LoweringCost) -> Iterator[str]:
    yield f'<div class="pictures">{"".join(_histograms(cost))}</div>'
    for table in (label_differences(name, cost), blame(name, cost)):
        if table.rows:
            yield f"<h3>{escape(table.title)}</h3>{table_body(table)}"
    yield f"<h3>Signal to noise, layer by layer</h3>{_levels(cost)}"
    title, cases = _worst(name, cost)
    yield f'<h3>{title}</h3><div class="pictures">{"".join(cases)}</div>'


def _worst(name: str, cost: LoweringCost) -> tuple[str, list[str]]:
    """What the worst images are called, and their pictures."""
    if isinstance(cost, DetectorCost):
        title = f"The {counted(len(cost.worst), 'image')} whose objects differ most"
        return title, [_scene(name, cost, scene) for scene in cost.worst]
    if isinstance(cost, TaggerCost):
        title = f"The {counted(len(cost.worst), 'image')} whose labels differ most"
        return title, [_tagged(name, cost, case) for case in cost.worst]
    assert isinstance(cost, ClassifierCost)
    moved = "whose logits" if cost.drift is None else "whose window"
    title = f"The {counted(len(cost.worst), 'image')} {moved} moved most"
    return title, [_case(name, cost, case) for case in cost.worst]


def _histograms(cost: LoweringCost) -> Iterator[str]:
    assert isinstance(cost, ClassifierCost | DetectorCost | TaggerCost)
    height, width = cost.contract.image_hw
    drift, over = "Drift of each image", "its classes"
    if isinstance(cost, DetectorCost):
        drift, over = "Largest drift of what fp32 finds in each image", "the regions that both have"
    if cost.per_image.drift_px is not None:
        yield _histogram(
            cost.per_image.drift_px, "drift in pixels", f"{drift}, in pixels of the {width} x {height} input."
        )
    caption = f"Largest logit difference of each image, over {over}."
    yield _histogram(cost.per_image.logit_difference, "logit difference", caption)


def _histogram(values: npt.NDArray[np.float64], x_title: str, caption: str) -> str:
    if not values.any():
        return f"<figure><p>0 for every image.</p><figcaption>{escape(caption)}</figcaption></figure>"
    mark = float(np.percentile(values, 99))
    return figure(histogram(values, mark, style="measured", x_title=x_title, mark_name="p99"), caption)


def _levels(cost: LoweringCost) -> str:
    """A bar for each node's own signal to noise; nodes without any noise are only counted."""
    noisy = [layer for layer in cost.layers if layer.own_db != math.inf or layer.output_db != math.inf]
    measured = [layer.own_db for layer in noisy if layer.own_db is not None and math.isfinite(layer.own_db)]
    longest = max(measured, default=1.0)
    rows = "".join(_level(layer, longest) for layer in noisy)
    head = '<tr><th class="word">node</th><th>own dB</th><th>so far dB</th></tr>'
    exact = len(cost.layers) - len(noisy)
    note = f"Left out: {exact} of {counted(len(cost.layers), 'node')}, with the very numbers of fp32. " if exact else ""
    note += "A long bar is a clean node: 6 dB less is twice the noise."
    table = f'<table class="levels"><thead>{head}</thead><tbody>{rows}</tbody></table>' if noisy else ""
    return f'<div class="wide long" tabindex="0">{table}</div><p class="note">{escape(note)}</p>'


def _level(layer: LayerNoise, longest: float) -> str:
    share = 0.0 if layer.own_db is None else min(1.0, max(0.0, layer.own_db / longest))
    bar = f'<span><i style="width:{100 * share:.1f}%"></i></span>'
    numbers = f"<td>{decibel(layer.own_db)}</td><td>{decibel(layer.output_db)}</td>"
    return f'<tr><td class="level word">{escape(layer.node)}{bar}</td>{numbers}</tr>'


def _scene(name: str, cost: DetectorCost, scene: BadScene) -> str:
    images, labels, place = cost.per_image, cost.contract.labels, scene.place
    caption = (
        f"Image {images.index[place]} shows {counted(int(images.objects[place]), 'object')}: fp32 finds "
        f"{images.reference[place]}, {name} {images.lowered[place]}, and {images.both[place]} of these are the same; "
        f"drift {images.drift_px[place]:.3g} px. Found by fp32 (left), by {name} (right)."
    )
    pictures = [
        _picture(draw_objects(scene.pixels, found, labels), f"found by {model}")
        for model, found in (("fp32", scene.reference), (name, scene.lowered))
    ]
    return figure(f'<div class="two">{"".join(pictures)}</div>', caption)


def _case(name: str, cost: ClassifierCost, case: BadCase) -> str:
    images, labels = cost.per_image, cost.contract.labels
    right, before, after = (labels[column[case.place]] for column in (images.label, images.reference, images.lowered))
    predicted = f"both say {before}" if before == after else f"fp32 says {before}, {name} {after}"
    truth = "right" if right == before == after else f"it is {right}"
    moved = f"logits moved {images.logit_difference[case.place]:.3g}"
    if images.drift_px is not None:
        moved = f"drift {images.drift_px[case.place]:.3g} px, {moved}"
    return _compared(name, cost, case, f"Image {images.index[case.place]}: {moved}; {predicted}, {truth}.")


def _tagged(name: str, cost: TaggerCost, case: BadCase) -> str:
    images, place = cost.per_image, case.place
    caption = (
        f"Image {images.index[place]} has {counted(int(images.labels[place]), 'label')}: fp32 gives "
        f"{images.reference[place]}, {name} {images.lowered[place]}, and {images.both[place]} of these are the same; "
        f"logits moved {images.logit_difference[place]:.3g}."
    )
    return _compared(name, cost, case, caption)


def _compared(name: str, cost: LoweringCost, case: BadCase, caption: str) -> str:
    """The image, and where each model looked in it, if they have a transformer."""
    if case.reference_theta is None or case.lowered_theta is None:
        return figure(f'<div class="one">{_picture(_small(case.pixels), "input")}</div>', caption)
    sampling = sampling_of(cost.contract)
    pictures = (
        _windows(case.pixels, case.reference_theta, case.lowered_theta, name, sampling.form),
        _picture(_small(crop_image(case.pixels, case.reference_theta, sampling)), "warped by fp32"),
        _picture(_small(crop_image(case.pixels, case.lowered_theta, sampling)), f"warped by {name}"),
    )
    return figure(
        f'<div class="three">{"".join(pictures)}</div>', f"{caption} Warped by fp32 (blue), by {name} (dashed)."
    )


def _windows(pixels: Pixels, reference: Theta, lowered: Theta, name: str, form: ThetaForm) -> str:
    """The input, and on it what each of the two samples."""
    height, width = pixels.shape[:2]
    warps = [("before", each) for each in warps_of(reference)] + [("after", each) for each in warps_of(lowered)]
    corners = np.stack([outline_px(each, (height, width), form)[:, :-1].reshape(-1, 2) for _, each in warps])
    margin = max(width, height) * 0.02
    low = np.clip(corners.min(axis=(0, 1)), [-_BEYOND * width, -_BEYOND * height], 0) - margin
    high = np.clip(corners.max(axis=(0, 1)), [width, height], [(1 + _BEYOND) * width, (1 + _BEYOND) * height]) + margin
    outlines = "".join(
        f'<path class="quad {style}" d="M{"L".join(f"{x:.2f} {y:.2f}" for x, y in quad)}Z"/>'
        for (style, _), quad in zip(warps, np.clip(corners, -1e5, 1e5), strict=True)
    )
    box = f"{low[0]:.2f} {low[1]:.2f} {high[0] - low[0]:.2f} {high[1] - low[1]:.2f}"
    return (
        f'<svg viewBox="{box}" role="img" aria-label="input, with the windows of fp32 and {escape(name)}">'
        f'<image width="{width}" height="{height}" href="{_png(_small(pixels))}"/>{outlines}</svg>'
    )


def _picture(image: Image.Image, described: str) -> str:
    return f'<img src="{_png(image)}" alt="{escape(described)}">'


def _small(pixels: Pixels) -> Image.Image:
    """(H, W, 3) uint8 -> a picture, made smaller if it is large."""
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return image


def _png(image: Image.Image) -> str:
    """Return a picture as a data URI."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
