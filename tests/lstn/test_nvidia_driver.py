import pytest

from lstn.install import install_line
from lstn.machine.gpu import find_gpus
from lstn.nvidia_driver import Driver, find_driver, refused_by_driver

SAID = "CUDA initialization failure with error: 35 In checkCudaInstallation"


def refuse(monkeypatch: pytest.MonkeyPatch, driver: Driver | None, said: str = SAID, extra: str = "trt") -> list[str]:
    monkeypatch.setattr("lstn.nvidia_driver.find_driver", lambda: driver)
    error = refused_by_driver("TensorRT 11.4", said, extra=extra)
    return [error.message, error.hint]


@pytest.mark.parametrize(
    "said",
    [
        SAID,
        "Cuda Runtime (cudaError 35: CUDA driver version is insufficient for CUDA runtime version)",
        "cudaGetDevice failed: x (CUDA error 35)",
    ],
)
@pytest.mark.parametrize("extra", ["trt", "trt-rtx", "gpu"])
def test_a_driver_of_cuda_12_is_told_the_extra_for_it(monkeypatch: pytest.MonkeyPatch, said: str, extra: str) -> None:
    message, hint = refuse(monkeypatch, Driver("550.54.15", (12, 4)), said, extra)
    assert message == (
        f"TensorRT 11.4 doesn't start: the NVIDIA driver 550.54.15 is too old for it and supports CUDA 12.4 ({said})"
    )
    assert hint.startswith("update the driver to 580 or newer, which supports CUDA 13; or run: pip ")
    assert hint.endswith(install_line(f"{extra}-cu12"))
    assert ("pip uninstall -y tensorrt" in hint) is (extra != "gpu")  # whose packages have the same names


@pytest.mark.parametrize("cuda", [(11, 8), (13, 0)])
def test_no_extra_helps_an_older_driver_or_one_that_runs_both(
    monkeypatch: pytest.MonkeyPatch, cuda: tuple[int, int]
) -> None:
    message, hint = refuse(monkeypatch, Driver("", cuda))
    assert f"the NVIDIA driver is too old for it and supports CUDA {cuda[0]}.{cuda[1]} (" in message
    assert hint == "update the driver to 580 or newer, which supports CUDA 13"


def test_no_driver_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    message, hint = refuse(monkeypatch, None)
    assert message == f"TensorRT 11.4 doesn't start: this machine shows no NVIDIA driver ({SAID})"
    assert hint == "install one, then: lstn doctor"


@pytest.mark.parametrize("said", ["out of memory (CUDA error 2)", "error: 350", "CUDA error 351"])
def test_another_failure_is_not_blamed_on_the_driver(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    message, _ = refuse(monkeypatch, Driver("550.54.15", (12, 4)), said)
    assert message == f"TensorRT 11.4 doesn't start on this machine: {said}"


def test_this_machine() -> None:
    driver = find_driver()
    assert (driver is None) == (not find_gpus())
    assert driver is None or driver.cuda >= (11, 0)
