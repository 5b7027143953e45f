"""A network that a program brings along, exported: what the file computes, and where its nodes say that they are."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from command import RunLstn
from own_network import LABELS, SIDE, ConstantBatch, OwnNetwork, SmallNetwork
from serving import body_of, png, serving
from torch import nn

import lstn
from lstn.calibration.kept_layers import layer_names
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.export.onnx.verify_onnx import sample_images
from lstn.formats.inspection import training_of
from lstn.formats.node_names import ModelPart, layer_of, part_of
from lstn.formats.training_record import Training
from lstn.images import Pixels
from lstn.nn import Classifier
from lstn.warps.warp import Theta

HW = (SIDE, SIDE)


def around(backbone: nn.Module, loc: str = "stn") -> Classifier:
    """Put a transformer that turns before a network."""
    torch.manual_seed(0)
    model = Classifier.around(backbone, labels=LABELS, image_hw=HW, loc=loc)
    assert model.transformer is not None
    last = model.transformer.localizer.get_submodule("head.3")
    with torch.no_grad():
        last.weight.normal_(0, 0.1)
        last.bias.add_(torch.tensor([-0.2, 0.3, 0.1, -0.3, -0.1, 0.2]))
    return model


@pytest.fixture(scope="module")
def digits() -> Pixels:
    return sample_images("digits", HW, seed=0, count=12)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return around(OwnNetwork())


@pytest.fixture(scope="module")
def file(model: Classifier, digits: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "model.onnx"
    model.record = Training("folder:photos", 3, 7, 0.75)  # as lstn.fit leaves it
    agreement = lstn.export_onnx(model, path, images=digits)
    assert agreement.images == 12
    assert agreement.top1 == 1.0
    return path


def test_the_file_says_what_the_model_was_trained_on(model: Classifier, file: Path) -> None:
    assert training_of(file) == model.record is not None


def torch_answers(model: Classifier, pixels: Pixels) -> tuple[np.ndarray, Theta]:
    mode = model.training
    with torch.no_grad():
        logits, theta = model.eval()(torch.from_numpy(pixels))
    model.train(mode)
    return logits.softmax(1).numpy(), theta.numpy()


def test_an_engine_answers_as_the_module_does(file: Path, model: Classifier, digits: Pixels) -> None:
    probabilities, theta = torch_answers(model, digits)
    answers = lstn.classify(list(digits), file)
    for answer, wanted, matrix in zip(answers, probabilities, theta, strict=True):
        assert dict(zip(answer.labels, answer.probabilities, strict=True)) == pytest.approx(
            dict(zip(LABELS, wanted, strict=True)), abs=1e-4
        )
        np.testing.assert_allclose(answer.theta, matrix, atol=1e-4)


def test_the_export_leaves_the_model_as_it_was(file: Path, model: Classifier) -> None:
    assert model.training
    assert model.backbone.training


def test_every_node_says_where_it_is(file: Path, model: Classifier) -> None:
    nodes = onnx.load(file).graph.node
    parts = [part_of(node.name) for node in nodes]
    assert None not in parts
    samplers = [part for node, part in zip(nodes, parts, strict=True) if node.op_type == "GridSample"]
    assert samplers == [ModelPart.SAMPLER, ModelPart.BACKBONE]
    in_torch = {name.removeprefix("transformer.") for name, _ in model.named_modules()}
    assert {layer_of(node.name) for node in nodes} <= in_torch | {part.value for part in ModelPart}
    assert set(layer_names(onnx.load(file))) == {
        "localizer.features.0", "localizer.features.3", "localizer.head.1", "localizer.head.3",
        "backbone.transformer", "backbone.sampler.input", "backbone.attention", "backbone.attention.out_proj",
        "backbone.tied", "backbone.grid",
    }  # fmt: skip


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_it_is_calibrated_and_classifies_and_is_timed(
    file: Path, digits: Pixels, precision: str, run_lstn: RunLstn, tmp_path: Path
) -> None:
    few = ("--images", "16", "--force") if precision == "int8" else ()  # untrained, it changes many answers
    ran = run_lstn("calibrate", file, "--precision", precision, "--data", "digits", "--out", tmp_path, *few)
    assert ran.code == 0, ran.err
    lower = tmp_path / f"model.{precision}.onnx"
    (tmp_path / "digit.png").write_bytes(png(digits[0]))
    exact, found = (lstn.classify(tmp_path / "digit.png", path) for path in (file, lower))
    assert dict(zip(found.labels, found.probabilities, strict=True)) == pytest.approx(
        dict(zip(exact.labels, exact.probabilities, strict=True)), abs=0.1
    )
    ran = run_lstn("bench", lower, file, "--seconds", "0.2", "--batch", "2")
    assert ran.code == 0, ran.err


def test_it_is_served(file: Path, digits: Pixels) -> None:
    pixels = digits[:1]
    with serving("--engine", file) as server, lstn.open_engine(file) as engine:
        inputs = [{"name": "pixels", "datatype": "UINT8", "shape": pixels.shape, "data": pixels.ravel().tolist()}]
        status, _, body = server.ask("POST", "/v2/models/model/infer", body_of(inputs))
        answers = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        assert status == 200
        np.testing.assert_allclose(answers["logits"], engine.infer(pixels).logits[0], atol=1e-5)


def test_a_batch_that_the_code_takes_for_a_constant_is_named() -> None:
    model = Classifier.around(ConstantBatch(), labels=LABELS, image_hw=HW, loc="none")
    with pytest.raises(lstn.LstnError, match="takes the batch for a constant: the ONNX file would run 2 images only"):
        onnx_from_torch(model.eval(), model.contract)


class Stray(Classifier):
    """What somebody adds beside the two parts."""

    def __init__(self, contract: lstn.Contract, backbone: nn.Module | None = None) -> None:
        super().__init__(contract, backbone)
        self.sharpen = nn.Conv2d(3, 3, 3, padding=1)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.sharpen(super().normalise(pixels))


def test_a_module_beside_transformer_and_backbone_is_named() -> None:
    model = Stray.around(SmallNetwork(), labels=LABELS, image_hw=HW, loc="none").eval()
    with pytest.raises(lstn.LstnError, match="'sharpen' is neither in the model's transformer nor in its backbone"):
        onnx_from_torch(model, model.contract)
