import mmap
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny import MakeTiny, Tiny

from lstn.errors import ArtifactError
from lstn.formats.onnx_file import read_model, read_onnx
from lstn.formats.plan_file import Tensor


def test_it_says_what_the_onnx_package_says(tiny: Tiny) -> None:
    found, proto = read_onnx(tiny.path), onnx.load(tiny.path)
    assert found.contract == tiny.contract
    assert found.opset == proto.opset_import[0].version == 18
    assert found.operators == Counter(node.op_type for node in proto.graph.node)
    assert found.constants == Counter(str(numpy_helper.to_array(weight).dtype) for weight in proto.graph.initializer)
    assert found.inputs == (Tensor("pixels", "uint8", (-1, 8, 8, 3)),)
    assert found.outputs == (Tensor("logits", "float32", (-1, 4)), Tensor("theta", "float32", (-1, 2, 3)))
    assert not found.external_data


def branching() -> onnx.ModelProto:
    """Nodes in both branches of an If, a function that is called twice, and its body."""
    true = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"])], "true", [], [helper.make_empty_tensor_value_info("t")]
    )
    false = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["f"])], "false", [], [helper.make_empty_tensor_value_info("f")]
    )
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=true, else_branch=false),
        helper.make_node("Warp", ["z"], ["y1"], domain="lstn"),
        helper.make_node("Warp", ["y1"], ["y"], domain="lstn"),
    ]
    warp = helper.make_function(
        "lstn", "Warp", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", None]),
            helper.make_tensor_value_info("c", 9, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, None)],
    )
    opsets = [helper.make_opsetid("lstn", 1), helper.make_opsetid("", 18)]
    return helper.make_model(graph, functions=[warp], opset_imports=opsets, producer_name="me")


def test_branches_count_and_functions_count_where_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "branching.onnx"
    path.write_bytes(branching().SerializeToString())
    found = read_onnx(path)
    assert found.contract is None
    assert (found.opset, found.producer) == (18, "me")
    assert found.operators == {"If": 1, "Relu": 1, "Neg": 1, "lstn::Warp": 2}
    assert found.inputs == (Tensor("x", "float16", (-1, -1)), Tensor("c", "bool", ()))
    assert found.outputs == (Tensor("y", "bfloat16", ()),)


def external(tensor: TensorProto) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere")
    return tensor


def _in_initializer(model: onnx.ModelProto) -> None:
    external(model.graph.initializer.add(name="w", data_type=1, dims=[2]))


def _in_attribute(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["k"], value=external(TensorProto(data_type=1, dims=[2])))
    model.graph.node.append(node)


def _in_branch(model: onnx.ModelProto) -> None:
    external(model.graph.node[0].attribute[0].g.initializer.add(name="w", data_type=1, dims=[2]))


def _in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["k"], value=external(TensorProto(data_type=1, dims=[2])))
    model.functions[0].node.append(node)


def _in_sparse(model: onnx.ModelProto) -> None:
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(external(values), indices, [2]))


def _in_training(model: onnx.ModelProto) -> None:
    external(model.training_info.add().algorithm.initializer.add(name="w", data_type=1, dims=[2]))


@pytest.mark.parametrize(
    "hide",
    [_in_initializer, _in_attribute, _in_branch, _in_function, _in_sparse, _in_training],
    ids=lambda f: f.__name__,
)
def test_external_data_is_found_wherever_a_tensor_can_be(tmp_path: Path, hide: object) -> None:
    model, path = branching(), tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert not read_onnx(path).external_data
    hide(model)
    path.write_bytes(model.SerializeToString())
    assert read_onnx(path).external_data


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_an_artifact_error_or_nothing(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(branching().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "model.onnx"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(ArtifactError):
        read_onnx(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it holds no graph"),
        (b"\x08\x0a", "it holds no graph"),
        (b"\x3a\xff\xff\xff\xff\x0f", "a field reaches beyond the end"),
        (b"\x3a" + b"\xff" * 11, "a number has no end"),
        (b"\x3b\x00", "no field is of wire type 3"),
        (b"\x38\x01", "a number stands where a message belongs"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=told):
        read_onnx(path)


def test_a_file_that_is_emptied_while_it_is_opened_is_one_error(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("cannot mmap an empty file")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(ArtifactError, match="cannot mmap an empty file"):
        read_onnx(tiny.path)


def test_a_model_of_lstn_is_one_file_with_a_contract(tiny: Tiny, make_tiny: MakeTiny) -> None:
    assert read_model(tiny.path) == (tiny.contract, read_onnx(tiny.path))
    with pytest.raises(ArtifactError, match="keeps weights in other files"):
        read_model(make_tiny(edit=_in_initializer).path)
    with pytest.raises(ArtifactError, match="no contract, so it wasn't written by lstn"):
        read_model(make_tiny(edit=lambda model: model.ClearField("metadata_props")).path)


def test_graphs_that_nest_without_end_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(200):  # GraphProto.node.attribute.g
        for field in (6, 5, 1):
            graph = bytes([field << 3 | 2]) + _length(graph) + graph
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + _length(graph) + graph)
    with pytest.raises(ArtifactError, match="nest too deep"):
        read_onnx(path)


def _length(data: bytes) -> bytes:
    size, out = len(data), b""
    while size > 0x7F:
        out, size = out + bytes([size & 0x7F | 0x80]), size >> 7
    return out + bytes([size])


def test_weights_are_skipped_not_read(make_tiny: MakeTiny) -> None:
    def enlarge(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(25_000_000, np.float32), "large"))

    path = make_tiny(edit=enlarge).path
    started = time.perf_counter()
    read_onnx(path)
    assert time.perf_counter() - started < 0.1
