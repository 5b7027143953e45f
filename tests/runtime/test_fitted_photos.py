"""A model that letterboxes its photos, or takes their middle, gets the same pixels from every way to ask it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from command import RunLstn
from PIL import Image
from serving import connect, files_input, serving
from tiny import SIDE, Tiny, proto_of
from tiny_fixtures import LABELS, tiny_at

import lstn
from lstn.contract import Fit, Loc
from lstn.evaluation.answer import softmax
from lstn.images import Pixels
from lstn.imaging.framing import outside_of

FITS = [Fit.LETTERBOX, Fit.CENTRE]


def model_of(folder: Path, fit: Fit) -> Tiny:
    made = tiny_at(folder / f"{fit.value}.onnx", loc=Loc.LSTN, labels=LABELS, seed=1)
    made = replace(made, contract=replace(made.contract, fit=fit))
    made.path.write_bytes(proto_of(made).SerializeToString())
    return made


@pytest.fixture(scope="module", params=FITS, ids=lambda fit: fit.value)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return model_of(tmp_path_factory.mktemp("fits"), request.param)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three squares of eight by eight: red, of every colour, and blue."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, 3 * SIDE, 3), np.uint8)
    pixels[:, :SIDE], pixels[:, 2 * SIDE :] = (255, 0, 0), (0, 0, 255)
    path = tmp_path_factory.mktemp("photos") / "wide.png"
    Image.fromarray(pixels).save(path)
    return path


def by_hand(photo: Path, model: Tiny) -> Pixels:
    """The middle square as it is; or a third of the height, rounded to three pixels, with the mean around it."""
    image = Image.open(photo)
    if model.contract.fit is Fit.CENTRE:
        return np.asarray(image)[:, SIDE : 2 * SIDE]
    pixels = np.full((SIDE, SIDE, 3), outside_of(model.contract.mean), np.uint8)
    pixels[2:5] = np.asarray(image.resize((SIDE, 3), Image.Resampling.BILINEAR))
    return pixels


@pytest.fixture(scope="module")
def wanted(photo: Path, model: Tiny) -> dict[str, float]:
    shares = softmax(model.logits(by_hand(photo, model)[None]))[0]
    return dict(zip(LABELS, shares.tolist(), strict=True))


def test_lstn_infer_fits_a_file_and_a_url(
    photo: Path, model: Tiny, wanted: dict[str, float], run_lstn: RunLstn
) -> None:
    ran = run_lstn(
        "infer", photo, photo.resolve().as_uri(), "--engine", model.path, "--top", len(LABELS), "--format", "json"
    )
    assert ran.code == 0, ran.err
    theta = model.theta(by_hand(photo, model)[None])[0]
    for row in json.loads(ran.out):
        assert {each["label"]: each["probability"] for each in row["top"]} == pytest.approx(wanted, abs=1e-5)
        np.testing.assert_allclose(row["theta"], theta, atol=1e-5)


def test_a_program_fits_a_file_its_bytes_and_an_array(photo: Path, model: Tiny, wanted: dict[str, float]) -> None:
    with lstn.open_engine(model.path, device="cpu", threads=1) as engine:
        for image in (photo, photo.read_bytes(), np.asarray(Image.open(photo))):
            found = engine.classify(image)
            assert dict(zip(found.labels, found.probabilities, strict=True)) == pytest.approx(wanted, abs=1e-5)


@pytest.fixture(scope="module")
def address(model: Tiny) -> Iterator[object]:
    with serving("--engine", model.path, "--max-wait-ms", 0) as running:
        yield running


@pytest.mark.parametrize("client", [tritonclient.http, tritonclient.grpc], ids=["http", "grpc"])
def test_a_server_fits_files_and_says_how(photo: Path, model: Tiny, address: object, client: object) -> None:
    connected = connect(client, address)
    found = connected.infer(model.path.stem, [files_input(client, [photo.read_bytes()])])
    np.testing.assert_allclose(found.as_numpy("logits"), model.logits(by_hand(photo, model)[None]), rtol=1e-4)
    if client is tritonclient.http:
        told = connected.get_model_metadata(model.path.stem)["inputs"][0]["parameters"]
        assert (told["fit"], told["fill"]) == (model.contract.fit.value, list(outside_of(model.contract.mean)))
