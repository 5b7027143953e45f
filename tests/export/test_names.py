"""Node names, against PyTorch's own module tree and the graph's own edges."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import onnx
import pytest
import torch
from small_models import LABELS, SIDE, Exported, exported_once
from torch import nn
from torchvision.models import DenseNet, EfficientNet
from torchvision.models.efficientnet import MBConvConfig

from lstn.contract import LOGITS, PIXELS, THETA, Loc
from lstn.export.onnx.to_onnx import write_onnx
from lstn.formats.node_names import ModelPart, layer_of, part_of
from lstn.images import Pixels
from lstn.nn.classifier import Classifier


@pytest.mark.parametrize(("loc", "backbone"), [(Loc.LSTN, "cnn"), (Loc.STN, "resnet-18"), (Loc.NONE, "cnn")])
def test_exports_are_named_and_agree_for_real_backbones(loc: Loc, backbone: str) -> None:
    """Every convolution and linear is called as in PyTorch."""
    exported = exported_once(loc, backbone)
    assert exported.agreement.top1 > 0.9  # the weights are so untrained that rounding alone may move a near tie
    nodes = onnx.load(exported.path).graph.node
    check_names(exported.model, nodes)
    assert "BatchNormalization" not in [node.op_type for node in nodes]


def short_densenet() -> DenseNet:
    """As densenet-121, whose export takes half a minute, with 5 layers for 58."""
    return DenseNet(growth_rate=8, block_config=(2, 3), num_init_features=8, num_classes=len(LABELS))


def short_effnet() -> EfficientNet:
    """As effnet-b0, with 3 blocks for 16."""
    blocks = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(6, 5, 2, 8, 16, 2)]
    return EfficientNet(blocks, dropout=0.2, num_classes=len(LABELS))


# DenseNet normalises in front of its convolutions too, where nothing can take it up: one in each of 5 layers, in the
# transition, and at the end.
@pytest.mark.parametrize(("loc", "network", "norms"), [("lstn", short_densenet, 5 + 1 + 1), ("vstn", short_effnet, 0)])
def test_exports_are_named_and_agree_for_what_torchvision_builds(
    loc: str, network: Callable[[], nn.Module], norms: int, images: Pixels, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Classifier.around(network(), labels=LABELS, image_hw=(SIDE, SIDE), loc=loc).eval()
    agreement = write_onnx(model, tmp_path / "model.onnx", model.contract, images)
    assert agreement.top1 > 0.9
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    check_names(model, nodes)
    assert [node.op_type for node in nodes].count("BatchNormalization") == norms


def check_names(model: Classifier, nodes: Sequence[onnx.NodeProto]) -> None:
    wanted = [
        name.removeprefix("transformer.")
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    found = [layer_of(node.name) for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert sorted(found) == sorted(wanted)
    assert len({node.name for node in nodes}) == len(nodes)


def test_parts_are_where_the_edges_say(exported: Exported) -> None:
    graph = onnx.load(exported.path).graph
    before_theta, after_theta = _before(graph, THETA), _after(graph, [THETA])
    sampled = _after(graph, [node.output[0] for node in graph.node if node.op_type == "GridSample"])
    for node in graph.node:
        part = part_of(node.name)
        if node.op_type == "GridSample":
            assert part is ModelPart.SAMPLER
        elif node.name in before_theta:
            assert part in (ModelPart.INPUT, ModelPart.LOCALIZER)
        elif node.name in sampled or exported.contract.loc is Loc.NONE:
            assert part in (ModelPart.BACKBONE, ModelPart.INPUT)
        else:
            assert node.name in after_theta
            assert part is ModelPart.GRID


def test_tensors_are_called_as_what_computes_them(exported: Exported) -> None:
    graph = onnx.load(exported.path).graph
    onnx.checker.check_model(onnx.load(exported.path), full_check=True)
    for node in graph.node:
        assert set(node.output) <= {node.name, LOGITS, THETA}
    assert [entry.name for entry in graph.input] == [PIXELS]


@pytest.mark.parametrize("name", ["", "Conv_3", "localizers.1/Conv", "/Conv"])
def test_a_name_from_elsewhere_has_no_part(name: str) -> None:
    assert part_of(name) is None


def _after(graph: onnx.GraphProto, tensors: Iterable[str]) -> set[str]:
    known, nodes = set(tensors), set()
    for node in graph.node:
        if known.intersection(node.input):
            known.update(node.output)
            nodes.add(node.name)
    return nodes


def _before(graph: onnx.GraphProto, tensor: str) -> set[str]:
    wanted, nodes = {tensor}, set()
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.add(node.name)
    return nodes
