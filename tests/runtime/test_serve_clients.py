"""What clients in the wild send as a body: plain files, base64, forms, KServe v1; and what they get."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from serving import SHAPE, ZEROS, Server, body_of, outputs_of, png, random_pixels
from tiny import SIDE, Tiny
from tiny_fixtures import LABELS

from lstn.evaluation.answer import softmax

INFER, PREDICT = "/v2/models/model/infer", "/v1/models/model:predict"
FORM = "application/x-www-form-urlencoded"
"""What curl calls whatever it sends."""


def text_of(file: bytes) -> str:
    return base64.b64encode(file).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": FORM},
        {"Content_Type": "image/png"},
        {"Content_Type": "application/octet-stream", "Inference_Header_Content_Length": "0"},
        {},
    ],
)
def test_a_file_alone_is_a_request_for_everything(server: Server, model: Tiny, headers: dict[str, str]) -> None:
    pixels = random_pixels(1, 5)
    status, _, answer = server.ask("POST", INFER, png(pixels[0]), **headers)
    assert status == 200
    told = outputs_of(answer)
    np.testing.assert_allclose(told["logits"], model.logits(pixels), atol=1e-3)
    np.testing.assert_allclose(told["theta"], model.theta(pixels), atol=1e-4)
    probabilities = softmax(model.logits(pixels))
    assert told["label"].tolist() == [LABELS[probabilities.argmax()]]
    np.testing.assert_allclose(told["probability"], probabilities.max(axis=1), atol=1e-4)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_json_is_not_taken_for_a_file(server: Server, encoding: str) -> None:
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": SHAPE, "data": ZEROS}
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    text = mark + "\n " * (not mark) + json.dumps({"inputs": [pixels]})
    assert server.ask("POST", INFER, text.encode(encoding), Content_Type=FORM)[0] == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "told"),
    [
        (b"", FORM, 400, "the request is empty; expected JSON or an image file"),
        (b"'{inputs: 1}'", FORM, 400, "the request is not JSON, so it was taken for a file; image 0: not an image"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", 415, "send the file itself, as curl --data-binary @FILE"),
        (png(np.zeros((SIDE, SIDE, 3), np.uint8)), "application/json", 400, "the request is not JSON"),
        (png(np.zeros((SIDE, SIDE, 3), np.uint8))[:45], FORM, 400, "image 0: damaged image"),
    ],
)
def test_what_is_neither_is_refused_with_what_to_send(
    server: Server, body: bytes, content_type: str, status: int, told: str
) -> None:
    answered, _, answer = server.ask("POST", INFER, body, Content_Type=content_type)
    assert answered == status
    assert told in json.loads(answer)["error"]


@pytest.mark.parametrize("lines", [False, True], ids=["one line", "lines of 76"])
def test_files_in_base64_are_answered_as_bytes_are(server: Server, model: Tiny, lines: bool) -> None:
    pixels = random_pixels(3, 8)
    encode = (lambda file: base64.encodebytes(file).decode()) if lines else text_of
    data = [encode(png(image)) for image in pixels]
    given = [{"name": "image", "datatype": "BYTES", "shape": [3], "data": data}]
    status, _, answer = server.ask("POST", INFER, body_of(given))
    assert status == 200
    np.testing.assert_allclose(outputs_of(answer)["logits"], model.logits(pixels), atol=1e-3)


@pytest.mark.parametrize("text", ["x", "====", "a-b_", "YWJj!", "é", 7, None, ["YWJj"]])
def test_text_that_is_not_base64_is_refused_by_its_number(server: Server, text: object) -> None:
    good = text_of(png(np.zeros((SIDE, SIDE, 3), np.uint8)))
    given = [{"name": "image", "datatype": "BYTES", "shape": [2], "data": [good, text]}]
    status, _, answer = server.ask("POST", INFER, body_of(given))
    assert (status, json.loads(answer)["error"]) == (400, "image 1: JSON holds a file as base64 text; this is not")


@pytest.mark.parametrize(
    "instance",
    [
        lambda image: {"b64": text_of(png(image))},
        lambda image: {"image": {"b64": text_of(png(image))}},
        lambda image: {"image_bytes": {"b64": text_of(png(image))}},
        lambda image: {"data": text_of(png(image))},
        lambda image: text_of(png(image)),
        lambda image: image.tolist(),
    ],
    ids=["b64", "image", "image_bytes", "data", "text", "pixels"],
)
def test_kserve_v1_predicts(server: Server, model: Tiny, instance: Callable[[np.ndarray], object]) -> None:
    pixels = random_pixels(5, 2)
    body = json.dumps({"instances": [instance(image) for image in pixels]}).encode()
    status, _, answer = server.ask("POST", PREDICT, body)
    predictions = json.loads(answer)["predictions"]
    assert status == 200
    assert [set(each) for each in predictions] == [{"logits", "theta", "label", "probability"}] * 5
    np.testing.assert_allclose([each["logits"] for each in predictions], model.logits(pixels), atol=1e-3)
    np.testing.assert_allclose([each["theta"] for each in predictions], model.theta(pixels), atol=1e-4)
    best = model.logits(pixels).argmax(axis=1)
    assert [each["label"] for each in predictions] == [LABELS[index] for index in best]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "instances must be a list"),
        ({"instances": []}, "instances is empty"),
        ({"instances": [7]}, "an instance must be a JSON object"),
        ({"instances": [{}]}, "an instance must be"),
        ({"instances": [{"image": {"b64": {"b64": "x"}}}]}, "an instance must be"),
        ({"instances": [{"b64": "x", "key": 1}]}, "an instance must be"),
        ({"instances": [[[0]], {"b64": "x"}]}, "an instance must be"),
        ({"instances": [[[[0]]]]}, "must be UINT8 [n, 8, 8, 3]"),
        ({"instances": [{"b64": "!"}]}, "image 0: JSON holds a file as base64"),
        ({"instances": ["!"]}, "image 0: JSON holds a file as base64"),
        ({"instances": [{"b64": "YWJj"}], "signature_name": "x"}, "parameter signature_name"),
    ],
)
def test_kserve_v1_refuses(server: Server, content: dict[str, Any], told: str) -> None:
    status, _, answer = server.ask("POST", PREDICT, json.dumps(content).encode())
    assert status == 400
    assert told in json.loads(answer)["error"]


def test_kserve_v1_knows_its_models(server: Server) -> None:
    assert json.loads(server.ask("GET", "/v1/models")[2]) == {"models": ["model"]}
    assert json.loads(server.ask("GET", "/v1/models/model")[2]) == {"name": "model", "ready": True}
    assert server.ask("POST", "/v1/models/none:predict", b"{}")[0] == 404
    assert server.ask("POST", "/v1/models/model:explain", b"{}")[0] == 404
