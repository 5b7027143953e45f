import dataclasses
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tensorrt_rtx
from fake_tensorrt import FakeCuda, FakeTensorrt
from tiny import MakeTiny, Tiny

from lstn.contract import Loc
from lstn.errors import ArtifactError, DeviceError, LstnError, MissingExtra, UsageError
from lstn.files import sha256_of
from lstn.gpu import Device, Gpu, find_gpus
from lstn.plan import Flavour, Sidecar, read_header, read_sidecar, sidecar_path
from lstn.runtime.cuda import Cuda
from lstn.runtime.engine import Engine, open_engine
from lstn.runtime.preflight import rebuild

L4 = Gpu("NVIDIA L4", "sm89", 23034)


def found(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
    monkeypatch.setattr("lstn.runtime.preflight.find_gpus", lambda: gpus)


def refused(plan: Path) -> LstnError:
    with pytest.raises(LstnError) as raised, open_engine(plan):
        pass
    assert "\n" not in raised.value.message
    return raised.value


def rewrite(plan: Path, **changes: object) -> None:
    """Change the sidecar, or its hash after the plan was changed."""
    changes = {"plan_sha256": sha256_of(plan)} | changes
    sidecar_path(plan).write_text(dataclasses.replace(_parsed(plan), **changes).to_json())


def _parsed(plan: Path) -> Sidecar:
    fields = json.loads(sidecar_path(plan).read_text())
    fields["plan_sha256"] = sha256_of(plan)
    sidecar_path(plan).write_text(json.dumps(fields))
    return read_sidecar(plan)


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
        command = f"use ONNX Runtime: lstn infer images/ --engine {onnx}"
        assert error.hint == (command if with_onnx else f"{command} (the model that model.plan was built from)")

    @pytest.mark.parametrize(
        ("target", "command"),
        [("sm80", "lstn export --engine trt-rtx --target sm80"), ("sm90", "lstn export --engine trt")],
    )
    def test_another_gpu_is_told_how_to_rebuild(
        self, plan: Path, monkeypatch: pytest.MonkeyPatch, target: str, command: str
    ) -> None:
        found(monkeypatch, Gpu("another", target, 1))
        error = refused(plan)
        assert error.message == f"{plan}: built for sm86, sm89, this GPU is {target}"
        assert error.hint.startswith(f"rebuild it with: {command};")

    def test_another_version_is_told_both(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found(monkeypatch, L4)
        rewrite(plan, version="1.6.0.99")
        error = refused(plan)
        here = tensorrt_rtx.__version__
        assert error.message == f"{plan}: built by TensorRT for RTX 1.6.0.99, this is {here}"
        assert error.hint.startswith("rebuild it with: lstn export --engine trt-rtx;")

    def test_a_missing_library_names_its_extra(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found(monkeypatch, L4)
        monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
        error = refused(plan)
        assert isinstance(error, MissingExtra)
        assert (error.message, error.hint) == ("tensorrt_rtx is not installed", "run: pip install 'lstn[trt-rtx]'")

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
        monkeypatch.setattr("lstn.runtime.cuda.require", lambda *_, **__: FakeCuda())
        error = refused(plan)
        assert isinstance(error, ArtifactError)
        assert error.message.startswith(f"{plan}: TensorRT for RTX {tensorrt_rtx.__version__} can't load it: ")
        assert "it gave no reason" not in error.message
        assert capfd.readouterr().err == ""

    def test_the_genuine_cuda_python_tells_whether_there_is_a_driver(self) -> None:
        refusal = pytest.raises(DeviceError, match="cudaSetDevice failed: ")
        with nullcontext() if find_gpus() else refusal:
            Cuda(extra="trt")

    def test_the_cpu_is_no_place_for_a_plan(self, plan: Path) -> None:
        with pytest.raises(UsageError, match="runs on an NVIDIA GPU only"):
            open_engine(plan, device=Device.CPU)


def test_the_command_to_rebuild_suits_flavour_and_gpu() -> None:
    assert rebuild(Flavour.TRT, "sm87") == "lstn export --engine trt"
    assert rebuild(Flavour.TRT_RTX) == "lstn export --engine trt-rtx"


class TestExecution:
    """The calls and their order, against a fake that computes with NumPy."""

    @pytest.fixture
    def opened(self, plan: Path, make_tiny: MakeTiny, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeCuda]:
        """Put fakes in place of both libraries; `fails` names the call that fails, `#2` its second time."""

        def prepare(
            *, loc: Loc = Loc.LSTN, batch: tuple[int, int, int] = (1, 4, 8), fails: str = "", wide: int = 0
        ) -> FakeCuda:
            self.tiny = make_tiny(loc=loc)
            outputs: dict[str, tuple[int, ...]] = {"logits": (4 + wide,)}
            if loc is not Loc.NONE:
                outputs["theta"] = (2, 3)

            def answer(pixels: np.ndarray) -> dict[str, np.ndarray]:
                both = {"logits": self.tiny.logits(pixels), "theta": self.tiny.theta(pixels)}
                return {name: both[name] for name in outputs}

            cuda = FakeCuda(fails)
            version = tensorrt_rtx.__version__
            trt = FakeTensorrt(cuda, answer, outputs=outputs, batch=batch, version=version, fails=fails)
            found(monkeypatch, L4)
            rewrite(plan, contract=self.tiny.contract)
            monkeypatch.setattr("lstn.runtime.preflight.require", lambda *_, **__: trt)
            monkeypatch.setattr("lstn.runtime.cuda.require", lambda *_, **__: cuda)
            return cuda

        return prepare

    tiny: Tiny

    @pytest.mark.parametrize("loc", [Loc.LSTN, Loc.NONE])
    @pytest.mark.parametrize("batch", [(1, 4, 8), (5, 5, 8)])
    def test_every_batch_up_to_the_largest(
        self, plan: Path, opened: Callable[..., FakeCuda], loc: Loc, batch: tuple[int, int, int]
    ) -> None:
        cuda = opened(loc=loc, batch=batch)
        random = np.random.default_rng(0)
        with open_engine(plan) as engine:
            assert engine.max_batch == 8
            for count in (8, 1, 3, 8):
                pixels = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
                prediction = engine.infer(pixels)
                np.testing.assert_allclose(prediction.logits, self.tiny.logits(pixels), rtol=1e-5)
                if loc is Loc.NONE:
                    assert prediction.theta is None
                else:
                    np.testing.assert_allclose(prediction.theta, self.tiny.theta(pixels), atol=1e-6)
            assert cuda.calls.count("cudaMalloc") == (2 if loc is Loc.NONE else 3)  # once, whatever the batch
        assert (cuda.memory, cuda.streams) == ({}, set())

    def test_a_view_is_made_contiguous(self, plan: Path, opened: Callable[..., FakeCuda]) -> None:
        opened()
        pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)[:, ::-1, ::-1]
        with open_engine(plan) as engine:
            np.testing.assert_array_equal(engine.infer(pixels).logits, self.tiny.logits(pixels))

    def test_more_than_the_profile_holds_is_refused(self, plan: Path, opened: Callable[..., FakeCuda]) -> None:
        opened()
        with open_engine(plan) as engine, pytest.raises(UsageError, match="N from 1 to 8"):
            engine.infer(np.zeros((9, 8, 8, 3), np.uint8))

    @pytest.mark.parametrize(
        "call",
        [
            "cudaSetDevice",
            "cudaStreamCreateWithFlags",
            "cudaMalloc#1",
            "cudaMalloc#2",
            "cudaMalloc#3",
            "cudaMemcpyAsync#1",
            "cudaMemcpyAsync#2",
            "cudaMemcpyAsync#3",
            "cudaStreamSynchronize",
            "deserialize_cuda_engine",
            "create_execution_context",
            "set_tensor_address",
            "set_input_shape",
            "execute_async_v3",
        ],
    )
    def test_whatever_fails_is_told_and_everything_is_freed(
        self, plan: Path, opened: Callable[..., FakeCuda], call: str
    ) -> None:
        cuda = opened(fails=call)
        with pytest.raises(LstnError) as raised, open_engine(plan) as engine:
            engine.infer(np.zeros((2, 8, 8, 3), np.uint8))
        assert (cuda.memory, cuda.streams) == ({}, set())
        if call.startswith("cuda"):
            assert raised.value.message == f"{call.split('#')[0]} failed: out of memory (CUDA error 2)"
        else:
            assert f"{call} said no in two lines" in raised.value.message

    def test_the_callers_error_is_not_hidden_by_a_failing_end(
        self, plan: Path, opened: Callable[..., FakeCuda]
    ) -> None:
        cuda = opened(fails="cudaStreamSynchronize")
        with pytest.raises(KeyError), open_engine(plan):
            raise KeyError
        assert (cuda.memory, cuda.streams) == ({}, set())

    def test_a_plan_that_answers_otherwise_than_its_contract_is_refused(
        self, plan: Path, opened: Callable[..., FakeCuda]
    ) -> None:
        opened(wide=1)
        error = refused(plan)
        assert "its contract says" in error.message
        assert isinstance(error, ArtifactError)


@pytest.mark.gpu
def test_a_plan_built_for_this_gpu_answers_as_onnx_runtime(tmp_path: Path, tiny: Tiny) -> None:
    gpus = find_gpus()
    if not gpus:
        pytest.skip("no NVIDIA GPU")
    pytest.importorskip("lstn.export.to_plan")
    from lstn.export.builder import Batch
    from lstn.export.to_plan import write_plan

    plan = tmp_path / "model.plan"
    flavour = Flavour.TRT_RTX if rebuild(Flavour.TRT_RTX, gpus[0].target).endswith(gpus[0].target) else Flavour.TRT
    write_plan(tiny.path, plan, flavour=flavour, batch=Batch(1, 4, 8), targets=(gpus[0].target,))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    with open_engine(plan) as engine:
        agrees(engine, tiny, pixels)


def agrees(engine: Engine, tiny: Tiny, pixels: np.ndarray) -> None:
    prediction = engine.infer(pixels)
    np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), atol=1e-4)
    np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), atol=1e-4)
