import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_rtx
from full_tensorrt import Config, FullTensorrt
from onnx import TensorProto, helper, numpy_helper
from small_models import Exported

from lstn.errors import DeviceError, LstnError, UsageError
from lstn.export.tensorrt.builder import Built, build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, Tuning, apply_tuning, check_tuning
from lstn.formats.plan_file import Flavour

USUAL = (BatchRange(1, 2, 4),)
EIGHT = (BatchRange(8, 8, 8),)


def on_trt(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    tuning: Tuning,
    trt: FullTensorrt | None = None,
    profiles: tuple[BatchRange, ...] = USUAL,
) -> Config:
    """Build with full TensorRT, and return the configuration that it was given."""
    trt = trt or FullTensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    build(path, BuildSettings(flavour=Flavour.TRT, profiles=profiles, targets=("sm89",), tuning=tuning))
    return trt.configs[-1]


class TestGenuine:
    """What TensorRT for RTX has, as its own configuration reads afterwards, and what it builds."""

    def configured(self, tuning: Tuning) -> object:
        builder = tensorrt_rtx.Builder(tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR))
        config = builder.create_builder_config()
        apply_tuning(tensorrt_rtx, builder, config, builder.create_network(0), tuning)
        return config

    def workspace(self, config: object) -> int:
        return config.get_memory_pool_limit(tensorrt_rtx.MemoryPoolType.WORKSPACE)  # type: ignore[attr-defined]

    def test_what_is_left_out_is_tensorrts_own(self) -> None:
        builder = tensorrt_rtx.Builder(tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR))
        bare, left = builder.create_builder_config(), self.configured(Tuning())
        assert self.workspace(left) == self.workspace(bare)
        assert left.builder_optimization_level == bare.builder_optimization_level  # type: ignore[attr-defined]

    @pytest.mark.parametrize("mib", [1, 64, 1 << 20])
    def test_workspace(self, mib: int) -> None:
        assert self.workspace(self.configured(Tuning(workspace_mib=mib))) == mib * 1024 * 1024

    @pytest.mark.parametrize("level", range(6))
    def test_level(self, level: int) -> None:
        assert self.configured(Tuning(level=level)).builder_optimization_level == level  # type: ignore[attr-defined]

    def test_float32_is_multiplied_in_float32_unless_tf32_is_asked_for(self) -> None:
        for wanted in (False, True):
            config = self.configured(Tuning(tf32=wanted))
            assert config.get_flag(tensorrt_rtx.BuilderFlag.TF32) is wanted  # type: ignore[attr-defined]

    def test_a_plan_for_rtx_takes_no_memory_while_it_runs(
        self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or a graph couldn't be recorded; see BuilderFlag.REQUIRE_USER_ALLOCATION."""
        seen = []

        def spy(trt: Any, builder: object, config: Any, network: object, tuning: Tuning) -> None:
            seen.append(config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION))

        monkeypatch.setattr("lstn.export.tensorrt.builder.apply_tuning", spy)
        assert len(self.built(exported_lstn.path).data) > 100_000
        assert seen == [True]

    def built(self, path: Path, *profiles: BatchRange, tuning: Tuning | None = None) -> Built:
        chosen, tuning = profiles or USUAL, tuning or Tuning()
        return build(path, BuildSettings(flavour=Flavour.TRT_RTX, profiles=chosen, targets=("sm89",), tuning=tuning))

    def test_an_engine_is_built_with_them(self, exported_lstn: Exported) -> None:
        assert len(self.built(exported_lstn.path, tuning=Tuning(workspace_mib=64, level=5)).data) > 100_000

    def test_a_second_profile_brings_kernels_of_its_own(self, exported_lstn: Exported) -> None:
        one = self.built(exported_lstn.path, BatchRange(2, 8, 32))
        two = self.built(exported_lstn.path, BatchRange(1, 1, 1), BatchRange(2, 8, 32))
        assert len(two.data) > 1.5 * len(one.data)


class TestFullTensorrt:
    """See full_tensorrt.py for what is genuine there."""

    def test_nothing_said_is_nothing_set(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        config = on_trt(monkeypatch, exported_lstn.path, Tuning())
        assert (config.said, config.flags_set) == ({}, set())

    def test_hardware_compatible(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        config = on_trt(monkeypatch, exported_lstn.path, Tuning(hardware_compatible=True))
        level = tensorrt_rtx.HardwareCompatibilityLevel.AMPERE_PLUS
        assert (config.said, config.flags_set) == ({"hardware_compatibility_level": level}, set())

    def test_version_compatible(self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
        config = on_trt(monkeypatch, exported_lstn.path, Tuning(version_compatible=True))
        assert (config.said, config.flags_set) == ({}, {"VERSION_COMPATIBLE"})

    @pytest.mark.parametrize(
        ("tuning", "lacking", "message"),
        [
            (
                Tuning(hardware_compatible=True),
                "HardwareCompatibilityLevel",
                "AMPERE_PLUS, which --hardware-compatible asks for",
            ),
            (Tuning(version_compatible=True), "BuilderFlag", "BuilderFlag.VERSION_COMPATIBLE, which --version"),
            (Tuning(dla_core=0), "DeviceType", "DeviceType.DLA, which --dla asks for"),
        ],
    )
    def test_what_a_version_lacks_is_one_error(
        self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, tuning: Tuning, lacking: str, message: str
    ) -> None:
        trt = FullTensorrt(**{lacking: type("Lacking", (), {})})
        with pytest.raises(LstnError, match=f"TensorRT {trt.__version__} has no .*{re.escape(message)}"):
            on_trt(monkeypatch, exported_lstn.path, tuning, trt)

    def test_the_dla_takes_what_it_can_and_the_gpu_the_rest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = half_precision(tmp_path / "half.onnx")
        config = on_trt(monkeypatch, path, Tuning(dla_core=1), FullTensorrt(dla_cores=2), EIGHT)
        assert config.said == {"default_device_type": tensorrt_rtx.DeviceType.DLA, "DLA_core": 1}
        assert config.flags_set == {"GPU_FALLBACK"}

    def test_the_model_is_read_as_the_dla_wants_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, flags = half_precision(tmp_path / "half.onnx"), []

        class Parser(tensorrt_rtx.OnnxParser):
            def parse_from_file(self, name: str) -> bool:
                flags.append(self.get_flag(tensorrt_rtx.OnnxParserFlag.ADJUST_FOR_DLA))
                return bool(super().parse_from_file(name))

        for dla_core in (None, 0):
            on_trt(monkeypatch, path, Tuning(dla_core=dla_core), FullTensorrt(dla_cores=1, OnnxParser=Parser), EIGHT)
        assert flags == [False, True]

    def test_a_dla_that_takes_no_strongly_typed_network_is_refused_with_the_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older = FullTensorrt(version="10.3.0", dla_cores=2, OnnxParserFlag=type("OnnxParserFlag", (), {}))
        reason = "the DLA of TensorRT 10.3.0 takes weakly typed networks alone"
        with pytest.raises(LstnError, match=re.escape(reason)) as caught:
            on_trt(monkeypatch, half_precision(tmp_path / "half.onnx"), Tuning(dla_core=0), older, EIGHT)
        assert caught.value.hint.startswith("leave --dla out to build for the GPU")

    @pytest.mark.parametrize(("cores", "core"), [(0, 0), (2, 2)])
    def test_a_dla_that_is_not_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, core: int
    ) -> None:
        path = half_precision(tmp_path / "half.onnx")
        with pytest.raises(DeviceError, match=f"--dla {core}: .* sees {cores} DLA cores") as caught:
            on_trt(monkeypatch, path, Tuning(dla_core=core), FullTensorrt(dla_cores=cores), EIGHT)
        assert caught.value.hint == "leave --dla out to build for the GPU"

    def test_a_model_that_the_dla_cannot_run_is_not_built_for_the_gpu_in_silence(
        self, exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(LstnError, match="the DLA can run no layer of this model"):
            on_trt(monkeypatch, exported_lstn.path, Tuning(dla_core=0), FullTensorrt(dla_cores=1), EIGHT)


def half_precision(path: Path) -> Path:
    """Write a float16 convolution: pixels (N, 8, 8, 3) uint8 -> logits (N, 4, 6, 6)."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float16), "weight")
    nodes = [
        helper.make_node("Cast", ["pixels"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["half"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weight"], ["answer"]),
        helper.make_node("Cast", ["answer"], ["logits"], to=TensorProto.FLOAT),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4, 6, 6])
    graph = helper.make_graph(nodes, "half", [pixels], [logits], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def for_trt(tuning: Tuning, profiles: tuple[BatchRange, ...], target: str) -> BuildSettings:
    return BuildSettings(flavour=Flavour.TRT, profiles=profiles, targets=(target,), tuning=tuning)


HARDWARE, VERSION, DLA = Tuning(hardware_compatible=True), Tuning(version_compatible=True), Tuning(dla_core=0)


@pytest.mark.parametrize(("tuning", "option"), [(HARDWARE, "hardware-compatible"), (VERSION, "version"), (DLA, "dla")])
def test_rtx_has_none_of_them(tuning: Tuning, option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}.* is for --engine trt"):
        check_tuning(BuildSettings(flavour=Flavour.TRT_RTX, profiles=EIGHT, targets=("sm89",), tuning=tuning))


def test_rtx_itself_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason why they are refused: it ignores the first with a warning, fails on the second, and has no DLA."""
    builder = tensorrt_rtx.Builder(tensorrt_rtx.Logger(tensorrt_rtx.Logger.WARNING))
    builder.create_builder_config().hardware_compatibility_level = tensorrt_rtx.HardwareCompatibilityLevel.AMPERE_PLUS
    said = capfd.readouterr()
    assert "setHardwareCompatibilityLevel() is unsupported" in said.out + said.err
    assert builder.num_DLA_cores == 0


@pytest.mark.parametrize("target", ["sm80", "sm86", "sm89", "sm90", "sm100", "sm103", "sm120", "sm121"])
def test_hardware_compatible_plans_are_for_ampere_and_newer(target: str) -> None:
    check_tuning(for_trt(HARDWARE, USUAL, target))


@pytest.mark.parametrize("target", ["sm70", "sm75", "sm87", "sm101", "sm110"])
def test_older_gpus_and_jetsons_have_none(target: str) -> None:
    with pytest.raises(UsageError, match=f"for Ampere .* this one is {target}"):
        check_tuning(for_trt(HARDWARE, USUAL, target))


@pytest.mark.parametrize("profiles", [USUAL, (BatchRange(1, 8, 8),), (BatchRange(1, 1, 1), BatchRange(8, 8, 8))])
def test_the_dla_takes_one_batch_size(profiles: tuple[BatchRange, ...]) -> None:
    with pytest.raises(UsageError, match="--dla takes one batch size") as caught:
        check_tuning(for_trt(DLA, profiles, "sm87"))
    largest = profiles[-1].maximum
    assert caught.value.hint == f"name it three times: --batch-profile {largest},{largest},{largest}"
    check_tuning(for_trt(DLA, EIGHT, "sm87"))


def test_everything_that_can_be_said_is_off_unless_it_is_said() -> None:
    assert {getattr(Tuning(), field.name) for field in fields(Tuning)} == {None, False}
