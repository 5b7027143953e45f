"""What release 0.1 wrote opens, and answers as it did: checkpoints and engines of contract versions 1, 2 and 3.

Release 0.1 made the files in fixtures/release-0.1 (two classes, `cnn` at 32 pixels, two epochs), and answers.npz with
its own ONNX Runtime engine: four images of noise, and the logits and thetas of each model.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lstn.contract import VERSION, Contract, Loc, ThetaForm
from lstn.errors import ArtifactError
from lstn.formats.openvino_file import read_pair
from lstn.formats.plan_file import Flavour, read_sidecar
from lstn.health.run_health import diagnose
from lstn.nn.checkpoint import load_checkpoint
from lstn.runtime.engines.opening import open_engine
from lstn.train.runs.run_state import read_options

RELEASE = Path(__file__).parent / "fixtures" / "release-0.1"
ANSWERS = np.load(RELEASE / "answers.npz")
LATER = Path(__file__).parent / "fixtures" / "checkpoints"
MODELS = ("none", "v1", "v2", "v3")


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_answers_as_it_did(name: str) -> None:
    model = load_checkpoint(RELEASE / name / "checkpoint.safetensors").model.eval()
    with torch.no_grad():
        found = model(torch.from_numpy(ANSWERS["pixels"]))
    logits, theta = (found, None) if name == "none" else found
    np.testing.assert_allclose(logits.numpy(), ANSWERS[f"{name}_logits"], atol=1e-4)
    if theta is not None:
        np.testing.assert_allclose(theta.numpy(), ANSWERS[f"{name}_theta"], atol=1e-5)


@pytest.mark.parametrize("version", range(4, VERSION + 1))
def test_a_checkpoint_of_each_later_version_answers_as_it_did(version: int) -> None:
    answers = np.load(LATER / "answers.npz")
    given, wanted = (
        [answers[name] for name in sorted(answers.files) if name.startswith(f"v{version}_{kind}_")]
        for kind in ("given", "found")
    )
    found = load_checkpoint(LATER / f"v{version}.safetensors")
    assert json.loads(found.contract.to_json())["version"] == version
    with torch.no_grad():
        told = found.model.eval()(*map(torch.from_numpy, given))
    for one, other in zip(told, wanted, strict=True):
        np.testing.assert_allclose(
            one.float().numpy(), other.astype(np.float32), atol=1 if one.dtype == torch.uint8 else 1e-4
        )


@pytest.mark.parametrize("file", [*(f"{name}/model.onnx" for name in MODELS), "v1/model.xml"])
def test_an_engine_answers_as_it_did(file: str) -> None:
    name = Path(file).parent.name
    with open_engine(RELEASE / file, threads=1) as engine:
        found = engine.infer(ANSWERS["pixels"])
    np.testing.assert_allclose(found.logits, ANSWERS[f"{name}_logits"], atol=1e-4)
    assert (found.theta is None) == (name == "none")
    if found.theta is not None:
        np.testing.assert_allclose(found.theta, ANSWERS[f"{name}_theta"], atol=1e-5)


def test_a_quantized_model_opens() -> None:
    with open_engine(RELEASE / "v1" / "model.int8.onnx", threads=1) as engine:
        assert engine.infer(ANSWERS["pixels"]).logits.shape == (4, 2)


def test_contracts_are_what_they_were() -> None:
    contracts = {name: load_checkpoint(RELEASE / name / "checkpoint.safetensors").contract for name in MODELS}
    assert [contracts[name].loc for name in MODELS] == [Loc.NONE, Loc.LSTN, Loc.STN, Loc.LSTN]
    assert [contracts[name].theta for name in MODELS][2] is ThetaForm.SIMILARITY
    assert [contracts[name].iterations for name in MODELS] == [1, 1, 1, 2]
    assert all(contract.labels == ("left", "right") for contract in contracts.values())
    assert read_pair(RELEASE / "v1" / "model.xml")[0].contract == contracts["v1"]


def test_a_plan_and_its_sidecar_belong_together() -> None:
    sidecar = read_sidecar(RELEASE / "v1" / "model.plan")
    assert sidecar.flavour is Flavour.TRT_RTX
    assert sidecar.contract == load_checkpoint(RELEASE / "v1" / "checkpoint.safetensors").contract


@pytest.mark.parametrize("name", MODELS)
def test_a_run_is_read(name: str) -> None:
    found = diagnose(RELEASE / name)
    assert found.epochs == 2
    assert found.test_accuracy == 1.0
    assert (found.transformer is None) == (name == "none")


def test_a_state_is_read() -> None:
    assert read_options(RELEASE / "none" / "last.safetensors").model == "cnn"


def test_a_contract_of_the_future_is_refused_by_its_version() -> None:
    text = Contract(Loc.LSTN, "cnn", (32, 32), ("a", "b")).to_json().replace('"version": 1', '"version": 99')
    with pytest.raises(ArtifactError, match="version 99"):
        Contract.from_json(text, source="model.onnx")
