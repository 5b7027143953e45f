"""Bounded theta: its range, its beginning, and that the whole of it survives checkpoint, export and calibration."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import check_kept_in_float32
from torch import nn

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import Agreement
from lstn.formats.node_names import ModelPart, part_of
from lstn.nn.checkpoint import Checkpoint, Training, load_checkpoint, write_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.warping.forms import FORMS, LARGEST_ZOOM, SMALLEST_CROP
from lstn.nn.warping.localizers import build_localizer

BOUNDED = [ThetaForm.SIMILARITY, ThetaForm.CROP]
CORNERS = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1], [1, 1, 1, 1]])

wild = st.floats(-1e6, 1e6, width=32)


def matrix(form: ThetaForm, numbers: list[float]) -> np.ndarray:
    theta = FORMS[form].theta(torch.tensor([numbers], dtype=torch.float32))
    assert theta.shape == (1, 2, 3)
    assert theta.dtype == torch.float32
    return theta[0].double().numpy()


def test_every_form_is_there() -> None:
    assert set(FORMS) == set(ThetaForm)


@given(st.lists(wild, min_size=6, max_size=6))
def test_affine_is_the_six_numbers(numbers: list[float]) -> None:
    np.testing.assert_array_equal(matrix(ThetaForm.AFFINE, numbers).ravel(), np.array(numbers, np.float32))


@given(st.lists(wild, min_size=4, max_size=4))
def test_a_similarity_is_one_and_stays_within_its_range(numbers: list[float]) -> None:
    theta = matrix(ThetaForm.SIMILARITY, numbers)
    linear, shift = theta[:, :2], theta[:, 2]
    scale = np.sqrt(np.linalg.det(linear))
    np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(2), atol=1e-4)  # rotation times scale, no mirror
    assert 1 / LARGEST_ZOOM - 1e-5 <= scale <= LARGEST_ZOOM + 1e-5
    assert np.abs(shift).max() <= 1


@given(st.lists(wild, min_size=3, max_size=3))
def test_a_crop_never_leaves_the_frame(numbers: list[float]) -> None:
    theta = matrix(ThetaForm.CROP, numbers)
    assert theta[0, 1] == theta[1, 0] == 0
    assert theta[0, 0] == theta[1, 1] >= SMALLEST_CROP - 1e-6
    assert np.abs(theta @ CORNERS).max() <= 1 + 1e-6


def test_every_similarity_and_crop_can_be_reached() -> None:
    for turn in (-0.9, 0.9):
        theta = matrix(ThetaForm.SIMILARITY, [0, np.arctanh(turn), 0, 0])
        assert np.arctan2(theta[1, 0], theta[0, 0]) == pytest.approx(turn * np.pi, abs=1e-5)
    np.testing.assert_allclose(matrix(ThetaForm.CROP, [-9, 9, -9]), [[0.2, 0, 0.8], [0, 0.2, -0.8]], atol=1e-6)


@pytest.mark.parametrize(
    ("form", "side"), [(ThetaForm.AFFINE, 1.0), (ThetaForm.SIMILARITY, 1.0), (ThetaForm.CROP, 0.9)]
)
def test_a_new_localizer_begins_close_to_the_identity(form: ThetaForm, side: float) -> None:
    theta = build_localizer(Loc.STN, (32, 32), form)(torch.rand(2, 3, 32, 32))
    wanted = torch.tensor([[side, 0, 0], [0, side, 0]]).expand(2, 2, 3)
    torch.testing.assert_close(theta, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", BOUNDED)
def test_every_number_has_a_gradient_at_the_beginning(form: ThetaForm) -> None:
    numbers = torch.tensor([FORMS[form].start], requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda n: FORMS[form].theta(n).flatten(), numbers)
    assert (jacobian.abs().amax(0) > 0.05).all()


def bent(form: ThetaForm, loc: Loc = Loc.LSTN) -> tuple[Classifier, Contract]:
    """A model whose theta depends on the image."""
    contract = Contract(loc, "cnn", (48, 48), tuple("0123456789"), theta=form)
    torch.manual_seed(0)
    model = Classifier(contract)
    assert model.transformer is not None
    last = model.transformer.localizer.get_submodule("head.3")
    assert isinstance(last, nn.Linear)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        last.weight.normal_(0, 0.05)
        model(torch.from_numpy(digits(16)))  # for BatchNorm's statistics
    return model.eval(), contract


@dataclass(frozen=True)
class Exported:
    """A model as it came back from its checkpoint, and its export with how well the two agree."""

    model: Classifier
    loaded: Checkpoint
    proto: onnx.ModelProto
    agreement: Agreement


@cache
def exported(form: ThetaForm) -> Exported:
    model, contract = bent(form)
    with TemporaryDirectory() as folder:
        file, onnx_file = Path(folder, "c.safetensors"), Path(folder, "model.onnx")
        write_checkpoint(file, model, contract, Training("digits", 0, 1, 0.5))
        loaded = load_checkpoint(file)
        agreement = write_onnx(loaded.model, onnx_file, loaded.contract, digits(9))
        return Exported(model, loaded, onnx.load(onnx_file), agreement)


def digits(count: int) -> np.ndarray:
    split = open_data("digits", image_hw=(48, 48), seed=0).val
    return np.stack([split[index][0] for index in range(count)])


@pytest.mark.parametrize("form", BOUNDED)
def test_checkpoint_and_export_build_the_same_graph(form: ThetaForm) -> None:
    made, images = exported(form), digits(9)
    assert made.loaded.contract.theta is form
    assert made.agreement.top1 == 1
    session = ort.InferenceSession(made.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 9):
        logits, theta = session.run([LOGITS, THETA], {PIXELS: images[:count]})
        with torch.no_grad():
            wanted = made.model(torch.from_numpy(images[:count]))
        np.testing.assert_allclose(logits, wanted[0].numpy(), rtol=0, atol=1e-3)
        np.testing.assert_allclose(theta, wanted[1].numpy(), rtol=0, atol=1e-4)
    assert np.ptp(theta, axis=0).max() > 1e-3


@pytest.mark.parametrize("form", BOUNDED)
def test_the_graph_says_it_in_operators_that_every_engine_has(form: ThetaForm) -> None:
    proto = exported(form).proto
    usual = {node.op_type for node in exported(ThetaForm.AFFINE).proto.graph.node}
    more = {node.op_type for node in proto.graph.node} - usual
    assert more <= {"Tanh", "Exp", "Sin", "Cos", "Mul", "Add", "Sub", "Slice", "Split", "Concat"}
    bounding = [node for node in proto.graph.node if node.op_type in {"Tanh", "Exp", "Sin", "Cos"}]
    assert bounding
    assert all(part_of(node.name) is ModelPart.LOCALIZER for node in bounding)
    (theta,) = [output for output in proto.graph.output if output.name == THETA]
    assert [dim.dim_value for dim in theta.type.tensor_type.shape.dim][1:] == [2, 3]
    onnx.checker.check_model(proto)


@pytest.mark.parametrize("form", BOUNDED)
def test_half_precision_leaves_theta_and_grid_alone(form: ThetaForm) -> None:
    check_kept_in_float32(exported(form).proto)


@pytest.mark.parametrize("form", BOUNDED)
def test_tensorrt_takes_it(form: ThetaForm) -> None:
    """TensorRT for RTX parses without a GPU; a refused operator would be an error here."""
    import tensorrt_rtx as trt

    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    assert parser.parse(exported(form).proto.SerializeToString()), parser.get_error(0)
