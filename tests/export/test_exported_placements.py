"""Transformers that aren't the paper's, exported: the file against PyTorch, its names, and what TensorRT reads."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import tensorrt_rtx as rtx
import torch
from command import RunLstn
from small_models import SIDE, check_kept_in_float32, warping_model

from lstn.contract import CONTROLS, PIXELS, THETA, At, Contract, Loc, ThetaForm
from lstn.errors import LstnError, UsageError
from lstn.export.onnx.to_onnx import onnx_from_torch, write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.tensorrt.builder import build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_file import read_onnx
from lstn.formats.plan_file import Flavour
from lstn.nn.classifier import Classifier


@dataclass(frozen=True)
class Placed:
    model: Classifier
    contract: Contract
    path: Path


@pytest.fixture(
    scope="module",
    params=[
        ("shared", Loc.SHARED, {}),
        ("three-looks", Loc.STN, {"iterations": 3}),
        ("stem", Loc.STN, {"at": At.STEM}),
        ("all", Loc.SHARED, {"iterations": 2, "at": At.STEM}),
        ("glance", Loc.GLANCE, {"view": 24}),
        ("crop", Loc.STN, {"crop": 11}),
        ("looks-and-crop", Loc.GLANCE, {"view": 16, "crop": 32, "iterations": 2}),
        ("projective-looks", Loc.STN, {"theta": ThetaForm.PROJECTIVE, "iterations": 2, "crop": 32}),
        ("spline-crop", Loc.GLANCE, {"theta": ThetaForm.TPS, "view": 24, "crop": 11}),
        ("polar", Loc.STN, {"theta": ThetaForm.POLAR}),
        ("three-warps", Loc.GLANCE, {"warps": 3, "view": 24, "crop": 11}),
    ],
    ids=lambda param: param[0],
)
def placed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Placed:
    name, loc, changes = request.param
    model, contract = warping_model(loc, **changes)
    path = tmp_path_factory.mktemp(name) / "model.onnx"
    write_onnx(model, path, contract, sample_images("digits", (SIDE, SIDE), seed=0, count=16))
    return Placed(model, contract, path)


def answers(path: Path, pixels: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {PIXELS: pixels})


@pytest.mark.parametrize("size", [1, 3])
def test_the_file_computes_what_pytorch_does(placed: Placed, size: int) -> None:
    pixels = sample_images("digits", (SIDE, SIDE), seed=2, count=size)
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in placed.model(torch.from_numpy(pixels))]
    for found, expected in zip(answers(placed.path, pixels), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


def test_the_file_says_what_it_is(placed: Placed, run_lstn: RunLstn) -> None:
    assert read_onnx(placed.path).contract == placed.contract
    said = run_lstn("inspect", placed.path).out.splitlines()[1].split(maxsplit=1)[1].rstrip()
    iterations, at = placed.contract.iterations, placed.contract.at
    theta = placed.contract.theta
    looks = "" if theta is ThetaForm.AFFINE else f", theta {theta.value}"
    looks += f", {placed.contract.warps} warps" if placed.contract.warps > 1 else ""
    looks += f", {iterations} iterations" if iterations > 1 else ""
    assert said == placed.contract.loc.value + looks + (", at the stem" if at is At.STEM else "")


def test_every_look_has_its_sampler_and_every_node_its_part(placed: Placed) -> None:
    graph = onnx.load(placed.path).graph
    parts = [part_of(node.name) for node in graph.node]
    assert None not in parts
    samplers = [node for node in graph.node if node.op_type == "GridSample"]
    assert len(samplers) == placed.contract.iterations
    assert {part_of(node.name) for node in samplers} == {ModelPart.SAMPLER}
    localizer = [node for node, part in zip(graph.node, parts, strict=True) if part is ModelPart.LOCALIZER]
    products = [node.name for node in localizer if node.op_type in ("Gemm", "MatMul")]
    assert len(products) == 2 * placed.contract.iterations
    # Between the localizer and a sampler, all is the grid's; what theta comes out of is either's.
    makers = {name: node for node in graph.node for name in node.output}
    assert part_of(makers[THETA].name) in (ModelPart.LOCALIZER, ModelPart.GRID)
    for sampler in samplers:
        assert part_of(makers[sampler.input[1]].name) is ModelPart.GRID
    means = {part_of(node.name) for node in graph.node if node.op_type in ("AveragePool", "ReduceMean")}
    of_crop, of_view = placed.contract.crop_hw == (11, 11), placed.contract.view_hw is not None
    assert means - {ModelPart.BACKBONE} == ({ModelPart.SAMPLER} if of_crop else set()) | (
        {ModelPart.LOCALIZER} if of_view else set()
    )


def test_half_precision_leaves_theta_and_grid_alone(placed: Placed) -> None:
    check_kept_in_float32(onnx.load(placed.path))


def test_openvino_computes_the_same(placed: Placed) -> None:
    pixels = sample_images("digits", (SIDE, SIDE), seed=2, count=3)
    compiled = openvino.Core().compile_model(placed.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(pixels)
    for number, wanted in enumerate(answers(placed.path, pixels)):
        np.testing.assert_allclose(found[number], wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())


def test_tensorrt_for_rtx_reads_every_sampler_as_bilinear_and_builds(placed: Placed) -> None:
    builder = rtx.Builder(rtx.Logger(rtx.Logger.ERROR))
    network = builder.create_network(0)
    assert rtx.OnnxParser(network, builder.logger).parse(placed.path.read_bytes())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    samplers = [layer for layer in layers if layer.type == rtx.LayerType.GRID_SAMPLE]
    assert len(samplers) == placed.contract.iterations
    for sampler in samplers:
        sampler.__class__ = rtx.IGridSampleLayer
        assert sampler.interpolation_mode == rtx.InterpolationMode.LINEAR
    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=("sm89",))
    assert len(build(placed.path, settings).data) > 10_000


def test_one_sampler_is_fused_wherever_it_is(placed: Placed, tmp_path: Path) -> None:
    images = sample_images("digits", (SIDE, SIDE), seed=0, count=4)
    path = tmp_path / "fused.onnx"
    if placed.contract.theta is not ThetaForm.AFFINE:
        with pytest.raises(
            UsageError, match=f"reads affine grids, and this model's theta is {placed.contract.theta.value}"
        ):
            write_onnx(placed.model, path, placed.contract, images, fused=True)
        return
    if placed.contract.warps > 1:
        with pytest.raises(UsageError, match="reads one crop of an image, and this model makes 3"):
            write_onnx(placed.model, path, placed.contract, images, fused=True)
        return
    if placed.contract.iterations > 1:
        with pytest.raises(UsageError, match="as many samplers, and only one can be fused"):
            write_onnx(placed.model, path, placed.contract, images, fused=True)
        assert not path.exists()
        return
    if placed.contract.crop_hw is not None:
        with pytest.raises(UsageError, match="the fused sampler makes crops as large as the image"):
            write_onnx(placed.model, path, placed.contract, images, fused=True)
        return
    write_onnx(placed.model, path, placed.contract, images, fused=True)
    for found, wanted in zip(answers(path, images), answers(placed.path, images), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_sampler_too_few_is_found() -> None:
    model, contract = warping_model(Loc.STN)
    with pytest.raises(LstnError, match="1 samplers, expected 2"):
        onnx_from_torch(model, replace(contract, iterations=2))


@pytest.mark.parametrize("loc", CONTROLS)
def test_controls_are_not_exported(loc: Loc) -> None:
    contract = Contract(loc, "cnn", (SIDE, SIDE), ("a", "b"))
    with pytest.raises(UsageError, match=f"loc {loc.value} is a control"):
        onnx_from_torch(Classifier(contract).eval(), contract)
