"""The playground of a detector in a real browser: the objects of `lstn infer`, drawn where they are and listed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from command import RunLstn
from PIL import Image
from playground import Playground
from selenium.webdriver.support.ui import Select
from serving import Server, serving, written
from tiny import Tiny
from tiny_detector import CLASSES, tiny_detector

from lstn.warps.drawn_warp import outline_px

HW = (24, 36)  # oblong, so that no height passes for a width
LINES = "return [...document.querySelectorAll('#overlay > .quad')].map(each => each.getAttribute('points'))"
TAGS = "return [...document.querySelectorAll('#frame > .tag')].map(each => each.textContent).reverse()"
REACH = """
    const frame = document.getElementById('frame').getBoundingClientRect();
    return [...document.querySelectorAll('#frame > .tag')].map(each => each.getBoundingClientRect()).every(
        box => box.left >= frame.left && box.right <= frame.right && box.top >= frame.top)"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_detector(tmp_path_factory.mktemp("objects") / "detector.onnx", image_hw=HW)


@pytest.fixture(scope="module")
def server(detector: Tiny) -> Iterator[Server]:
    classifier = written(detector.path.with_name("classifier.onnx"))
    with serving("--engine", detector.path, "--engine", classifier.path, "--max-wait-ms", 0) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Playground]:
    """The page, on which nothing may go wrong that no test asks for."""
    yield Playground(browser, server.http)
    assert browser.messages() == []


@pytest.fixture
def objects(detector: Tiny, picture: Path, tmp_path: Path, run_lstn: RunLstn) -> list[dict[str, Any]]:
    """What `lstn infer` writes of the picture."""
    out = tmp_path / "rows.json"
    assert run_lstn("infer", picture, "--engine", detector.path, "--output", out).code == 0
    (row,) = json.loads(out.read_text())
    assert len(row["objects"]) > 2
    assert len({each["label"] for each in row["objects"]}) > 1
    return list(row["objects"])


def edges_of(found: dict[str, Any]) -> np.ndarray:
    return outline_px(np.array(found["theta"], np.float32), HW)


def test_objects_are_drawn_and_listed(page: Playground, picture: Path, objects: list[dict[str, Any]]) -> None:
    rows = page.choose(picture)
    assert rows == [(each["label"], f"{100 * each['score']:.1f} %") for each in objects]
    drawn = page.run(LINES)
    assert len(drawn) == 2 * len(objects)
    pairs = zip(drawn[::2], drawn[1::2], objects, strict=True)
    for around, top, found in pairs:
        edges = edges_of(found)
        np.testing.assert_allclose(numbers(around), edges[:, 0].ravel(), atol=1e-3)
        np.testing.assert_allclose(numbers(top), edges[0].ravel(), atol=1e-3)
    assert page.run(TAGS) == [f"{each['label']} {np.floor(100 * each['score'] + 0.5):.0f} %" for each in objects]
    assert page.run(REACH)
    assert not page.find("crop").is_displayed()
    assert page.text("theta") == ""
    assert page.text("answer-title") == "Objects"
    assert page.text("explanation").startswith("The model looked at 12 places.")
    first = ", ".join(str(int(np.floor(place + 0.5))) for place in edges_of(objects[0])[0, 0])
    told = f"Input. Corners of the quadrilateral, in pixels: {objects[0]['label']}: {first}; "
    assert page.find("input").accessible_name.startswith(told)
    page.wait("return document.getElementById('spoken').textContent")
    assert page.text("spoken") == f"{len(objects)} objects: {'; '.join(', '.join(row) for row in rows)}"


def numbers(points: str) -> list[float]:
    return [float(number) for number in points.replace(",", " ").split()]


def test_a_picture_without_objects_says_so(page: Playground, picture: Path, tmp_path: Path) -> None:
    """A black one: all classes, and nothing, are as likely, and that is less than an object needs."""
    assert 1 / (len(CLASSES) + 1) < 0.3
    page.choose(picture)
    Image.new("RGB", (9, 9)).save(tmp_path / "black.png")
    assert page.choose(tmp_path / "black.png") == [("No objects", "")]
    assert page.run(TAGS) == []
    assert not page.find("overlay").is_displayed()
    page.wait("return document.getElementById('spoken').textContent === 'No objects'")


def test_a_slider_moves_the_objects(page: Playground, picture: Path) -> None:
    before = page.choose(picture)
    page.slide(scale=0.4)
    assert page.shown() != before


def test_nothing_of_a_detector_stays_when_a_classifier_is_chosen(
    page: Playground, picture: Path, objects: list[dict[str, Any]]
) -> None:
    page.choose(picture)
    choice = Select(page.find("model"))
    choice.select_by_value("classifier")
    page.wait("return document.getElementById('answer-title').textContent === 'All 4 classes'")
    assert len(page.shown()) == 4
    assert page.run(TAGS) == []
    assert len(page.run(LINES)) == 2
    assert page.find("crop").is_displayed()
    choice.select_by_value("detector")
    page.wait("return document.getElementById('answer-title').textContent === 'Objects'")
    assert [label for label, _ in page.shown()] == [each["label"] for each in objects]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(browser: Browser, server: Server, picture: Path, width: int, scheme: str) -> None:
    page = Playground(browser, server.http, width=width, scheme=scheme)
    page.choose(picture)
    assert page.run("return document.documentElement.scrollWidth") == width
    assert page.run(REACH)
    assert browser.messages() == []


def test_labels_that_the_page_does_not_know_are_looked_up(page: Playground, picture: Path) -> None:
    page.choose(picture)
    fits = "return fits({ objects: [{ label: '%s', score: 1, theta: [[1, 0, 0], [0, 1, 0]] }] })"
    assert page.run(fits % CLASSES[0])
    assert not page.run(fits % "gnu")
