"""A plan made elsewhere: what it was built for, what this is, and the command that rebuilds it."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.errors import ArtifactError
from lstn.formats.plan_file import Flavour, PlanHeader, Sidecar, read_sidecar
from lstn.machine.gpu import Gpu
from lstn.runtime.engines.plans import preflight
from lstn.runtime.engines.plans.preflight import check_plan, load_library, rebuild

L4, L40S = Gpu("NVIDIA L4", "sm89", 23_034), Gpu("NVIDIA L40S", "sm89", 46_068)
A100, H200, T4 = (
    Gpu(f"NVIDIA {name}", target, 1) for name, target in (("A100", "sm80"), ("H200", "sm90"), ("T4", "sm75"))
)
ORIN, THOR = Gpu("Orin", "sm87", 1), Gpu("NVIDIA Thor", "sm110", 1)
BLACKWELL = Gpu("NVIDIA GeForce RTX 5090", "sm120", 1)


@pytest.fixture
def trt_plan(plan: Path, monkeypatch: pytest.MonkeyPatch) -> Sidecar:
    """What stands beside a plan that TensorRT built on an L4. TensorRT itself doesn't see these plans."""
    sidecar = dataclasses.replace(
        read_sidecar(plan), flavour=Flavour.TRT, version="10.9.0.34", targets=("sm89",), gpu="NVIDIA L4"
    )
    monkeypatch.setattr(preflight, "read_header", lambda _: PlanHeader(Flavour.TRT, "10.9.0.34", 1))
    return sidecar


def checked(monkeypatch: pytest.MonkeyPatch, path: Path, sidecar: Sidecar, gpu: Gpu) -> Sidecar:
    monkeypatch.setattr(preflight, "read_sidecar", lambda _: sidecar)
    monkeypatch.setattr(preflight, "find_gpus", lambda: (gpu,))
    return check_plan(path)


def refused(monkeypatch: pytest.MonkeyPatch, path: Path, sidecar: Sidecar, gpu: Gpu) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        checked(monkeypatch, path, sidecar, gpu)
    return caught.value


MODEL = Path("model.plan")
REBUILD = "rebuild it with: lstn export model.onnx --engine trt --batch-profile 1,4,8"
INSTEAD = (
    "or name model.onnx in its place (the model that model.plan was built from), which ONNX Runtime runs on any CPU"
)


class TestGpus:
    def test_its_own(self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar) -> None:
        assert checked(monkeypatch, MODEL, trt_plan, L4) == trt_plan

    def test_another_compute_capability(self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar) -> None:
        error = refused(monkeypatch, MODEL, trt_plan, H200)
        assert error.message == "model.plan: built for sm89, this GPU is sm90"
        assert error.hint == f"{REBUILD}; {INSTEAD}"

    def test_another_model_of_the_same_compute_capability(
        self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar
    ) -> None:
        error = refused(monkeypatch, MODEL, trt_plan, L40S)
        assert error.message == "model.plan: built for sm89 (NVIDIA L4), this GPU is sm89 (NVIDIA L40S)"

    def test_a_plan_of_rtx_runs_on_every_model(self, monkeypatch: pytest.MonkeyPatch, plan: Path) -> None:
        for gpu in (L4, L40S):
            assert checked(monkeypatch, plan, read_sidecar(plan), gpu).targets == ("sm86", "sm89")

    @pytest.mark.parametrize("gpu", [L4, L40S, A100, H200, BLACKWELL])
    def test_a_hardware_compatible_one_runs_from_ampere_on(
        self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar, gpu: Gpu
    ) -> None:
        wide = dataclasses.replace(trt_plan, hardware_compatible=True)
        assert checked(monkeypatch, MODEL, wide, gpu) == wide

    @pytest.mark.parametrize("gpu", [T4, ORIN, THOR])
    def test_but_on_no_older_gpu_and_no_jetson(
        self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar, gpu: Gpu
    ) -> None:
        error = refused(monkeypatch, MODEL, dataclasses.replace(trt_plan, hardware_compatible=True), gpu)
        assert error.message == (
            f"model.plan: built for sm89 and any GPU from Ampere on but Jetson's, this GPU is {gpu.target}"
        )
        assert error.hint == f"{REBUILD}; {INSTEAD}"

    def test_the_command_says_all_that_the_plan_was_built_with(
        self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar
    ) -> None:
        special = dataclasses.replace(trt_plan, profiles=((1, 1, 1), (2, 8, 32)), version_compatible=True)
        error = refused(monkeypatch, Path("my models/a.int8.plan"), special, H200)
        assert error.hint.startswith(
            "rebuild it with: lstn export 'my models/a.int8.onnx' --engine trt --batch-profile 1,1,1 "
            "--batch-profile 2,8,32 --version-compatible --out 'my models';"
        )

    def test_a_plan_of_rtx_is_rebuilt_by_tensorrt_where_rtx_cannot(
        self, monkeypatch: pytest.MonkeyPatch, plan: Path
    ) -> None:
        sidecar = read_sidecar(plan)
        monkeypatch.chdir(plan.parent)
        assert (
            "lstn export model.onnx --engine trt-rtx --target sm80 --batch-profile 1,4,8;"
            in refused(monkeypatch, MODEL, sidecar, A100).hint
        )
        assert (
            "lstn export model.onnx --engine trt --batch-profile 1,4,8;"
            in refused(monkeypatch, MODEL, sidecar, H200).hint
        )


def loaded(monkeypatch: pytest.MonkeyPatch, sidecar: Sidecar, here: str) -> str:
    library = SimpleNamespace(__version__=here)
    monkeypatch.setattr(preflight, "require", lambda *_, **__: library)
    assert load_library(MODEL, sidecar) is library
    return here


class TestVersions:
    @pytest.mark.parametrize("here", ["10.9.0.34", "10.9.0.35"])
    def test_its_own(self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar, here: str) -> None:
        assert loaded(monkeypatch, trt_plan, here) == here

    @pytest.mark.parametrize("here", ["10.9.1.0", "10.10.0.31", "10.8.0.43", "11.0.0.1"])
    def test_any_other_is_refused(self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar, here: str) -> None:
        with pytest.raises(ArtifactError) as caught:
            loaded(monkeypatch, trt_plan, here)
        assert caught.value.message == f"model.plan: built by TensorRT 10.9.0.34, this is {here}"
        assert caught.value.hint == f"{REBUILD}; {INSTEAD}"

    @pytest.mark.parametrize("here", ["10.9.0.34", "10.9.1.0", "10.10.0.31", "10.16.1.11", "11.0.0.1", "11.4.1.9"])
    def test_a_compatible_one_runs_with_newer_ones(
        self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar, here: str
    ) -> None:
        assert loaded(monkeypatch, dataclasses.replace(trt_plan, version_compatible=True), here) == here

    @pytest.mark.parametrize(("built", "here"), [("10.9.0.34", "10.8.0.43"), ("11.0.0.1", "10.16.1.11")])
    def test_and_with_no_older_one(
        self, monkeypatch: pytest.MonkeyPatch, trt_plan: Sidecar, built: str, here: str
    ) -> None:
        sidecar = dataclasses.replace(trt_plan, version_compatible=True, version=built)
        with pytest.raises(ArtifactError, match=f"built by TensorRT {built}, this is {here}") as caught:
            loaded(monkeypatch, sidecar, here)
        assert "--engine trt --batch-profile 1,4,8 --version-compatible;" in caught.value.hint

    def test_rtx_has_no_compatible_ones(self, monkeypatch: pytest.MonkeyPatch, plan: Path) -> None:
        sidecar = dataclasses.replace(read_sidecar(plan), version_compatible=True, version="1.6.0.1")
        with pytest.raises(ArtifactError, match="built by TensorRT for RTX"):
            loaded(monkeypatch, sidecar, "1.7.1.116")


@given(version=st.text(max_size=20), compatible=st.booleans())
def test_a_version_that_is_none_is_refused(built_plan: Path, version: str, compatible: bool) -> None:
    sidecar = dataclasses.replace(
        read_sidecar(built_plan), flavour=Flavour.TRT, version=f"v{version}", version_compatible=compatible
    )
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ArtifactError, match="built by TensorRT v"):
        loaded(patch, sidecar, "10.9.0.34")


def test_the_command_to_rebuild_suits_flavour_and_gpu() -> None:
    assert rebuild(Flavour.TRT, "sm87") == "lstn export --engine trt"
    assert rebuild(Flavour.TRT_RTX) == "lstn export --engine trt-rtx"
    assert rebuild(Flavour.TRT_RTX, "sm89") == "lstn export --engine trt-rtx --target sm89"
    assert rebuild(Flavour.TRT_RTX, "sm87") == "lstn export --engine trt"
