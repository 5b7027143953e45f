"""The page in a real browser."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from hand_made import LABELS, MeasureByHand, untouched
from PIL import Image

from lstn.calibration.cost.cost_page import cost_page
from lstn.calibration.cost.lowering_cost import ClassifierCost
from lstn.contract import Loc
from lstn.imaging.framing import outside_of
from lstn.warps.warp import landmarks_px, warp

NAMES = ("int8", "<b>fp16")


def coarse(weights: dict[str, np.ndarray]) -> None:
    for name in weights:
        weights[name] = np.round(weights[name], 1)


@pytest.fixture
def costs(measure_by_hand: MeasureByHand) -> dict[str, ClassifierCost]:
    labels = (*LABELS[:-1], "<script>alert(1)</script>")
    return dict(zip(NAMES, (measure_by_hand(edit, labels=labels) for edit in (coarse, untouched)), strict=True))


@pytest.fixture
def html(costs: dict[str, ClassifierCost], tmp_path: Path) -> Path:
    path = tmp_path / "cost.html"
    path.write_text(cost_page(costs), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_an_error_and_without_overflow(html: Path, browser: Browser, width: int, scheme: str) -> None:
    browser.show(html, width=width, scheme=scheme)
    assert browser.messages() == []
    assert browser.run("return document.documentElement.scrollWidth") == width
    fetched = browser.run("return performance.getEntriesByType('resource').map(each => each.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    headings = browser.run("return [...document.querySelectorAll('h2')].map(each => each.textContent)")
    assert headings == ["At a glance", "Mind", *(f"fp32 against {name}" for name in NAMES)]
    broken = browser.run("return [...document.images].filter(each => each.naturalWidth == 0).length")
    assert broken == 0
    assert browser.cut_off_words() == []


def test_it_prints_within_the_paper_and_whole(html: Path, browser: Browser) -> None:
    browser.show(html, width=718, scheme="dark", media="print")  # A4 at 96 dpi with 10 mm margins
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert browser.run("return document.documentElement.scrollWidth") == 718
    heights = browser.run(
        "return [...document.querySelectorAll('.long')].map(each => getComputedStyle(each).maxHeight)"
    )
    assert heights == ["none"] * len(NAMES)  # what scrolls on a screen is whole on paper


def test_the_worst_are_shown_beside_both_warps(costs: dict[str, ClassifierCost], html: Path, browser: Browser) -> None:
    browser.show(html, width=1280, scheme="light")
    cost = costs["int8"]
    warped = browser.run("return [...document.querySelectorAll('.three img')].map(each => each.src)")
    inputs = browser.run("return [...document.querySelectorAll('.three image')].map(each => each.href.baseVal)")
    assert (len(inputs), len(warped)) == (20, 40)
    for index, case in enumerate(cost.worst):
        assert case.reference_theta is not None
        assert case.lowered_theta is not None
        shown = [inputs[index], *warped[2 * index : 2 * index + 2]]
        outside = outside_of(cost.contract.mean)
        warped_by = [warp(case.pixels, theta, outside) for theta in (case.reference_theta, case.lowered_theta)]
        wanted = [case.pixels, *warped_by]
        for uri, pixels in zip(shown, wanted, strict=True):
            data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    path = browser.run("return document.querySelector('path.after').getAttribute('d')")
    drawn = np.array([pair.split() for pair in re.findall(r"[ML]([^LZ]+)", path)], float)
    first = cost.worst[0]
    assert first.lowered_theta is not None
    np.testing.assert_allclose(drawn, landmarks_px(first.lowered_theta[None], cost.contract.image_hw)[0], atol=0.01)


def test_captions_say_what_each_model_says(costs: dict[str, ClassifierCost], html: Path, browser: Browser) -> None:
    browser.show(html, width=1280, scheme="light")
    captions = browser.run(
        "return [...document.querySelectorAll('figure:has(.three) figcaption')].map(each => each.textContent)"
    )
    cost = costs["int8"]
    for caption, case in zip(captions, cost.worst, strict=False):
        images, labels = cost.per_image, cost.contract.labels
        label, before, after = (labels[c[case.place]] for c in (images.label, images.reference, images.lowered))
        assert images.drift_px is not None
        assert caption.startswith(f"Image {images.index[case.place]}: drift {images.drift_px[case.place]:.3g} px")
        assert (f"both say {before}" if before == after else f"fp32 says {before}, int8 {after}") in caption
        assert ("right" if label == before == after else f"it is {label}") in caption


def test_bars_are_in_proportion_to_their_db(costs: dict[str, ClassifierCost], html: Path, browser: Browser) -> None:
    browser.show(html, width=1280, scheme="light")
    rows = browser.run("""
        return [...document.querySelectorAll('table.levels')[0].querySelectorAll('tbody tr')].map(row => [
            row.cells[0].textContent, row.cells[1].textContent, row.cells[2].textContent,
            row.querySelector('i').getBoundingClientRect().width / row.querySelector('span').clientWidth])""")
    noisy = {layer.node: layer for layer in costs["int8"].layers if layer.output_db != np.inf}
    assert [row[0] for row in rows] == list(noisy)
    measured = {name: layer.own_db for name, layer in noisy.items() if layer.own_db != np.inf}
    longest = max(db for db in measured.values() if db is not None)
    for name, own, output, share in rows:
        assert share == pytest.approx(min(1, (noisy[name].own_db or 0) / longest), abs=0.01), name
        assert own == ("exact" if noisy[name].own_db == np.inf else f"{noisy[name].own_db:.1f}")
        assert output == f"{noisy[name].output_db:.1f}"


def test_without_a_transformer_nothing_is_said_of_a_warp(
    measure_by_hand: MeasureByHand, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "none.html"
    path.write_text(cost_page({"fp16": measure_by_hand(coarse, loc=Loc.NONE)}), encoding="utf-8")
    browser.show(path, width=390, scheme="light")
    text = browser.run("return document.body.textContent")
    assert "drift" not in text.lower()
    assert "warp" not in text.lower()
    assert browser.run("return document.querySelectorAll('.one img').length") == 10
    assert browser.run("return document.documentElement.scrollWidth") == 390
