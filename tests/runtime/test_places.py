"""Where a layer belongs: names told apart, and what has none put between its neighbours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.formats.onnx_file import Node
from lstn.runtime.bench.layer_places import OTHER, SEVERAL, Layer, LayerPlace, place_layers


def unnamed(name: str, operator: str = "") -> Layer:
    return Layer(name, operator, name)


def parts_of(*names: str) -> list[str]:
    return [place.part for place in place_layers([unnamed(name) for name in names], ())]


@pytest.mark.parametrize(
    ("name", "part", "layer", "operator"),
    [
        ("sampler/GridSample", "sampler", "sampler", "GridSample"),
        (
            "backbone.layer1.0.conv1/Conv + backbone.layer1.0.relu/Relu",
            "backbone",
            "backbone.layer1.0.conv1",
            "Conv + Relu",
        ),
        ("backbone.l.relu/Relu_2 + backbone.l.conv2/Conv_13", "backbone", "backbone.l.conv2", "Relu + Conv"),
        ("PWN(PWN(backbone.f.1/Sigmoid), backbone.f.1/Mul)", "backbone", "backbone.f.1", "Sigmoid + Mul"),
        ("{ForeignNode[backbone.a/Conv...backbone.z/Gemm]}", "backbone", "backbone.a to backbone.z", "Conv + Gemm"),
        ("{ForeignNode[backbone.a/Conv...backbone.z/Relu]}", "backbone", "backbone.a to backbone.z", "Conv + Relu"),
        ("Reformatting CopyNode for Input Tensor 0 to backbone.c/Conv", "backbone", "backbone.c", "Reformat"),
        ("localizer.head.3/Gemm + grid/Mul", SEVERAL, "localizer.head.3/Gemm + grid/Mul", "Gemm + Mul"),
        (
            "{ForeignNode[localizer.a/Conv...backbone.z/Gemm]}",
            SEVERAL,
            "localizer.a/Conv + backbone.z/Gemm",
            "Conv + Gemm",
        ),
        (
            "sampler/GridSample_abcd_acdb_backbone.c/Conv",
            SEVERAL,
            "sampler/GridSample_abcd_acdb + backbone.c/Conv",
            None,
        ),
        ("theta_DequantizeLinear/duplicated", "localizer", "localizer", ""),
        ("logits", "backbone", "backbone", ""),
        ("node_Conv_506", OTHER, "node_Conv_506", ""),
        ("mybackbone.a/Conv", OTHER, "mybackbone.a/Conv", ""),
        ("net.backbone.a/Conv", OTHER, "net.backbone.a/Conv", ""),
        ("some/backbone.a/Conv", OTHER, "some/backbone.a/Conv", ""),
    ],
)
def test_a_layer_is_placed_by_every_name_in_it(name: str, part: str, layer: str, operator: str | None) -> None:
    (place,) = place_layers([unnamed(name)], ())
    assert (place.part, place.layer) == (part, layer)
    assert operator is None or place.operator == operator


def test_a_layer_without_a_name_is_where_both_its_neighbours_are() -> None:
    found = parts_of("input/Cast", "x", "localizer.a/Conv", "y", "z", "localizer.b/Conv", "w", "sampler/GridSample")
    assert found == ["input", OTHER, "localizer", "localizer", "localizer", "localizer", OTHER, "sampler"]


def test_before_the_first_name_lies_the_input_and_after_the_last_the_backbone() -> None:
    assert parts_of("x", "input/Cast", "backbone.a/Conv", "y") == ["input", "input", "backbone", "backbone"]
    assert parts_of("x", "grid/Mul", "y") == [OTHER, "grid", OTHER]
    assert parts_of("x", "y") == [OTHER, OTHER]


def test_beside_a_layer_of_several_parts_nothing_is_told() -> None:
    both = "localizer.a/Conv + grid/Mul"
    assert parts_of(both, "x", both) == [SEVERAL, OTHER, SEVERAL]


def test_what_an_engine_adds_is_called_by_what_it_does() -> None:
    layers = [
        Layer(name, "Reorder", name) for name in ("localizer.a/Conv", "Reorder_1", "localizer.b/Conv", "Reorder_2")
    ]
    layers.append(unnamed("sampler/GridSample"))
    places = place_layers(layers, ())
    assert places[1] == LayerPlace("localizer", "localizer, between layers", "Reorder")
    assert places[3] == LayerPlace(OTHER, "Reorder_2", "Reorder")


@given(st.lists(st.sampled_from(["", "input", "localizer", "grid", "sampler", "backbone"]), max_size=12))
def test_every_layer_gets_a_place_and_a_named_one_its_own(parts: list[str]) -> None:
    places = place_layers([unnamed(f"{part}.a/Conv" if part else "x") for part in parts], ())
    assert len(places) == len(parts)
    for index, (part, place) in enumerate(zip(parts, places, strict=True)):
        before = [each for each in ["input", *parts[:index]] if each][-1]
        after = next(each for each in [*parts[index:], "backbone"] if each)
        assert place.part == (part or (before if before == after else OTHER))


class TestFusedNodes:
    """ONNX Runtime calls what it fused by any of the nodes; model.onnx tells which one takes the time."""

    NODES = (
        Node("backbone.a/Conv", "Conv", ("x",), ("a",)),
        Node("backbone.relu/Relu", "Relu", ("a",), ("ra",)),
        Node("backbone.b/Conv", "Conv", ("ra",), ("b",)),
        Node("backbone.side/Conv", "Conv", ("x",), ("side",)),
        Node("backbone/Add", "Add", ("side", "b"), ("sum",)),
        Node("backbone.relu/Relu_2", "Relu", ("sum",), ("rs",)),
        Node("backbone.norm/BatchNormalization", "BatchNormalization", ("rs",), ("n",)),
        Node("backbone.fc/Gemm", "Gemm", ("n",), ("logits",)),
    )

    def layers(self, *runs: tuple[str, str]) -> list[str]:
        return [place.layer for place in place_layers([Layer(name, op, name) for name, op in runs], self.NODES)]

    def test_a_convolution_is_found_behind_its_activation(self) -> None:
        assert self.layers(("backbone.relu/Relu_nchwc", "Conv")) == ["backbone.a"]

    def test_not_one_that_runs_by_itself(self) -> None:
        runs = (("backbone.side/Conv_nchwc", "Conv"), ("backbone.relu/Relu_2_nchwc", "Conv"))
        assert self.layers(*runs) == ["backbone.side", "backbone.b"]

    def test_nor_one_before_a_layer_that_does(self) -> None:
        """DenseNet's lone BatchNormalization becomes a convolution of its own."""
        runs = (("backbone.relu/Relu_2_nchwc", "Conv"), ("backbone.norm/BatchNormalization_bn_nchwc", "Conv"))
        assert self.layers(*runs)[1] == "backbone.norm"

    @pytest.mark.parametrize(
        ("name", "operator"), [("fused backbone.fc/Gemm", "FusedGemm"), ("backbone.fc/Gemm_token_9", "QGemm")]
    )
    def test_a_variant_of_the_nodes_own_operator_is_the_node(self, name: str, operator: str) -> None:
        assert self.layers((name, operator)) == ["backbone.fc"]

    def test_a_node_that_the_model_lacks_keeps_its_name(self) -> None:
        assert self.layers(("backbone.new/Conv", "Conv")) == ["backbone.new"]
