import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lstn.errors import DeviceError, MissingExtra, UsageError
from lstn.export.tensorrt.targets import choose_targets, own_gpu
from lstn.formats.plan_file import RTX_TARGETS, Flavour
from lstn.install import install_line
from lstn.machine.gpu import Gpu

ADA = Gpu("NVIDIA RTX 4090", "sm89", 24_000)
HOPPER = Gpu("NVIDIA H200", "sm90", 140_000)

FindGpus = Callable[..., None]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> FindGpus:
    return lambda *found: monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", lambda: found)


def test_only_full_tensorrt_builds_on_a_gpu(gpus: FindGpus) -> None:
    gpus(ADA, HOPPER)
    assert (own_gpu(Flavour.TRT), own_gpu(Flavour.TRT_RTX)) == (ADA, None)
    gpus()
    assert own_gpu(Flavour.TRT) is None


def test_named_ones_need_no_gpu(gpus: FindGpus) -> None:
    gpus()
    assert choose_targets(Flavour.TRT_RTX, ("sm86", "sm89", "sm86")) == ("sm86", "sm89")


def test_the_gpus_own_is_the_default(gpus: FindGpus) -> None:
    gpus(ADA, HOPPER)
    assert choose_targets(Flavour.TRT_RTX, ()) == ("sm89",)


def test_what_cannot_be_built_lists_what_can() -> None:
    with pytest.raises(UsageError, match="TensorRT for RTX can't build for sm90, sm87") as caught:
        choose_targets(Flavour.TRT_RTX, ("sm86", "sm90", "sm87"))
    assert caught.value.hint == "it builds for sm75, sm80, sm86, sm89, sm120, sm121"
    assert all(target in caught.value.hint for target in RTX_TARGETS)


def test_no_gpu_and_no_target(gpus: FindGpus) -> None:
    gpus()
    with pytest.raises(DeviceError, match="no --target names one") as caught:
        choose_targets(Flavour.TRT_RTX, ())
    assert "--target sm89" in caught.value.hint


def test_a_gpu_that_rtx_does_not_know(gpus: FindGpus) -> None:
    gpus(HOPPER)
    with pytest.raises(DeviceError, match=r"can't build for this GPU, NVIDIA H200 \(sm90\)"):
        choose_targets(Flavour.TRT_RTX, ())


def test_rtx_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingExtra) as caught:
        choose_targets(Flavour.TRT_RTX, ("sm89",))
    assert caught.value.hint == f"run: {install_line('trt-rtx')}"


def test_full_tensorrt_builds_for_its_own_gpu_alone(gpus: FindGpus) -> None:
    gpus(HOPPER)
    with pytest.raises(UsageError, match="--target is for --engine trt-rtx"):
        choose_targets(Flavour.TRT, ("sm89",))


def test_full_tensorrt_without_a_gpu(gpus: FindGpus) -> None:
    gpus()
    with pytest.raises(DeviceError, match="TensorRT needs an NVIDIA GPU, and this machine has none") as caught:
        choose_targets(Flavour.TRT, ())
    assert "lstn export --engine trt-rtx --target sm89" in caught.value.hint


def test_full_tensorrt_is_not_installed(gpus: FindGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(HOPPER)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra) as caught:
        choose_targets(Flavour.TRT, ())
    assert caught.value.hint == f"run: {install_line('trt')}"


@pytest.mark.parametrize("version", ["8.6.1", "9.3.0", "12.0.0", "100.1"])
def test_full_tensorrt_of_another_version(gpus: FindGpus, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    gpus(HOPPER)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
    with pytest.raises(MissingExtra, match=f"TensorRT {version} is installed, expected 10 or 11"):
        choose_targets(Flavour.TRT, ())
