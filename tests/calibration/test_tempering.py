"""The temperature of a lowered model: what the file computes and says after it was fitted again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from calibrate_words import DIGITS
from command import RunLstn
from hand_made import make_model, random_split
from small_models import SIDE

from lstn.calibration.tempering import tempered
from lstn.contract import METADATA_KEY, Contract, Loc
from lstn.data.dataset import open_data
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_file import read_onnx


def answers(proto: onnx.ModelProto, pixels: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(["logits", "theta"], {"pixels": pixels}))


def contract_of(proto: onnx.ModelProto) -> Contract:
    (told,) = (entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY)
    return Contract.from_json(told, source="test")


def test_logits_are_divided_and_the_contract_says_so() -> None:
    plain, pixels = make_model(Loc.LSTN), random_split(5).pixels
    contract = contract_of(plain)
    warm = tempered(plain, contract, 2.5)
    onnx.checker.check_model(warm, full_check=True)
    logits, theta = answers(plain, pixels)
    divided, same = answers(warm, pixels)
    np.testing.assert_allclose(divided, logits / 2.5, rtol=1e-6)
    np.testing.assert_array_equal(same, theta)
    assert contract_of(warm) == replace(contract, temperature=2.5)
    (last,) = (node for node in warm.graph.node if "logits" in node.output)
    assert part_of(last.name) is ModelPart.BACKBONE
    assert len({node.name for node in warm.graph.node}) == len(warm.graph.node)


@pytest.mark.parametrize(("asked", "bound"), [(100.0, 20.0), (0.001, 0.05)])
def test_what_no_contract_can_say_is_not_done(asked: float, bound: float) -> None:
    plain, pixels = make_model(Loc.LSTN), random_split(3).pixels
    warm = tempered(plain, contract_of(plain), asked)
    assert contract_of(warm).temperature == bound
    np.testing.assert_allclose(answers(warm, pixels)[0], answers(plain, pixels)[0] / bound, rtol=1e-6)


@pytest.mark.usefixtures("few_digits", "folder")
def test_calibrate_fits_it_to_the_lowered_answers(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "int8", *DIGITS, "--force").code == 0
    split = open_data("digits", image_hw=(SIDE, SIDE)).val
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    errors = json.loads(Path("model.int8.cost.json").read_text())["precisions"]["int8"]["calibration_error"]
    temperature = read_onnx(Path("model.int8.onnx")).contract.temperature
    assert temperature == pytest.approx(errors["temperature"])
    assert temperature != 1
    logits = answers(onnx.load("model.int8.onnx"), np.stack(pixels))[0].astype(np.float64) * temperature

    def cross_entropy(at: float) -> float:
        told = logits / at - np.logaddexp.reduce(logits / at, axis=1, keepdims=True)
        return -float(told[np.arange(len(labels)), labels].mean())

    assert cross_entropy(temperature) <= min(map(cross_entropy, np.geomspace(0.05, 20, 300))) + 1e-6
