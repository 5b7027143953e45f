"""A detector over the wire: its raw regions, and its objects as `lstn infer` writes them."""

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
from command import RunLstn
from serving import Server, body_of, connect, files_input, outputs_of, pixels_input, png, serving, written
from tiny import SIDE, Tiny
from tiny_detector import CLASSES, tiny_detector
from tritonclient.utils import InferenceServerException

from lstn.contract import Task
from lstn.detection.suppression import SHOWN_SCORE, detections
from lstn.runtime.serving.requests import request as request_module

REGIONS = 12
INFER, PREDICT = "/v2/models/detector/infer", "/v1/models/detector:predict"
CLIENTS = [pytest.param(tritonclient.http, id="http"), pytest.param(tritonclient.grpc, id="grpc")]
SHAPES = {"logits": [-1, REGIONS, len(CLASSES) + 1], "theta": [-1, REGIONS, 2, 3], "objects": [-1]}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_detector(tmp_path_factory.mktemp("served") / "detector.onnx", regions=REGIONS)


@pytest.fixture(scope="module")
def server(detector: Tiny) -> Iterator[Server]:
    classifier = written(detector.path.with_name("classifier.onnx"))
    with serving("--engine", detector.path, "--engine", classifier.path, "--max-batch", 2, "--max-wait-ms", 0) as ran:
        yield ran
        assert ran.stop() == (0, "")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Images of one colour each, in which the detector finds more and fewer objects."""
    colours = np.random.default_rng(4).integers(0, 256, (5, 1, 1, 3), np.uint8)
    return np.tile(colours, (1, SIDE, SIDE, 1))


@pytest.fixture
def rows(detector: Tiny, pixels: np.ndarray, tmp_path: Path, run_lstn: RunLstn) -> list[Any]:
    """What `lstn infer` writes of the images."""
    files = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for file, image in zip(files, pixels, strict=True):
        file.write_bytes(png(image))
    out = tmp_path / "rows.json"
    assert run_lstn("infer", *files, "--engine", detector.path, "--output", out).code == 0
    rows = [row["objects"] for row in json.loads(out.read_text())]
    assert sum(map(len, rows)) > len(pixels)
    assert len(set(map(len, rows))) > 1
    return rows


def check_objects(found: list[Any], wanted: list[Any]) -> None:
    """Batches of another size may round the last digit otherwise."""
    assert [[each["label"] for each in image] for image in found] == [
        [each["label"] for each in image] for image in wanted
    ]
    for one, other in zip(
        (each for row in found for each in row), (each for row in wanted for each in row), strict=True
    ):
        assert list(one) == list(other) == ["label", "score", "box", "theta"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        np.testing.assert_allclose(one["box"], other["box"], atol=1e-5)
        np.testing.assert_allclose(one["theta"], other["theta"], atol=1e-5)


@pytest.mark.parametrize("client", CLIENTS)
def test_its_outputs_are_told(server: Server, client: ModuleType) -> None:
    options = {"as_json": True} if client is tritonclient.grpc else {}
    told = connect(client, server).get_model_metadata("detector", **options)
    assert {each["name"]: [int(size) for size in each["shape"]] for each in told["outputs"]} == SHAPES
    config = connect(client, server).get_model_config("detector", **options)
    outputs = {each["name"]: each for each in config.get("config", config)["output"]}
    assert {name: [-1, *map(int, each.get("dims", []))] for name, each in outputs.items()} == SHAPES
    assert outputs["objects"]["data_type"] == "TYPE_STRING"


@pytest.mark.parametrize("client", CLIENTS)
def test_raw_regions_and_objects_are_answered_in_binary(
    server: Server, detector: Tiny, pixels: np.ndarray, rows: list[Any], client: ModuleType
) -> None:
    names = ("objects", "theta", "logits")
    wanted = [client.InferRequestedOutput(name) for name in names]
    answer = connect(client, server).infer("detector", [pixels_input(client, pixels)], outputs=wanted)
    logits, theta = answer.as_numpy("logits"), answer.as_numpy("theta")
    assert logits.shape == (len(pixels), REGIONS, len(CLASSES) + 1)
    assert theta.shape == (len(pixels), REGIONS, 2, 3)
    np.testing.assert_allclose(logits, detector.logits(pixels), atol=1e-4)
    np.testing.assert_allclose(theta, detector.theta(pixels), atol=1e-4)
    found = [json.loads(text) for text in answer.as_numpy("objects")]
    exact = [detections(*each, CLASSES, least=SHOWN_SCORE) for each in zip(logits, theta, strict=True)]
    assert found == json.loads(json.dumps([[each.fields() for each in image] for image in exact]))
    check_objects(found, rows)


@pytest.mark.parametrize("client", CLIENTS)
def test_no_outputs_named_are_the_raw_ones(server: Server, pixels: np.ndarray, client: ModuleType) -> None:
    answer = connect(client, server).infer("detector", [pixels_input(client, pixels)])
    assert answer.as_numpy("logits").shape == (len(pixels), REGIONS, len(CLASSES) + 1)
    assert answer.as_numpy("theta").shape == (len(pixels), REGIONS, 2, 3)
    assert answer.as_numpy("objects") is None


@pytest.mark.parametrize("client", CLIENTS)
def test_files_become_objects(server: Server, pixels: np.ndarray, rows: list[Any], client: ModuleType) -> None:
    files = files_input(client, [png(image) for image in pixels])
    answer = connect(client, server).infer("detector", [files], outputs=[client.InferRequestedOutput("objects")])
    check_objects([json.loads(text) for text in answer.as_numpy("objects")], rows)


def test_json_holds_each_images_objects_as_a_text(server: Server, pixels: np.ndarray, rows: list[Any]) -> None:
    sent = [{"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.tolist()}]
    status, _, answer = server.ask("POST", INFER, body_of(sent, outputs=[{"name": "objects"}]))
    assert status == 200
    (output,) = json.loads(answer)["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("objects", "BYTES", [len(pixels)])
    check_objects([json.loads(text) for text in output["data"]], rows)


def test_a_file_alone_is_answered_with_its_objects(server: Server, pixels: np.ndarray, rows: list[Any]) -> None:
    for image, wanted in zip(pixels, rows, strict=True):
        status, _, answer = server.ask("POST", INFER, png(image))
        assert status == 200
        outputs = outputs_of(answer)
        assert list(outputs) == ["objects"]
        check_objects([json.loads(outputs["objects"][0])], [wanted])


@pytest.mark.parametrize("form", ["pixels", "files"])
def test_kserve_v1_answers_objects(server: Server, pixels: np.ndarray, rows: list[Any], form: str) -> None:
    files = [{"b64": base64.b64encode(png(image)).decode()} for image in pixels]
    instances = pixels.tolist() if form == "pixels" else files
    status, _, answer = server.ask("POST", PREDICT, json.dumps({"instances": instances}).encode())
    assert status == 200
    predictions = json.loads(answer)["predictions"]
    assert all(list(each) == ["objects"] for each in predictions)
    check_objects([each["objects"] for each in predictions], rows)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_only_classifiers_have_is_refused(server: Server, pixels: np.ndarray, client: ModuleType) -> None:
    def refused(model: str, output: Any) -> str:
        with pytest.raises(InferenceServerException) as error:
            connect(client, server).infer(model, [pixels_input(client, pixels)], outputs=[output])
        return str(error.value.message())

    told = refused("detector", client.InferRequestedOutput("logits", class_count=2))
    assert told.endswith("classification is for models that classify, and this one detects: ask for objects")
    assert refused("detector", client.InferRequestedOutput("label")).endswith(
        "some of logits, theta, objects, each once"
    )
    assert refused("classifier", client.InferRequestedOutput("objects")).endswith(
        "some of logits, theta, label, probability, each once"
    )


def test_each_task_has_something_to_read() -> None:
    assert set(request_module._READ) == set(Task)
