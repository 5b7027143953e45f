"""Readers, exported: the file against PyTorch, in the engines that are here, texts included."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import tensorrt_rtx as rtx
import torch

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc, Task, ThetaForm
from lstn.errors import VerificationError
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images, verify_onnx
from lstn.export.tensorrt.builder import build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_file import read_onnx
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.plan_file import Flavour
from lstn.nn.reader import Reader
from lstn.transcription.transcripts import transcripts

TURNED = Contract(
    Loc.GLANCE, "cnn", (64, 96), tuple("0123"), task=Task.READ, warps=4, view_hw=(32, 48), crop_hw=(16, 16)
)
KINDS = {
    "turned": TURNED,
    "upright": replace(TURNED, theta=ThetaForm.CROP, crop_hw=(16, 12)),
    "lstn": replace(TURNED, loc=Loc.LSTN, view_hw=None, warps=2),
    "plain": replace(TURNED, loc=Loc.NONE, view_hw=None, crop_hw=None),
}


@dataclass(frozen=True)
class ExportedReader:
    model: Reader
    contract: Contract
    path: Path

    @property
    def outputs(self) -> list[str]:
        return [LOGITS] if self.contract.loc is Loc.NONE else [LOGITS, THETA]


def reader(contract: Contract) -> Reader:
    """Untrained, but what it reads depends on the image."""
    torch.manual_seed(0)
    model = Reader(contract)
    for weight in model.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.2)
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (16, *contract.image_hw, 3), dtype=torch.uint8))  # BatchNorm has seen some
    return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportedReader:
    contract = KINDS[request.param]
    model, path = reader(contract), tmp_path_factory.mktemp(request.param) / "model.onnx"
    write_onnx(model, path, contract, images(contract, 16))
    return ExportedReader(model, contract, path)


def images(contract: Contract, count: int, seed: int = 0) -> np.ndarray:
    return sample_images("numbers-digits", contract.image_hw, seed=seed, count=count, task=Task.READ)


def of_torch(made: ExportedReader, pixels: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        answer = made.model(torch.from_numpy(pixels))
    return [each.numpy() for each in (answer if isinstance(answer, tuple) else (answer,))]


def texts_of(logits: np.ndarray, contract: Contract) -> list[str]:
    return [transcripts(each, None, contract.labels)[0].text for each in logits]


@pytest.mark.parametrize("size", [1, 3, 40])
def test_onnx_runtime_reads_what_pytorch_does(exported: ExportedReader, size: int) -> None:
    pixels = images(exported.contract, size, seed=3)
    found, wanted = OnnxSession(exported.path).run({PIXELS: pixels}, exported.outputs), of_torch(exported, pixels)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())
    assert texts_of(found[0], exported.contract) == texts_of(wanted[0], exported.contract)


def test_openvino_reads_the_same(exported: ExportedReader) -> None:
    pixels = images(exported.contract, 20, seed=3)
    compiled = openvino.Core().compile_model(exported.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(pixels)
    for number, wanted in enumerate(of_torch(exported, pixels)):
        np.testing.assert_allclose(found[number], wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert texts_of(found[0], exported.contract) == texts_of(of_torch(exported, pixels)[0], exported.contract)


def test_the_steps_are_written_out(exported: ExportedReader) -> None:
    graph = onnx.load(exported.path).graph
    operators = [node.op_type for node in graph.node]
    plain = exported.contract.loc is Loc.NONE
    assert operators.count("GridSample") == (0 if plain else 1)
    assert not {"Loop", "Scan", "If", "GRU", "RNN", "SequenceAt", "NonZero"} & set(operators)
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    assert {part_of(node.name) for node in graph.node} == (
        {ModelPart.INPUT, ModelPart.BACKBONE} if plain else set(ModelPart)
    )
    last = next(node for node in graph.node if LOGITS in node.output)
    assert part_of(last.name) is ModelPart.BACKBONE
    assert read_onnx(exported.path).contract == exported.contract


def test_tensorrt_for_rtx_reads_the_sampler_as_bilinear_and_builds(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(reader(TURNED), path, TURNED, images(TURNED, 4))
    builder = rtx.Builder(rtx.Logger(rtx.Logger.ERROR))
    network = builder.create_network(0)
    assert rtx.OnnxParser(network, builder.logger).parse(path.read_bytes())
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    (sampler,) = (layer for layer in layers if layer.type == rtx.LayerType.GRID_SAMPLE)
    sampler.__class__ = rtx.IGridSampleLayer
    assert sampler.interpolation_mode == rtx.InterpolationMode.LINEAR
    settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=("sm89",))
    assert len(build(path, settings).data) > 10_000


def test_a_file_of_other_weights_is_refused(exported: ExportedReader) -> None:
    other = reader(exported.contract)
    with torch.no_grad():
        next(iter(other.backbone.parameters())).mul_(1.5)
    with pytest.raises(VerificationError, match="differs from PyTorch"):
        verify_onnx(exported.path, other, exported.contract, images(exported.contract, 8))
