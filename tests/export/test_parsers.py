"""What each parser makes of the sampler, in every opset that it may come in, and how the misreading ones are found."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorrt_rtx as rtx
from full_tensorrt import Builder, FullTensorrt
from onnx import TensorProto, helper, numpy_helper, version_converter
from small_models import SIDE, Exported, ExportOnce

from lstn.contract import PIXELS, Loc
from lstn.errors import ArtifactError
from lstn.export.plugin.node import fuse_sampler
from lstn.export.tensorrt.builder import Built, build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.formats.plan_file import Flavour

OPSETS = range(18, 23)
FORMS = ("native", "fused")
LOCS = (Loc.STN, Loc.VSTN, Loc.LSTN)
SAMPLER = {"native": "sampler/GridSample", "fused": "sampler/AffineGridSample"}


def in_opset(exported: Exported, opset: int, form: str) -> onnx.ModelProto:
    """As torch's exporter gets to a later opset: by conversion from 18. From 20 on, GridSample says `linear`."""
    proto = onnx.load(exported.path)
    if opset > 18:
        proto = version_converter.convert_version(proto, opset)
    proto.ir_version = 10
    if form == "fused":
        fuse_sampler(proto)
    onnx.checker.check_model(proto, full_check=True)
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    (sampler,) = [node for node in nodes if node.op_type == "GridSample"]
    (mode,) = [entry.s for entry in sampler.attribute if entry.name == "mode"]
    assert mode == (b"linear" if opset >= 20 else b"bilinear")
    return proto


@pytest.fixture(scope="module")
def builder() -> rtx.Builder:
    return rtx.Builder(rtx.Logger(rtx.Logger.ERROR))


@pytest.mark.parametrize("loc", LOCS, ids=lambda loc: loc.value)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", OPSETS)
class TestEveryForm:
    def test_tensorrt_for_rtx_reads_one_bilinear_sampler(
        self, export_once: ExportOnce, builder: rtx.Builder, loc: Loc, form: str, opset: int
    ) -> None:
        network = builder.create_network(0)
        parser = rtx.OnnxParser(network, builder.logger)
        assert parser.parse(in_opset(export_once(loc), opset, form).SerializeToString())
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        assert not [layer for layer in layers if "PLUGIN" in layer.type.name]
        (sampler,) = [layer for layer in layers if layer.type == rtx.LayerType.GRID_SAMPLE]
        sampler.__class__ = rtx.IGridSampleLayer
        assert sampler.interpolation_mode == rtx.InterpolationMode.LINEAR
        assert sampler.sample_mode == rtx.SampleMode.FILL
        assert sampler.align_corners is False
        assert sampler.name == "sampler/GridSample"

    def test_half_a_pixel_reads_the_mean_of_two(self, export_once: ExportOnce, loc: Loc, form: str, opset: int) -> None:
        images, warped = warped_by_half_a_pixel(in_opset(export_once(loc), opset, form), SAMPLER[form])
        beside = np.pad(images[..., 1:], ((0, 0), (0, 0), (0, 0), (0, 1)))
        np.testing.assert_allclose(warped, (images + beside) / 2, atol=1e-4)
        assert min(np.abs(warped - images).max(), np.abs(warped - beside).max()) > 0.1  # what nearest would read


def warped_by_half_a_pixel(proto: onnx.ModelProto, sampler: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images before and behind the sampler, with a localizer that moves any image by half a pixel."""
    shift = np.array([1, 0, 1 / SIDE, 0, 1, 0], np.float32)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("head.3.weight"):
            tensor.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(tensor), tensor.name))
        elif tensor.name.endswith("head.3.bias"):
            tensor.CopyFrom(numpy_helper.from_array(shift, tensor.name))
    (node,) = [node for node in proto.graph.node if node.name == sampler]
    names = [node.input[0], node.output[0]]
    known = {entry.name for entry in proto.graph.output}
    for name in names:
        if name not in known:
            proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    images, warped = session.run(names, {PIXELS: pixels})
    return images, warped


def test_the_probe_tells_nearest_from_bilinear(export_once: ExportOnce) -> None:
    proto = in_opset(export_once(Loc.STN), 18, "native")
    set_mode(proto, b"nearest")
    images, warped = warped_by_half_a_pixel(proto, SAMPLER["native"])
    beside = np.pad(images[..., 1:], ((0, 0), (0, 0), (0, 0), (0, 1)))
    assert np.abs(warped - (images + beside) / 2).max() > 0.1


def set_mode(proto: onnx.ModelProto, mode: bytes) -> None:
    (sampler,) = [node for node in proto.graph.node if node.op_type == "GridSample"]
    (attribute,) = [entry for entry in sampler.attribute if entry.name == "mode"]
    attribute.s = mode


def hand_made(path: Path, opset: int, *nodes: onnx.NodeProto) -> Path:
    """Write a graph that samples `images` at `grid`, or as `nodes` make of them, from `pixels` (N, 8, 8, 3) uint8."""
    start = [
        helper.make_node("Cast", [PIXELS], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("Slice", ["float", "zero", "two", "last"], ["grid"]),
    ]
    end = helper.make_node("ReduceMean", ["sampled", "axes"], ["logits"], keepdims=0)
    values = {
        "zero": [0],
        "two": [2],
        "last": [3],
        "axes": [2, 3],
        "row": [1],
        "affine": [-1, 2, 3],
        "size": [4, 3, 8, 8],
    }
    constants = [numpy_helper.from_array(np.array(value), name) for name, value in values.items()]
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["N", 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph([*start, *nodes, end], "hand-made", [pixels], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, path)
    return path


def sampler_saying(mode: str, grid: str = "grid") -> onnx.NodeProto:
    return helper.make_node("GridSample", ["images", grid], ["sampled"], name="the_sampler", mode=mode)


def build_with(onnx_file: Path, trt: FullTensorrt, monkeypatch: pytest.MonkeyPatch) -> Built:
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return build(onnx_file, BuildSettings(flavour=Flavour.TRT, profiles=(BatchRange(1, 2, 4),), targets=("sm89",)))


def build_rtx(onnx_file: Path) -> Built:
    return build(onnx_file, BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=("sm89",)))


@pytest.mark.parametrize("opset", [20, 21, 22])
def test_affine_grid_is_refused_by_name(opset: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["float", "row"], ["rows"], keepdims=0),
        helper.make_node("Reshape", ["rows", "affine"], ["theta"]),
        helper.make_node("AffineGrid", ["theta", "size"], ["points"], name="the_grid"),
        sampler_saying("linear", "points"),
    ]
    with pytest.raises(ArtifactError, match=r"operator AffineGrid \(node the_grid\): UNSUPPORTED_NODE"):
        build_rtx(hand_made(tmp_path / "model.onnx", opset, *nodes))


class OldParser:
    """The genuine parser, but `linear` becomes NEAREST in silence, as in TensorRT up to at least 11.1."""

    def __init__(self, network: Any, log: Any) -> None:
        self.network, self.real = network, rtx.OnnxParser(network, log)

    def parse_from_file(self, path: str) -> bool:
        parsed = bool(self.real.parse_from_file(path))
        proto = onnx.load(path)
        nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
        for index in range(self.network.num_layers):
            layer = self.network.get_layer(index)
            if layer.type == rtx.LayerType.GRID_SAMPLE:
                layer.__class__ = rtx.IGridSampleLayer
                (node,) = [node for node in nodes if node.name == layer.name]
                if helper.get_node_attr_value(node, "mode") == b"linear":
                    layer.interpolation_mode = rtx.InterpolationMode.NEAREST
        return parsed


class TestAnOldParser:
    """Fake in one point, since no such version can be had where these tests run."""

    @pytest.mark.parametrize("opset", [20, 21, 22])
    def test_linear_is_refused(self, opset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = hand_made(tmp_path / "model.onnx", opset, sampler_saying("linear"))
        with pytest.raises(ArtifactError, match=r"reads the sampler 'the_sampler' as \('NEAREST', 'FILL', False\)"):
            build_with(path, FullTensorrt(OnnxParser=OldParser), monkeypatch)
        assert build_rtx(path).data  # and a parser that understands it isn't

    @pytest.mark.parametrize("opset", [18, 19])
    def test_bilinear_is_read_as_it_is_meant(self, opset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = hand_made(tmp_path / "model.onnx", opset, sampler_saying("bilinear"))
        assert build_with(path, FullTensorrt(OnnxParser=OldParser), monkeypatch).data

    @pytest.mark.parametrize("form", FORMS)
    def test_what_lstn_exports_is_read_as_it_is_meant(
        self, form: str, exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "model.onnx"
        onnx.save(in_opset(exported_lstn, 18, form), path)
        assert build_with(path, FullTensorrt(version="10.8.0", OnnxParser=OldParser), monkeypatch).data

    def test_a_sampler_inside_a_function_is_refused_too(
        self, exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "model.onnx"
        onnx.save(in_opset(exported_lstn, 20, "fused"), path)
        with pytest.raises(ArtifactError, match=r"reads the sampler 'sampler/GridSample' as .*NEAREST"):
            build_with(path, FullTensorrt(version="10.8.0", OnnxParser=OldParser), monkeypatch)


class PluginNetwork:
    """A network of RTX whose sampler has become a plugin, as where our plugin is registered."""

    def __init__(self, real: Any, name: str) -> None:
        self.real, self.name = real, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_layer(self, index: int) -> Any:
        layer = self.real.get_layer(index)
        if layer.type != rtx.LayerType.GRID_SAMPLE:
            return layer
        return SimpleNamespace(type=rtx.LayerType.PLUGIN_V3, name=self.name, num_outputs=0)


class PluginBuilder(Builder):
    name = ""

    def __init__(self, log: Any) -> None:
        super().__init__(FullTensorrt(), log)
        self.create_network = lambda flags: PluginNetwork(self.real.create_network(flags), self.name)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        return super().build_serialized_network(network.real, config)


class TestAPlugin:
    def build_with_plugin(self, name: str, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
        monkeypatch.setattr(PluginBuilder, "name", name)
        parser = lambda network, log: rtx.OnnxParser(network.real, log)  # noqa: E731
        return build_with(onnx_file, FullTensorrt(Builder=PluginBuilder, OnnxParser=parser), monkeypatch)

    def test_our_sampler_may_be_one(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.build_with_plugin("sampler/AffineGridSample", exported_lstn.path, monkeypatch).data

    def test_nothing_else_may(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ArtifactError, match="reads 'backbone/Conv' as a plugin"):
            self.build_with_plugin("backbone/Conv", exported_lstn.path, monkeypatch)


class TestWhoIsToldOfThePlugin:
    @pytest.fixture
    def fused(self, exported_lstn: Exported, tmp_path: Path) -> Path:
        path = tmp_path / "fused.onnx"
        onnx.save(in_opset(exported_lstn, 18, "fused"), path)
        return path

    @pytest.fixture
    def events(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        happened: list[str] = []
        monkeypatch.setattr("lstn.export.tensorrt.builder.register_plugin", lambda: happened.append("registered"))
        return happened

    def test_full_tensorrt_before_it_parses(
        self, fused: Path, events: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def parser(network: Any, log: Any) -> Any:
            events.append("parser made")
            return rtx.OnnxParser(network, log)

        build_with(fused, FullTensorrt(OnnxParser=parser), monkeypatch)
        assert events == ["registered", "parser made"]

    def test_not_of_what_a_file_has_no_use_for(
        self, exported_lstn: Exported, events: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build_with(exported_lstn.path, FullTensorrt(), monkeypatch)
        assert events == []

    def test_never_tensorrt_for_rtx_whose_process_it_would_end(self, fused: Path, events: list[str]) -> None:
        assert build_rtx(fused).precision == "fp32"
        assert events == []
