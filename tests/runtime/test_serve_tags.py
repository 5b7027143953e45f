"""A model that tags over the wire and on the page: the labels that `lstn infer` writes."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from browser import Browser
from command import RunLstn
from playground import Playground
from selenium.webdriver.support.ui import Select
from serving import Server, connect, outputs_of, pixels_input, png, serving, written
from tiny import Tiny
from tiny_tagger import TAGS, THRESHOLDS, tiny_tagger

from lstn.contract import Loc

HW = (24, 36)
INFER, PREDICT = "/v2/models/tagger/infer", "/v1/models/tagger:predict"
CLIENTS = [pytest.param(tritonclient.http, id="http"), pytest.param(tritonclient.grpc, id="grpc")]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_tagger(tmp_path_factory.mktemp("served") / "tagger.onnx", image_hw=HW)


@pytest.fixture(scope="module")
def server(tagger: Tiny) -> Iterator[Server]:
    classifier = written(tagger.path.with_name("classifier.onnx"))
    plain = tiny_tagger(tagger.path.with_name("plain.onnx"), image_hw=HW, loc=Loc.NONE)
    engines = [word for model in (tagger, classifier, plain) for word in ("--engine", model.path)]
    with serving(*engines, "--max-wait-ms", 0) as running:
        yield running


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Images of one colour each, which have different numbers of labels."""
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255], [40, 200, 40]], np.uint8)
    return np.broadcast_to(colours[:, None, None], (len(colours), *HW, 3)).copy()


@pytest.fixture
def files(pixels: np.ndarray, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        path.write_bytes(png(image))
    return paths


@pytest.fixture
def rows(tagger: Tiny, files: list[Path], tmp_path: Path, run_lstn: RunLstn) -> list[Any]:
    """What `lstn infer` writes of the images."""
    out = tmp_path / "rows.json"
    assert run_lstn("infer", *files, "--engine", tagger.path, "--output", out).code == 0
    rows = [row["labels"] for row in json.loads(out.read_text())]
    assert {len(row) for row in rows} >= {0, 1, 2}
    return rows


def check_labels(found: list[Any], wanted: list[Any]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert [each["label"] for each in one] == [each["label"] for each in other]
        assert [each["probability"] for each in one] == pytest.approx([each["probability"] for each in other], abs=1e-5)


@pytest.mark.parametrize("client", CLIENTS)
def test_labels_are_answered_in_binary(
    server: Server, tagger: Tiny, pixels: np.ndarray, rows: list[Any], client: ModuleType
) -> None:
    options = {"as_json": True} if client is tritonclient.grpc else {}
    told = connect(client, server).get_model_metadata("tagger", **options)
    shapes = {each["name"]: [int(size) for size in each["shape"]] for each in told["outputs"]}
    assert shapes == {"logits": [-1, len(TAGS)], "theta": [-1, 2, 3], "labels": [-1]}
    wanted = [client.InferRequestedOutput(name) for name in ("labels", "logits")]
    answer = connect(client, server).infer("tagger", [pixels_input(client, pixels)], outputs=wanted)
    np.testing.assert_allclose(answer.as_numpy("logits"), tagger.logits(pixels), atol=1e-4)
    check_labels([json.loads(text) for text in answer.as_numpy("labels")], rows)


def test_http_tells_thresholds_next_to_labels(server: Server) -> None:
    told = json.loads(server.ask("GET", "/v2/models/tagger")[2])
    (logits,) = [each for each in told["outputs"] if each["name"] == "logits"]
    assert logits["parameters"]["labels"] == list(TAGS)
    assert logits["parameters"]["thresholds"] == pytest.approx(THRESHOLDS)


def test_a_file_alone_is_answered_with_its_labels(server: Server, files: list[Path], rows: list[Any]) -> None:
    for file, wanted in zip(files, rows, strict=True):
        status, _, answer = server.ask("POST", INFER, file.read_bytes())
        assert status == 200
        outputs = outputs_of(answer)
        assert list(outputs) == ["labels"]
        check_labels([json.loads(outputs["labels"][0])], [wanted])


def test_kserve_v1_answers_labels(server: Server, files: list[Path], rows: list[Any]) -> None:
    instances = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in files]
    status, _, answer = server.ask("POST", PREDICT, json.dumps({"instances": instances}).encode())
    assert status == 200
    check_labels([each["labels"] for each in json.loads(answer)["predictions"]], rows)


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Playground]:
    """The page, on which nothing may go wrong that no test asks for."""
    yield Playground(browser, server.http)
    assert browser.messages() == []


def test_the_page_lists_all_labels_and_shows_the_crop(page: Playground, files: list[Path], rows: list[Any]) -> None:
    several = max(range(len(rows)), key=lambda number: len(rows[number]))
    Select(page.find("model")).select_by_visible_text("tagger")
    assert page.choose(files[several]) == [
        (each["label"], f"{100 * each['probability']:.1f} %") for each in rows[several]
    ]
    assert page.text("answer-title") == "Labels"
    assert page.text("facts").endswith(f"{len(TAGS)} labels")
    assert page.find("crop").is_displayed()
    assert page.text("theta").startswith("theta")
    none = next(number for number, row in enumerate(rows) if not row)
    assert page.choose(files[none])[0][0] == "No labels"
    Select(page.find("model")).select_by_visible_text("plain")
    assert not page.find("crop").is_displayed()
