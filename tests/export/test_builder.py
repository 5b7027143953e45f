import gc
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tensorrt_rtx
from fake_tensorrt import Hollow
from full_tensorrt import VERSION, FullTensorrt, made_up
from onnx import TensorProto, helper, numpy_helper
from small_models import Exported

from lstn.errors import ArtifactError, DeviceError, LstnError
from lstn.export.tensorrt.builder import Built, build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, Tuning
from lstn.formats.plan_file import Flavour, Tensor
from lstn.install import install_line
from lstn.machine.gpu import Gpu
from lstn.nvidia_driver import Driver

HOPPER = Gpu("NVIDIA H200", "sm90", 140_000)


def build_rtx(path: Path, *targets: str) -> Built:
    return build(
        path, BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=targets or ("sm89",))
    )


class TestFullTensorrt:
    """Genuine but for what only full TensorRT has; see full_tensorrt.py."""

    def build(self, monkeypatch: pytest.MonkeyPatch, trt: FullTensorrt, onnx_file: Path) -> Built:
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        return build(onnx_file, BuildSettings(flavour=Flavour.TRT, profiles=(BatchRange(1, 2, 4),), targets=("sm89",)))

    def test_it_is_asked_for_no_target(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        built = self.build(monkeypatch, FullTensorrt(), exported_lstn.path)
        assert built.version == VERSION
        assert len(built.data) > 100_000

    def test_the_gpu_that_was_built_on_is_named(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", lambda: (HOPPER,))
        assert self.build(monkeypatch, FullTensorrt(), exported_lstn.path).gpu == "NVIDIA H200"
        monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", tuple)
        assert self.build(monkeypatch, FullTensorrt(), exported_lstn.path).gpu == ""
        assert build_rtx(exported_lstn.path).gpu == ""

    def test_names_that_a_version_lacks_are_not_asked_for(
        self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = FullTensorrt(BuilderFlag=SimpleNamespace(), NetworkDefinitionCreationFlag=SimpleNamespace())
        assert self.build(monkeypatch, bare, exported_lstn.path).precision == "fp32"

    def test_layers_can_be_told_by_their_names(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        """By `lstn bench --profile`, which asks the plan for what stands behind a fused layer."""
        trt = FullTensorrt()
        self.build(monkeypatch, trt, exported_lstn.path)
        assert trt.configs[-1].profiling_verbosity == tensorrt_rtx.ProfilingVerbosity.DETAILED

    @pytest.mark.parametrize("hollow", [True, False])
    def test_under_a_driver_too_old_the_builder_is_never_touched(
        self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, hollow: bool
    ) -> None:
        def refuse(log: object) -> Hollow:
            log.log(tensorrt_rtx.ILogger.ERROR, "CUDA initialization failure with error: 35")  # type: ignore[attr-defined]
            if hollow:
                return Hollow()
            raise TypeError("pybind11::init(): factory function returned nullptr")

        monkeypatch.setattr("lstn.nvidia_driver.find_driver", lambda: Driver("550.54.15", (12, 4)))
        with pytest.raises(DeviceError, match=r"550\.54\.15 is too old for it .* error: 35") as caught:
            self.build(monkeypatch, FullTensorrt(Builder=refuse), exported_lstn.path)
        assert caught.value.message.startswith(f"TensorRT {VERSION} doesn't start: ")
        assert caught.value.hint.endswith(install_line("trt-cu12"))
        del caught
        gc.collect()
        assert Hollow.freed == 0

    def test_what_stands_in_for_it_has_the_names_of_the_genuine_classes(self) -> None:
        names = list(made_up())
        assert len(names) >= 9
        missing = [(real.__name__, name) for real, name in names if not hasattr(real, name)]
        assert missing == []


def test_the_network_is_described_as_it_is(exported_lstn: Exported) -> None:
    built = build_rtx(exported_lstn.path, "sm86", "sm89")
    assert built.version == tensorrt_rtx.__version__
    assert built.precision == "fp32"
    assert built.inputs == (Tensor("pixels", "UINT8", (-1, 48, 48, 3)),)
    assert built.outputs == (Tensor("logits", "FLOAT", (-1, 10)), Tensor("theta", "FLOAT", (-1, 2, 3)))


@pytest.mark.parametrize(
    ("attribute", "value", "read_as"),
    [
        ("mode", b"nearest", "NEAREST"),
        ("padding_mode", b"border", "CLAMP"),
        ("padding_mode", b"reflection", "REFLECT"),
        ("align_corners", 1, "True"),
    ],
)
def test_another_sampler_is_refused(
    exported_lstn: Exported, tmp_path: Path, attribute: str, value: bytes | int, read_as: str
) -> None:
    proto = onnx.load(exported_lstn.path)
    (node,) = [node for node in proto.graph.node if node.op_type == "GridSample"]
    kept = [entry for entry in node.attribute if entry.name != attribute]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(attribute, value)])
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(ArtifactError, match=f"reads the sampler '{node.name}' as .*{read_as}"):
        build_rtx(path)


def made(
    path: Path, nodes: list[onnx.NodeProto], *, batch: int | str = "N", opset: int = 18, **constants: object
) -> Path:
    """Write a graph from `pixels` (N, 8, 8, 3) uint8 to `logits` (N, 3)."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "made", [pixels], [logits], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def mean_of(source: str) -> list[onnx.NodeProto]:
    return [helper.make_node("ReduceMean", [source, "axes"], ["logits"], name="mean", keepdims=0)]


TO_FLOAT = helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT)
AXES = np.array([1, 2])


def test_an_operator_that_tensorrt_refuses_is_named(tmp_path: Path) -> None:
    nodes = [
        TO_FLOAT,
        helper.make_node("ReduceMean", ["float", "rows"], ["flat"], keepdims=0),
        helper.make_node("Reshape", ["flat", "affine"], ["theta"]),
        helper.make_node("AffineGrid", ["theta", "size"], ["grid"], name="the_grid", align_corners=0),
        *mean_of("grid"),
    ]
    constants = {"rows": np.array([1]), "affine": np.array([-1, 2, 3]), "size": np.array([4, 3, 8, 8])}
    path = made(tmp_path / "model.onnx", nodes, opset=20, axes=AXES, **constants)
    with pytest.raises(ArtifactError, match=r"can't read it: operator AffineGrid \(node the_grid\): UNSUPPORTED_NODE"):
        build_rtx(path)


def test_the_reason_of_a_refusal_is_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("Transpose", ["pixels"], ["planes"], name="turn", perm=[0, 3, 1, 2])]
    nodes += [helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT), *mean_of("float")]
    with pytest.raises(ArtifactError, match=r"operator Transpose \(node turn\): .* UInt8") as caught:
        build_rtx(made(tmp_path / "model.onnx", nodes, axes=AXES))
    assert "\n" not in caught.value.message


def test_a_file_that_is_cut_off(exported_lstn: Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported_lstn.path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="can't read it: MODEL_DESERIALIZE_FAILED"):
        build_rtx(path)


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "model.onnx", [TO_FLOAT, *mean_of("float")], batch=4, axes=AXES)
    with pytest.raises(ArtifactError, match="expected one input with a dynamic batch"):
        build_rtx(path)


def test_a_failed_build_says_what_tensorrt_logged(exported_lstn: Exported) -> None:
    with pytest.raises(LstnError, match=r"can't build .*model\.onnx for sm75: .*not supported") as caught:
        build_rtx(exported_lstn.path, "sm75")
    assert "catchCudaError" not in caught.value.message
    assert "Turing" in caught.value.hint


def test_a_workspace_that_is_too_small_is_told(exported_lstn: Exported) -> None:
    small, profiles = Tuning(workspace_mib=1), (BatchRange(1, 8, 256),)
    with pytest.raises(LstnError, match=r"no tactics .* within workspace limit") as caught:
        build(
            exported_lstn.path,
            BuildSettings(flavour=Flavour.TRT_RTX, profiles=profiles, targets=("sm89",), tuning=small),
        )
    assert caught.value.hint == "allow more with --workspace, or free GPU memory"


def test_a_failed_build_leaves_nothing_to_the_next(exported_lstn: Exported) -> None:
    with pytest.raises(LstnError, match="sm75"):
        build_rtx(exported_lstn.path, "sm75")
    with pytest.raises(LstnError, match="MIN<=OPT<=MAX") as caught:
        build(
            exported_lstn.path,
            BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(4, 2, 1),), targets=("sm89",)),
        )
    assert "Turing" not in caught.value.message


QUANTIZED = [
    TO_FLOAT,
    helper.make_node("QuantizeLinear", ["float", "scale", "zero"], ["small"]),
    helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["again"]),
    *mean_of("again"),
]


def cast_to(dtype: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["pixels"], ["half"], to=dtype),
        helper.make_node("Mul", ["half", "half"], ["square"]),
        helper.make_node("Cast", ["square"], ["float"], to=TensorProto.FLOAT),
        *mean_of("float"),
    ]


@pytest.mark.parametrize(
    ("precision", "nodes", "constants"),
    [
        ("fp32", [TO_FLOAT, *mean_of("float")], {}),
        ("fp16", cast_to(TensorProto.FLOAT16), {}),
        ("bf16", cast_to(TensorProto.BFLOAT16), {}),
        ("int8", QUANTIZED, {"scale": np.float32(2), "zero": np.int8(0)}),
    ],
)
def test_precision_is_read_from_the_network(
    tmp_path: Path, precision: str, nodes: list[onnx.NodeProto], constants: dict[str, object]
) -> None:
    assert build_rtx(made(tmp_path / "model.onnx", nodes, axes=AXES, **constants)).precision == precision
