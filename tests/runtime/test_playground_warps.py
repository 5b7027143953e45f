"""The playground's warps of every form: where they read, what they crop, and what the page says of them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from playground import Playground, photo
from selenium.webdriver.support.ui import Select
from serving import Server, serving
from tiny import Tiny, proto_of
from tiny_fixtures import LABELS, tiny_at

from lstn.contract import Contract, Loc, ThetaForm
from lstn.warps.drawn_warp import outline_px
from lstn.warps.warp import CropSampling, Theta, crop_image, identity_theta, sampling_of

HW = (24, 36)
CROP_HW = (5, 20)
NEWER = (ThetaForm.PROJECTIVE, ThetaForm.TPS, ThetaForm.POLAR)
OUTSIDE = (200, 30, 90)
WORDS = {
    ThetaForm.PROJECTIVE: (
        "The transformer chose the quadrilateral; its top is orange.",
        "Corners of the quadrilateral",
    ),
    ThetaForm.TPS: ("The transformer chose the curved outline; its top is orange.", "Corners of the curved outline"),
    ThetaForm.POLAR: ("The transformer chose the disc.", "Left, upper, right and lower end of the disc"),
}
LINES = {ThetaForm.PROJECTIVE: [3, 3, 3], ThetaForm.TPS: [8, 8, 8, 8], ThetaForm.POLAR: [3, 3]}
"""How many numbers of theta stand in each line of text."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[ThetaForm, Tiny]:
    folder, made = tmp_path_factory.mktemp("forms"), {}
    for form in NEWER:
        tiny = tiny_at(folder / f"{form.value}.onnx", loc=Loc.LSTN, labels=LABELS, seed=3, form=form)
        contract = replace(tiny.contract, image_hw=HW, crop_hw=CROP_HW)
        made[form] = replace(tiny, contract=contract, theta_weights=tiny.theta_weights / 2)
        tiny.path.write_bytes(proto_of(made[form]).SerializeToString())
    return made


@pytest.fixture(scope="module")
def two_warps(models: dict[ThetaForm, Tiny]) -> Tiny:
    one = models[ThetaForm.PROJECTIVE]
    weights = np.hstack([one.theta_weights, -one.theta_weights])
    contract = replace(one.contract, warps=2)
    tiny = replace(one, path=one.path.with_name("two.onnx"), contract=contract, theta_weights=weights)
    tiny.path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny


@pytest.fixture(scope="module")
def all_forms(models: dict[ThetaForm, Tiny], two_warps: Tiny) -> Iterator[Server]:
    engines = [argument for tiny in (*models.values(), two_warps) for argument in ("--engine", tiny.path)]
    with serving(*engines, "--max-wait-ms", 0) as running:
        yield running


@pytest.fixture
def page(browser: Browser, all_forms: Server) -> Iterator[Playground]:
    yield Playground(browser, all_forms.http)
    assert browser.messages() == []


def random_thetas(form: ThetaForm, count: int) -> list[Theta]:
    """The identity, and others around it that reach out of the picture; perspectives leave a tenth of the depth."""
    random, identity = np.random.default_rng(7), identity_theta(form)
    drawn = [identity + random.normal(0, 0.4, identity.shape) for _ in range(count)]
    if form is ThetaForm.PROJECTIVE:
        for theta in drawn:
            theta[2] = [*random.uniform(-0.45, 0.45, 2), 1]
    return [identity, *(theta.astype(np.float32) for theta in drawn)]


def listed(thetas: list[Theta]) -> str:
    return json.dumps([theta.ravel().tolist() for theta in thetas])


@pytest.mark.parametrize("form", ThetaForm)
@pytest.mark.parametrize("crop_hw", [HW, CROP_HW, (3, 2)])
def test_a_crop_is_that_of_lstn(page: Playground, form: ThetaForm, crop_hw: tuple[int, int]) -> None:
    pixels, thetas = np.array(photo(*HW)), random_thetas(form, 12)
    sampling = CropSampling(OUTSIDE, crop_hw, form)
    model = json.dumps({"form": form.value, "outside": OUTSIDE, "crop": crop_hw})
    found = page.run(f"""
        const image = {{ height: {HW[0]}, width: {HW[1]}, data: new Uint8Array({pixels.ravel().tolist()}) }};
        return {listed(thetas)}.map(theta => [...cropped(image, theta, {model}).data]);""")
    wanted = [crop_image(pixels, theta, sampling) for theta in thetas]
    np.testing.assert_allclose(np.reshape(found, (len(thetas), *crop_hw, 3)), np.array(wanted, int), atol=1)


@pytest.mark.parametrize("form", ThetaForm)
def test_an_outline_is_that_of_lstn(page: Playground, form: ThetaForm) -> None:
    thetas = random_thetas(form, 40)
    size = f"{{ height: {HW[0]}, width: {HW[1]} }}"
    found = page.run(f"return {listed(thetas)}.map(theta => outline(theta, '{form.value}', {size}))")
    wanted = [outline_px(theta, HW, form) for theta in thetas]
    np.testing.assert_allclose(found, wanted, atol=1e-2, rtol=0)


@pytest.mark.parametrize("form", NEWER)
def test_a_page_shows_what_the_model_answers(
    page: Playground, models: dict[ThetaForm, Tiny], picture: Path, form: ThetaForm
) -> None:
    page.wait("return !document.getElementById('model').disabled")
    Select(page.find("model")).select_by_value(form.value)
    page.choose(picture)
    seen, contract = page.pixels("input"), models[form].contract
    (theta,) = models[form].theta(seen[None])
    (shown,) = page.theta(*contract.theta_shape)
    np.testing.assert_allclose(shown, theta, atol=6e-4)
    lines = page.text("theta").removeprefix("theta").split("\n")
    assert [len(line.replace(",", " ").split()) for line in lines] == LINES[form]
    check_picture(page, contract, seen, theta)


def check_picture(page: Playground, contract: Contract, seen: np.ndarray, theta: Theta) -> None:
    edges = outline_px(theta, HW, contract.theta)
    np.testing.assert_allclose(page.line("outline"), edges[:, :-1].reshape(-1, 2), atol=1e-2)
    np.testing.assert_allclose(page.line("top-edge"), edges[0], atol=1e-2)
    wanted = crop_image(seen, theta, sampling_of(contract)).astype(int)
    np.testing.assert_allclose(page.pixels("crop").astype(int), wanted, atol=1)
    explained, points = WORDS[contract.theta]
    assert page.text("explanation").startswith(explained)
    first = ", ".join(str(int(np.floor(place + 0.5))) for place in edges[0, 0])
    assert page.find("input").accessible_name.startswith(f"Input. {points}, in pixels: {first}; ")


def test_a_page_shows_every_warp_and_every_crop(page: Playground, two_warps: Tiny, picture: Path) -> None:
    page.wait("return !document.getElementById('model').disabled")
    Select(page.find("model")).select_by_value("two")
    page.choose(picture)
    seen, contract = page.pixels("input"), two_warps.contract
    (thetas,) = two_warps.theta(seen[None])
    assert thetas.shape == (2, 3, 3)
    drawn = page.run(
        "return [...document.querySelectorAll('#overlay > .quad')].map(each => each.getAttribute('points'))"
    )
    outline, top, other, other_top = (
        [float(number) for number in points.replace(",", " ").split()] for points in drawn
    )
    for theta, around, first in zip(thetas, (outline, other), (top, other_top), strict=True):
        edges = outline_px(theta, HW, contract.theta)
        np.testing.assert_allclose(around, edges[:, :-1].ravel(), atol=1e-2)
        np.testing.assert_allclose(first, edges[0].ravel(), atol=1e-2)
    wanted = crop_image(seen, thetas, sampling_of(contract)).astype(int)
    assert wanted.shape == (CROP_HW[0], 2 * CROP_HW[1], 3)
    np.testing.assert_allclose(page.pixels("crop").astype(int), wanted, atol=1)
    assert len(page.text("theta").split("\n")) == 6
    assert page.text("explanation").startswith("The transformer chose 2 places; the top of each is orange.")
    Select(page.find("model")).select_by_value("projective")  # one outline again
    page.wait("return !document.querySelector('#overlay > .other')")


def test_an_outline_that_reaches_infinity_is_not_drawn(page: Playground) -> None:
    """The depth of a corner is zero: nothing is drawn there, and the browser doesn't complain of its numbers."""
    page.wait("return !document.getElementById('model').disabled")
    drawn = """
        showOutlines([outline([1, 0, 0, 0, 1, 0, 0.5, %s, 1], 'projective', { height: 8, width: 8 })], 'projective');
        return [document.getElementById('overlay').checkVisibility(), document.getElementById('input').ariaLabel];"""
    shown, label = page.run(drawn % "0.4")  # at once: the page itself may clear what it shows
    assert shown
    assert label.startswith("Input. Corners of the quadrilateral")
    assert page.run(drawn % "0.5") == [False, "Input"]
