"""The playground in a real browser: what it shows is what lstn computes from the same picture."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from command import RunLstn
from PIL import Image, PngImagePlugin
from playground import EMPTY, Playground, photo
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import Select
from serving import Server, serving, written
from tiny import Tiny, proto_of
from tiny_fixtures import tiny_at

from lstn.contract import Fit, Loc
from lstn.evaluation.answer import softmax
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.images import Pixels, decode
from lstn.imaging.framing import framing_of
from lstn.warps.warp import crop_image, landmarks_px, sampling_of

LABELS = ("ant", "bee", "<img src=x onerror=alert(1)>", "dog", "Ölfaß", "fox", "gnu")
HW = (24, 36)  # oblong, so that no height passes for a width
CROP_HW = (5, 20)  # two rows of points make a row


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = tiny_at(tmp_path_factory.mktemp("wide") / "wide.onnx", loc=Loc.LSTN, labels=LABELS, seed=3)
    contract = replace(tiny.contract, image_hw=HW, crop_hw=CROP_HW)
    tiny = replace(tiny, contract=contract, theta_weights=tiny.theta_weights * 2)
    tiny.path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny


@pytest.fixture(scope="module")
def both(wide: Tiny) -> Iterator[Server]:
    """`wide`, and `plain`, which has no transformer."""
    plain = wide.path.with_name("plain.onnx")
    written(plain, loc=Loc.NONE)
    with serving("--engine", wide.path, "--engine", plain, "--max-wait-ms", 0) as running:
        yield running


@pytest.fixture
def page(browser: Browser, both: Server) -> Iterator[Playground]:
    """The page, on which nothing may go wrong that no test asks for."""
    yield Playground(browser, both.http)
    assert browser.messages() == []


def check_answer(page: Playground, model: Tiny, seen: Pixels) -> None:
    """All that is shown is what the model says of what is shown as its input."""
    rows = page.shown()
    probabilities = softmax(model.logits(seen[None]))[0]
    best = np.argsort(-probabilities)[:5]
    assert [label for label, _ in rows] == [LABELS[index] for index in best]
    shares = [float(share.removesuffix(" %")) for _, share in rows]
    np.testing.assert_allclose(shares, probabilities[best] * 100, atol=0.06)
    theta = model.theta(seen[None])
    np.testing.assert_allclose(page.theta(), theta, atol=6e-4)
    np.testing.assert_allclose(page.line("outline"), landmarks_px(theta, HW)[0], atol=1e-3)
    corner = ", ".join(str(int(np.floor(place + 0.5))) for place in landmarks_px(theta, HW)[0, 0])
    assert page.find("input").accessible_name.startswith(f"Input. Corners of the quadrilateral, in pixels: {corner}; ")
    wanted = crop_image(seen, theta[0], sampling_of(model.contract))
    assert wanted.shape == (*CROP_HW, 3)
    np.testing.assert_allclose(page.pixels("crop").astype(int), wanted.astype(int), atol=1)


@pytest.mark.parametrize(
    ("name", "mode", "within"),
    [
        ("a.png", "RGB", 0),
        ("a.png", "L", 0),
        ("a.png", "RGBA", 1),  # alpha is composited before the canvas rounds, or after
        ("a.bmp", "RGB", 0),
        ("a.gif", "P", 0),
        ("a.jpg", "RGB", 4),  # decoders differ
        ("a.webp", "RGB", 4),
    ],
)
@pytest.mark.parametrize("size", [(97, 131), (5, 300)])
def test_a_picture_becomes_the_pixels_that_lstn_decodes(
    page: Playground, wide: Tiny, tmp_path: Path, name: str, mode: str, within: int, size: tuple[int, int]
) -> None:
    photo(*size, mode=mode).save(tmp_path / name)
    page.choose(tmp_path / name)
    wanted = decode(tmp_path / name, HW)
    np.testing.assert_allclose(page.pixels("input").astype(int), wanted.astype(int), atol=within)
    check_answer(page, wide, page.pixels("input"))


@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.CENTRE])
def test_a_picture_is_fitted_as_the_model_wants_it(browser: Browser, wide: Tiny, tmp_path: Path, fit: Fit) -> None:
    model = replace(wide, path=tmp_path / "fitted.onnx", contract=replace(wide.contract, fit=fit))
    model.path.write_bytes(proto_of(model).SerializeToString())
    with serving("--engine", model.path, "--max-wait-ms", 0) as running:
        page = Playground(browser, running.http)
        for height, width in ((97, 131), (5, 300), (131, 97), (301, 7), (24, 36), (12, 90)):
            photo(height, width).save(tmp_path / f"{height}.png")
            page.choose(tmp_path / f"{height}.png")
            wanted = decode(tmp_path / f"{height}.png", HW, framing=framing_of(model.contract))
            np.testing.assert_array_equal(page.pixels("input"), wanted)
            check_answer(page, model, wanted)
    assert browser.messages() == []


def test_a_photo_stands_upright(page: Playground, picture: Path, tmp_path: Path) -> None:
    page.choose(picture)
    file = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(mode="L").convert("RGB").save(file, exif=exif)
    page.choose(file)
    np.testing.assert_array_equal(page.pixels("input"), decode(file, HW))
    assert page.pixels("source").shape == (131, 97, 3)


def test_what_a_file_says_of_its_colours_is_ignored_as_in_training(page: Playground, tmp_path: Path) -> None:
    linear = PngImagePlugin.PngInfo()
    linear.add(b"gAMA", (100_000).to_bytes(4, "big"))
    file = tmp_path / "linear.png"
    photo().save(file, pnginfo=linear)
    page.choose(file)
    np.testing.assert_array_equal(page.pixels("input"), decode(file, HW))


def test_the_answer_is_that_of_lstn_infer(
    page: Playground, wide: Tiny, picture: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    rows = page.choose(picture)
    out = tmp_path / "rows.csv"
    assert run_lstn("infer", picture, "--engine", wide.path, "--top", 5, "--output", out).code == 0
    (row,) = csv.DictReader(out.open(encoding="utf-8"))
    told = [(row[f"label{end}"], row[f"probability{end}"]) for end in ("", "_2", "_3", "_4", "_5")]
    assert rows == [(label, f"{float(share) * 100:.1f} %") for label, share in told]


@pytest.mark.parametrize(
    ("slider", "value", "disturbance"),
    [
        ("turn", 35, Disturbance(Kind.ROTATE, 35)),
        ("turn", -120, Disturbance(Kind.ROTATE, -120)),
        ("scale", 0.4, Disturbance(Kind.SCALE, 0.4)),
        ("scale", 1.7, Disturbance(Kind.SCALE, 1.7)),
        ("right", 25, Disturbance(Kind.SHIFT, 0.25)),  # image number 0 goes to the right
    ],
)
def test_a_slider_disturbs_as_lstn_evaluate_does(
    page: Playground, wide: Tiny, picture: Path, slider: str, value: float, disturbance: Disturbance
) -> None:
    page.choose(picture)
    before = page.theta()
    page.slide(**{slider: value})
    page.shown()
    seen = page.pixels("input")
    wanted = disturbance.apply(decode(picture, HW), 0)
    np.testing.assert_allclose(seen.astype(int), wanted.astype(int), atol=1)
    assert np.abs(page.theta() - before).max() > 0.01
    check_answer(page, wide, seen)


def test_sliders_turn_then_scale_then_shift_and_reset(page: Playground, wide: Tiny, picture: Path) -> None:
    page.choose(picture)
    page.slide(turn=30, scale=0.5, right=20, down=-10)
    page.shown()
    seen, (height, width) = page.pixels("input"), HW
    # Where a pixel of the input comes from, one step after the other, in pixels: the shift is undone first.
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = x - width / 2 - 0.2 * width, y - height / 2 + 0.1 * height
    x, y = x / 0.5, y / 0.5
    angle = np.deg2rad(30)
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    inside = (abs(x) < width / 2 - 1) & (abs(y) < height / 2 - 1)
    outside = (abs(x) > width / 2 + 1) | (abs(y) > height / 2 + 1)
    assert inside.sum() > 100
    assert not seen[outside].any()
    column, row = x[inside] + width / 2 - 0.5, y[inside] + height / 2 - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    dx, dy = (column - left)[:, None], (row - top)[:, None]
    source = decode(picture, HW).astype(float)
    above = source[top, left] * (1 - dx) + source[top, left + 1] * dx
    below = source[top + 1, left] * (1 - dx) + source[top + 1, left + 1] * dx
    np.testing.assert_allclose(seen[inside], above * (1 - dy) + below * dy, atol=0.51)
    assert [page.run(f"return document.querySelector('#{name} + output').textContent") for name in
            ("turn", "scale", "right", "down")] == ["30°", "0.50 \u00d7", "20 %", "-10 %"]  # fmt: skip
    page.find("reset").click()
    page.shown()
    np.testing.assert_array_equal(page.pixels("input"), decode(picture, HW))
    check_answer(page, wide, page.pixels("input"))


def test_a_digit_is_drawn_by_mouse(page: Playground, wide: Tiny) -> None:
    canvas = page.find("source")
    mouse = ActionChains(page.browser.driver, duration=20)
    mouse.move_to_element_with_offset(canvas, -60, -90).click_and_hold().move_by_offset(120, 0)
    mouse.move_by_offset(-40, 160).release().move_by_offset(60, 0).perform()
    page.shown()
    drawn = page.pixels("source")
    white = np.argwhere(drawn[..., 0] > 128)
    np.testing.assert_allclose(white.min(axis=0), (39, 69), atol=3)  # a pen of 22, which reaches 11 beyond its middle
    np.testing.assert_allclose(white.max(axis=0), (220, 210), atol=3)
    resized = np.asarray(Image.fromarray(drawn).resize((HW[1], HW[0]), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(page.pixels("input"), resized)
    check_answer(page, wide, resized)
    page.find("blank").click()
    page.wait(EMPTY)
    assert not page.pixels("source").any()
    assert page.find("hint").is_displayed()


def test_a_digit_is_drawn_by_finger(page: Playground, wide: Tiny) -> None:
    box = page.find("source").rect
    send = page.browser.driver.execute_cdp_cmd
    for kind, places in (("touchStart", [(0.5, 0.2)]), ("touchMove", [(0.5, 0.5)]), ("touchMove", [(0.5, 0.8)])):
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places]
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.shown()
    white = page.pixels("source")[..., 0] > 128
    assert white[60:220, 140].all()
    assert not white[:, :120].any()
    assert page.run("return scrollY") == 0  # the finger drew, and didn't scroll
    check_answer(page, wide, page.pixels("input"))


def test_everything_is_done_by_keyboard(page: Playground, wide: Tiny, picture: Path) -> None:
    page.wait("return !document.getElementById('model').disabled")
    order = [page.tab() for _ in range(10)]
    assert order == ["model", "source", "file", "camera", "blank", "reset", "turn", "scale", "right", "down"]
    for name in reversed(order[:-1]):  # each shows that it has the focus, and has a name
        assert page.tab(back=True) == name
        marked = "document.querySelector('label.button')" if name == "file" else "document.activeElement"
        assert page.run(f"return getComputedStyle({marked}).outlineStyle") == "solid"
        assert page.find(name).accessible_name
    page.tab()
    assert page.find("pen").is_displayed()
    page.press(Keys.SPACE, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.SPACE, Keys.ARROW_LEFT * 5)
    rows = page.shown()
    white = np.argwhere(page.pixels("source")[..., 0] > 128)
    np.testing.assert_allclose([*white.min(axis=0), *white.max(axis=0)], (129, 129, 160, 160), atol=2)
    check_answer(page, wide, page.pixels("input"))
    page.wait("return document.getElementById('spoken').textContent")
    assert page.text("spoken") == ", ".join(rows[0])
    assert page.find("spoken").get_attribute("aria-live") == "polite"
    before = page.theta()
    while page.tab() != "scale":
        pass
    page.press(*[Keys.ARROW_LEFT] * 30)
    assert page.find("scale").get_attribute("aria-valuetext") == "0.70 \u00d7"
    assert np.abs(page.theta() - before).max() > 0.001


def test_a_model_without_transformer_has_no_quadrilateral_and_says_so(
    page: Playground, both: Server, wide: Tiny, picture: Path
) -> None:
    page.choose(picture)
    choice = Select(page.find("model"))
    assert [option.text for option in choice.options] == ["wide", "plain"]
    assert page.find("overlay").is_displayed()
    choice.select_by_value("plain")
    page.wait("return document.getElementById('facts').textContent.startsWith('8 \u00d7 8 pixels, 4 classes')")
    assert [label for label, _ in page.shown()] != list(LABELS[:4])
    assert page.text("answer-title") == "All 4 classes"
    assert "no transformer" in page.text("explanation")
    assert not page.find("overlay").is_displayed()
    assert not page.find("crop").is_displayed()
    np.testing.assert_array_equal(page.pixels("input"), decode(picture, (8, 8)))
    choice.select_by_value("wide")
    page.wait("return document.getElementById('facts').textContent.startsWith('36 \u00d7 24 pixels, 7 classes')")
    check_answer(page, wide, decode(picture, HW))
    assert page.find("overlay").is_displayed()
    assert page.find("crop").is_displayed()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_asks_nobody_else(browser: Browser, both: Server, picture: Path, width: int, scheme: str) -> None:
    page = Playground(browser, both.http, width=width, scheme=scheme)
    page.choose(picture)
    assert page.run("return document.documentElement.scrollWidth") == width
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    fetched = page.run("return performance.getEntriesByType('resource').map(each => each.name)")
    own = f"http://{both.http}/v2/models"
    assert {name for name in fetched if not name.startswith("data:")} == {own, f"{own}/wide", f"{own}/wide/infer"}
    small = page.run("""
        return [...document.querySelectorAll('button, .button, select, input[type=range]')]
            .filter(each => each.checkVisibility() && each.getBoundingClientRect().height < 32).map(each => each.id)""")
    assert small == []  # a thumb hits them
    assert browser.messages() == []
    assert "Latency " in page.text("latency")
