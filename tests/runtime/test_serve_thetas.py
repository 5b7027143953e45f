"""Thetas of every form over the wire: in metadata, in configurations and in answers, of the contract's shape."""

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from serving import Server, body_of, connect, outputs_of, pixels_input, png, random_pixels, serving, written
from tiny import Tiny

from lstn.contract import ThetaForm

SHAPES = {ThetaForm.AFFINE: [2, 3], ThetaForm.PROJECTIVE: [3, 3], ThetaForm.TPS: [16, 2], ThetaForm.POLAR: [2, 3]}
CLIENTS = [pytest.param(tritonclient.http, id="http"), pytest.param(tritonclient.grpc, id="grpc")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[ThetaForm, Tiny]:
    folder = tmp_path_factory.mktemp("forms")
    return {form: written(folder / f"{form.value}.onnx", form=form) for form in SHAPES}


@pytest.fixture(scope="module")
def server(models: dict[ThetaForm, Tiny]) -> Iterator[Server]:
    engines = [argument for tiny in models.values() for argument in ("--engine", tiny.path)]
    with serving(*engines, "--max-batch", 2, "--max-wait-ms", 0) as running:
        yield running


def in_json(client: ModuleType) -> dict[str, Any]:
    return {"as_json": True} if client is tritonclient.grpc else {}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("form", SHAPES)
def test_its_shape_is_told(server: Server, client: ModuleType, form: ThetaForm) -> None:
    connected = connect(client, server)
    told = connected.get_model_metadata(form.value, **in_json(client))
    shapes = {each["name"]: [int(size) for size in each["shape"]] for each in told["outputs"]}
    assert shapes["theta"] == [-1, *SHAPES[form]]
    config = connected.get_model_config(form.value, **in_json(client))
    outputs = {each["name"]: each for each in config.get("config", config)["output"]}
    assert [int(size) for size in outputs["theta"]["dims"]] == SHAPES[form]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("form", SHAPES)
def test_it_is_answered_in_binary(
    server: Server, models: dict[ThetaForm, Tiny], client: ModuleType, form: ThetaForm
) -> None:
    pixels = random_pixels(3, 1)  # two batches
    wanted = [client.InferRequestedOutput("theta")]
    answer = connect(client, server).infer(form.value, [pixels_input(client, pixels)], outputs=wanted)
    check(answer.as_numpy("theta"), models[form], pixels)


@pytest.mark.parametrize("form", SHAPES)
def test_it_is_answered_in_json(server: Server, models: dict[ThetaForm, Tiny], form: ThetaForm) -> None:
    pixels = random_pixels(3, 2)
    sent = [{"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.tolist()}]
    status, _, answer = server.ask("POST", f"/v2/models/{form.value}/infer", body_of(sent))
    assert status == 200
    check(outputs_of(answer)["theta"], models[form], pixels)
    status, _, answer = server.ask("POST", f"/v2/models/{form.value}/infer", png(pixels[0]))
    assert status == 200
    check(outputs_of(answer)["theta"], models[form], pixels[:1])


@pytest.mark.parametrize("form", SHAPES)
def test_kserve_v1_nests_it(server: Server, models: dict[ThetaForm, Tiny], form: ThetaForm) -> None:
    pixels = random_pixels(3, 3)
    body = json.dumps({"instances": pixels.tolist()}).encode()
    status, _, answer = server.ask("POST", f"/v1/models/{form.value}:predict", body)
    assert status == 200
    check(np.array([each["theta"] for each in json.loads(answer)["predictions"]]), models[form], pixels)


@pytest.mark.parametrize("form", SHAPES)
def test_the_page_learns_its_form(server: Server, form: ThetaForm) -> None:
    outputs = {each["name"]: each for each in json.loads(server.ask("GET", f"/v2/models/{form.value}")[2])["outputs"]}
    assert outputs["theta"]["parameters"]["form"] == form.value


def check(theta: np.ndarray, model: Tiny, pixels: np.ndarray) -> None:
    wanted = model.theta(pixels)
    assert theta.shape == wanted.shape == (len(pixels), *SHAPES[model.contract.theta])
    np.testing.assert_allclose(theta, wanted, atol=1e-4)
