import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import tensorrt_rtx
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_machine import L4, found, put_cuda, rewrite

from lstn.errors import ArtifactError, DeviceError, LstnError, MissingExtra, UsageError
from lstn.formats.plan_file import Flavour, read_header, sidecar_path
from lstn.install import install_line
from lstn.machine.gpu import Device, Gpu, find_gpus
from lstn.runtime.engines.cuda.cuda_opening import open_cuda
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.plans.preflight import rebuild


def refused(plan: Path) -> LstnError:
    with pytest.raises(LstnError) as raised, open_engine(plan):
        pass
    assert "\n" not in raised.value.message
    return raised.value


class TestGenuinePlans:
    """Built by TensorRT for RTX; only the GPU is missing here."""

    def test_the_header_is_that_of_the_installed_library(self, plan: Path) -> None:
        header = read_header(plan)
        assert (header.flavour, header.version) == (Flavour.TRT_RTX, tensorrt_rtx.__version__)
        assert header.payload_bytes == plan.stat().st_size

    @pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999999])
    def test_a_cut_off_plan_is_refused(self, plan: Path, share: float) -> None:
        whole = plan.read_bytes()
        plan.write_bytes(whole[: int(len(whole) * share)])
        error = refused(plan)
        assert isinstance(error, ArtifactError)
        assert "not a TensorRT plan" in error.message if share < 0.001 else f"of at least {len(whole)}" in error.message
        assert "lstn export --engine trt" in error.hint

    @pytest.mark.parametrize("position", [70, 5000, -1])
    def test_one_flipped_byte_is_refused(self, plan: Path, position: int) -> None:
        data = bytearray(plan.read_bytes())
        data[position] ^= 1
        plan.write_bytes(data)
        error = refused(plan)
        assert "describes another plan, or model.plan is damaged" in error.message
        assert error.hint == "rebuild both with: lstn export --engine trt-rtx"

    def test_the_sidecar_of_another_plan_is_refused(self, plan: Path) -> None:
        fields = json.loads(sidecar_path(plan).read_text())
        sidecar_path(plan).write_text(json.dumps(fields | {"plan_sha256": "0" * 64}))
        assert "describes another plan" in refused(plan).message

    def test_a_missing_sidecar_is_named(self, plan: Path) -> None:
        sidecar_path(plan).unlink()
        error = refused(plan)
        assert error.message.startswith(f"{plan}.json: missing")
        assert error.hint == "keep the two files together"

    def test_a_sidecar_of_the_other_flavour_is_refused(self, plan: Path) -> None:
        rewrite(plan, flavour=Flavour.TRT)
        assert "a plan of TensorRT for RTX, and its sidecar says TensorRT" in refused(plan).message

    @pytest.mark.parametrize("with_onnx", [False, True])
    def test_without_a_gpu_the_command_that_works_is_named(
        self, plan: Path, monkeypatch: pytest.MonkeyPatch, with_onnx: bool
    ) -> None:
        found(monkeypatch)
        onnx = plan.with_suffix(".onnx")
        if with_onnx:
            onnx.touch()
        error = refused(plan)
        assert isinstance(error, DeviceError)
        assert error.message == f"{plan}: a plan needs an NVIDIA GPU, and this machine shows none"
        built_from = "" if with_onnx else " (the model that model.plan was built from)"
        assert error.hint == f"name {onnx} in its place{built_from}, which ONNX Runtime runs on any CPU"

    @pytest.mark.parametrize(
        ("target", "command"),
        [("sm80", "--engine trt-rtx --target sm80"), ("sm90", "--engine trt")],
    )
    def test_another_gpu_is_told_how_to_rebuild(
        self, plan: Path, monkeypatch: pytest.MonkeyPatch, target: str, command: str
    ) -> None:
        found(monkeypatch, Gpu("another", target, 1))
        error = refused(plan)
        assert error.message == f"{plan}: built for sm86, sm89, this GPU is {target}"
        assert error.hint.startswith(
            f"rebuild it with: lstn export {plan.with_suffix('.onnx')} {command} --batch-profile 1,4,8 "
            f"--out {plan.parent};"
        )

    def test_another_version_is_told_both(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found(monkeypatch, L4)
        rewrite(plan, version="1.6.0.99")
        error = refused(plan)
        here = tensorrt_rtx.__version__
        assert error.message == f"{plan}: built by TensorRT for RTX 1.6.0.99, this is {here}"
        onnx = plan.with_suffix(".onnx")
        command = f"lstn export {onnx} --engine trt-rtx --batch-profile 1,4,8 --out {plan.parent}"
        assert error.hint.startswith(f"rebuild it with: {command};")

    def test_a_missing_library_names_its_extra(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found(monkeypatch, L4)
        monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
        error = refused(plan)
        assert isinstance(error, MissingExtra)
        assert (error.message, error.hint) == ("tensorrt_rtx is not installed", f"run: {install_line('trt-rtx')}")

    def test_a_missing_cuda_python_is_called_what_pip_calls_it(
        self, plan: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found(monkeypatch, L4)
        monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", None)
        assert refused(plan).message == "cuda-python is not installed"

    def test_a_library_that_returns_none_becomes_an_error(
        self, plan: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The genuine library: it deserializes nothing, says why in its log, and never raises."""
        found(monkeypatch, L4)
        data = plan.read_bytes()
        plan.write_bytes(data[:64] + bytes(len(data) - 64))
        rewrite(plan)
        put_cuda(monkeypatch, FakeCudart(FakeGpu()))
        error = refused(plan)
        assert isinstance(error, ArtifactError)
        assert error.message.startswith(f"{plan}: TensorRT for RTX {tensorrt_rtx.__version__} can't load it: ")
        assert "it gave no reason" not in error.message
        assert capfd.readouterr().err == ""

    def test_the_genuine_cuda_python_tells_whether_there_is_a_driver(self) -> None:
        refusal = pytest.raises(DeviceError, match="cudaGetDevice failed: ")
        with nullcontext() if find_gpus() else refusal:
            open_cuda(extra="trt")

    def test_the_cpu_is_no_place_for_a_plan(self, plan: Path) -> None:
        with pytest.raises(UsageError, match="runs on an NVIDIA GPU only"):
            open_engine(plan, device=Device.CPU)


def test_the_command_to_rebuild_suits_flavour_and_gpu() -> None:
    assert rebuild(Flavour.TRT, "sm87") == "lstn export --engine trt"
    assert rebuild(Flavour.TRT_RTX) == "lstn export --engine trt-rtx"
