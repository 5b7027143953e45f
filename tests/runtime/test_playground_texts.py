"""The playground of a reader in a real browser: the text of `lstn infer`, and its symbols drawn where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from command import RunLstn
from playground import Playground
from selenium.webdriver.support.ui import Select
from serving import Server, serving, written
from tiny import Tiny
from tiny_reader import ALPHABET, tiny_reader

from lstn.contract import Loc
from lstn.detection.suppression import Detection
from lstn.transcription.transcripts import drawn_symbols
from lstn.warps.drawn_warp import outline_px

HW = (24, 36)
LINES = "return [...document.querySelectorAll('#overlay > .quad')].map(each => each.getAttribute('points'))"
TAGS = "return [...document.querySelectorAll('#frame > .tag')].map(each => each.textContent).reverse()"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_reader(tmp_path_factory.mktemp("texts") / "reader.onnx", seed=2, image_hw=HW)


@pytest.fixture(scope="module")
def server(reader: Tiny) -> Iterator[Server]:
    classifier = written(reader.path.with_name("classifier.onnx"))
    plain = tiny_reader(reader.path.with_name("plain.onnx"), loc=Loc.NONE, image_hw=HW)
    words = tiny_reader(reader.path.with_name("words.onnx"), steps=4, seed=18, image_hw=HW, words=True)
    engines = [word for model in (reader, classifier, plain, words) for word in ("--engine", model.path)]
    with serving(*engines, "--max-wait-ms", 0) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Playground]:
    """The page, on which nothing may go wrong that no test asks for."""
    yield Playground(browser, server.http)
    assert browser.messages() == []


@pytest.fixture
def read(reader: Tiny, picture: Path, tmp_path: Path, run_lstn: RunLstn) -> dict[str, Any]:
    """What `lstn infer` writes of the picture."""
    out = tmp_path / "rows.json"
    assert run_lstn("infer", picture, "--engine", reader.path, "--output", out).code == 0
    (row,) = json.loads(out.read_text())
    assert len(row["symbols"]) > 1
    return dict(row)


def test_a_text_is_shown_and_its_symbols_are_drawn(page: Playground, picture: Path, read: dict[str, Any]) -> None:
    rows = page.choose(picture)
    symbols = read["symbols"]
    assert rows[0] == (read["text"], f"{100 * read['probability']:.1f} %")
    assert rows[1:] == [(each["label"], f"{100 * each['score']:.1f} %") for each in symbols]
    drawn = page.run(LINES)
    for points, each in zip(drawn[::2], symbols, strict=True):
        edges = outline_px(np.array(each["theta"], np.float32), HW)
        np.testing.assert_allclose(
            [float(number) for number in points.replace(",", " ").split()], edges[:, 0].ravel(), atol=1e-3
        )
    assert [tag.split()[0] for tag in page.run(TAGS)] == [each["label"] for each in symbols]
    assert page.text("answer-title") == "Text"
    assert page.text("facts").endswith(f"24 pixels, {len(ALPHABET)} symbols")
    assert page.text("explanation").startswith("The model reads up to 5 symbols.")
    assert not page.find("crop").is_displayed()
    page.wait("return document.getElementById('spoken').textContent")
    assert page.text("spoken") == ", ".join(rows[0])


def test_models_of_other_tasks_can_be_chosen_next_to_it(page: Playground, picture: Path) -> None:
    page.choose(picture)
    choice = Select(page.find("model"))
    choice.select_by_value("classifier")
    page.wait("return document.getElementById('answer-title').textContent === 'All 4 classes'")
    assert page.run(TAGS) == []
    choice.select_by_value("plain")
    page.wait("return document.getElementById('answer-title').textContent === 'Text'")
    page.wait("return document.getElementById('top').children.length === 1")
    assert page.run(TAGS) == []
    assert page.text("explanation").startswith("This model has no transformer")


def test_words_at_one_place_have_one_tag(
    page: Playground, reader: Tiny, picture: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    """The same as in the pictures of `lstn infer --warps`."""
    out = tmp_path / "words.json"
    assert run_lstn("infer", picture, "--engine", reader.path.with_name("words.onnx"), "--output", out).code == 0
    (row,) = json.loads(out.read_text())
    symbols = [Detection(each["label"], each["score"], np.array(each["theta"])) for each in row["symbols"]]
    drawn = drawn_symbols(symbols, " ")
    assert 1 < len(drawn) < len(symbols)
    page.choose(picture)
    Select(page.find("model")).select_by_value("words")
    page.wait("return document.getElementById('facts').textContent.includes('3 symbols')")
    page.wait(f"return document.getElementById('top').children.length === {len(symbols) + 1}")
    assert page.run(TAGS) == [f"{each.label} {round(100 * each.score)} %" for each in drawn]
    assert row["text"] == " ".join(each.label for each in symbols)
