"""Detectors, exported: the file against PyTorch, in the engines that are here; and regions that change places."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import tensorrt_rtx as rtx
import torch
from small_models import check_kept_in_float32

from lstn.contract import LOGITS, PIXELS, THETA, At, Contract, Loc, Task, ThetaForm
from lstn.errors import VerificationError
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import compare_answers, distance, sample_images, verify_onnx
from lstn.export.tensorrt.builder import build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_file import read_onnx
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.plan_file import Flavour
from lstn.nn.detector import Detector

SIDE = 64
IMAGE = Contract(
    Loc.GLANCE,
    "cnn",
    (SIDE, SIDE),
    ("a", "b", "c"),
    warps=5,
    view_hw=(32, 32),
    crop_hw=(16, 16),
    task=Task.DETECT,
)
KINDS = {
    "image": IMAGE,
    "upright": replace(IMAGE, theta=ThetaForm.CROP, crop_hw=(15, 12)),
    "map": replace(IMAGE, loc=Loc.SHARED, at=At.MAP, view_hw=None, crop_hw=(5, 5)),
    "late-map": replace(
        IMAGE, loc=Loc.SHARED, at=At.MAP, view_hw=None, backbone="resnet-18", crop_hw=(4, 4), image_hw=(SIDE, 96)
    ),
}


@dataclass(frozen=True)
class Exported:
    model: Detector
    contract: Contract
    path: Path


def detector(contract: Contract) -> Detector:
    """Untrained, but each image has regions of its own, with boxes that aren't the anchors."""
    torch.manual_seed(0)
    model = Detector(contract)
    last = model.localizer.head[-1]
    assert isinstance(last, torch.nn.Conv2d)
    torch.nn.init.normal_(last.weight, std=0.5)
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (16, *contract.image_hw, 3), dtype=torch.uint8))  # BatchNorm has seen some
    return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    contract = KINDS[request.param]
    model, path = detector(contract), tmp_path_factory.mktemp(request.param) / "model.onnx"
    write_onnx(model, path, contract, images(contract, 16))
    return Exported(model, contract, path)


def images(contract: Contract, count: int, seed: int = 0) -> np.ndarray:
    return sample_images("scenes-digits", contract.image_hw, seed=seed, count=count, task=Task.DETECT)


def of_torch(made: Exported, pixels: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return dict(zip((LOGITS, THETA), (each.numpy() for each in made.model(torch.from_numpy(pixels))), strict=True))


@pytest.mark.parametrize("size", [1, 3])
def test_the_file_computes_what_pytorch_does(exported: Exported, size: int) -> None:
    pixels = images(exported.contract, size, seed=3)
    found = OnnxSession(exported.path).run({PIXELS: pixels}, [LOGITS, THETA])
    wanted = of_torch(exported, pixels)
    for one, name in zip(found, (LOGITS, THETA), strict=True):
        np.testing.assert_allclose(one, wanted[name], rtol=0, atol=5e-4 * np.abs(wanted[name]).max())


def test_openvino_computes_the_same(exported: Exported) -> None:
    pixels = images(exported.contract, 3, seed=3)
    compiled = openvino.Core().compile_model(exported.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(pixels)
    for number, name in enumerate((LOGITS, THETA)):
        wanted = of_torch(exported, pixels)[name]
        np.testing.assert_allclose(found[number], wanted, rtol=0, atol=5e-4 * np.abs(wanted).max())


def test_it_has_one_sampler_no_plugin_and_a_fixed_number_of_regions(exported: Exported) -> None:
    graph = onnx.load(exported.path).graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("GridSample") == 1
    assert not {"NonZero", "NonMaxSuppression", "RoiAlign", "Loop", "If"} & set(operators)
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    parts = {part_of(node.name) for node in graph.node}
    assert parts == set(ModelPart)
    samplers = [node for node in graph.node if node.op_type == "GridSample"]
    assert part_of(samplers[0].name) is ModelPart.SAMPLER
    assert read_onnx(exported.path).contract == exported.contract


def test_what_makes_thetas_stays_float32(exported: Exported) -> None:
    """Of regions, and of what the backbone says of them: a width of e to the power of a float16 is a coarse one."""
    check_kept_in_float32(onnx.load(exported.path))


def test_tensorrt_for_rtx_reads_the_sampler_as_bilinear_and_builds(exported: Exported) -> None:
    builder = rtx.Builder(rtx.Logger(rtx.Logger.ERROR))
    network = builder.create_network(0)
    assert rtx.OnnxParser(network, builder.logger).parse(exported.path.read_bytes())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    (sampler,) = (layer for layer in layers if layer.type == rtx.LayerType.GRID_SAMPLE)
    sampler.__class__ = rtx.IGridSampleLayer
    assert sampler.interpolation_mode == rtx.InterpolationMode.LINEAR
    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=("sm89",))
    assert len(build(exported.path, settings).data) > 10_000


def answers(random: np.random.Generator) -> dict[str, np.ndarray]:
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (4, 5, 1, 1))
    theta[..., 2] = random.uniform(-1, 1, (4, 5, 2))
    return {LOGITS: random.normal(size=(4, 5, 4)).astype(np.float32), THETA: theta}


def test_regions_may_change_places_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    one = answers(random)
    turned = {name: values[:, [1, 0, 2, 4, 3]] for name, values in one.items()}
    same = compare_answers(turned, one, IMAGE)
    assert (same.logit_difference, same.drift_px, same.top1) == (0, 0, 1)
    moved = {name: values.copy() for name, values in turned.items()}
    moved[THETA][2, 3, 0, 2] += 0.01
    found = compare_answers(moved, one, IMAGE)
    assert found.drift_px == pytest.approx(0.01 * SIDE / 2, rel=1e-4)
    moved[LOGITS][1, 1, 2] += 3
    assert compare_answers(moved, one, IMAGE).logit_difference == pytest.approx(3, rel=1e-5)


def test_of_a_hundred_regions_one_may_be_another() -> None:
    """The last of an image's K is one of two that are about as good."""
    random = np.random.default_rng(1)
    many = [answers(random) for _ in range(30)]
    one = {name: np.concatenate([each[name] for each in many]) for name in (LOGITS, THETA)}
    other = {name: values.copy() for name, values in one.items()}
    other[THETA][7, 2] += 0.5
    assert distance(other, one, IMAGE, 1.0)[1] == 0
    other[THETA][:40, 2, 0, 2] += 0.5
    assert distance(other, one, IMAGE, 1.0)[1] > 1


def test_a_file_of_other_weights_is_refused(exported: Exported) -> None:
    other = detector(exported.contract)
    with torch.no_grad():
        next(iter(other.backbone.parameters())).mul_(1.5)
    with pytest.raises(VerificationError, match="differs from PyTorch"):
        verify_onnx(exported.path, other, exported.contract, images(exported.contract, 8))
