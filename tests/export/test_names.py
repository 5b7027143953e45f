"""Node names, against PyTorch's own module tree and the graph's own edges."""

from collections.abc import Iterable
from pathlib import Path

import onnx
import pytest
import torch
from small_models import Exported, warping_model

from lstn.contract import LOGITS, PIXELS, THETA, Loc
from lstn.export.onnx.to_onnx import write_onnx
from lstn.formats.node_names import ModelPart, layer_of, part_of
from lstn.images import Pixels


@pytest.mark.parametrize(
    ("loc", "backbone"),
    [(Loc.LSTN, "cnn"), (Loc.STN, "resnet-18"), (Loc.VSTN, "effnet-b0"), (Loc.LSTN, "densenet-121"), (Loc.NONE, "cnn")],
)
def test_exports_are_named_and_agree_for_real_backbones(
    loc: Loc, backbone: str, images: Pixels, tmp_path: Path
) -> None:
    """Every convolution and linear is called as in PyTorch. One export for both, for large networks take long."""
    model, contract = warping_model(loc, backbone)
    wanted = [
        name.removeprefix("transformer.")
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    agreement = write_onnx(model, tmp_path / "model.onnx", contract, images)
    assert agreement.top1 > 0.9  # the weights are so untrained that rounding alone may move a near tie
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    found = [layer_of(node.name) for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert sorted(found) == sorted(wanted)
    assert len({node.name for node in nodes}) == len(nodes)
    # DenseNet normalises in front of its convolutions too, where nothing can take it up: one in each of 58 layers,
    # three transitions and the end.
    norms = [node.op_type for node in nodes].count("BatchNormalization")
    assert norms == (62 if backbone == "densenet-121" else 0)


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
