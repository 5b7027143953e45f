import json
import subprocess
import sys

import pytest
from command import RunLstn

from lstn.install import install_line
from lstn.machine.capabilities import abilities, conflicts
from lstn.machine.gpu import Gpu
from lstn.nvidia_driver import Driver

TRAIN = ("torch", "torchvision", "safetensors", "matplotlib")
ENGINES = (
    "onnxconverter-common",
    "onnx",
    "onnxscript",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-python",
)
FURTHER = (
    *("uvicorn", "httptools", "grpcio", "protobuf", "prometheus-client"),
    *("ray", "fsspec", "mlcommons-loadgen", "tensorboard", "wandb", "mlflow-skinny", "captum", "timm"),
)
ALL = dict.fromkeys((*TRAIN, *ENGINES, *FURTHER), "10.0")
L4 = Gpu("NVIDIA L4", "sm89", 23034)
H200 = Gpu("NVIDIA H200", "sm90", 143771)
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def test_a_full_machine_can_do_everything() -> None:
    assert [each for each in abilities(ALL, (L4,), PROVIDERS) if not each.ready] == []


def test_a_bare_machine_is_told_every_install_line() -> None:
    found = abilities({}, (), ())
    assert not any(each.ready for each in found)
    assert {each.cure.removeprefix("where there is one: ") for each in found} == {
        install_line(extra)
        for extra in (
            "train",
            "export,runtime",
            "calibrate,runtime",
            "trt",
            "trt-rtx",
            "openvino,runtime",
            "runtime",
            "gpu",
            "openvino",
            "serve",
            "ray",
            "loadgen",
            "tensorboard",
            "wandb",
            "mlflow",
            "explain",
        )
    }


def test_an_edge_device_without_pytorch_runs_and_does_not_train() -> None:
    found = {each.command: each.ready for each in abilities({"onnxruntime": "1.22"}, (), PROVIDERS[1:])}
    assert [command for command, ready in found.items() if ready] == ["lstn infer --engine model.onnx"]


def test_an_edge_cpu_makes_and_runs_openvino_models_without_pytorch() -> None:
    found = abilities({"onnxruntime": "1.22", "openvino": "2026.4"}, (), PROVIDERS[1:])
    assert [each.command for each in found if each.ready] == [
        "lstn export --engine openvino",
        "lstn infer --engine model.onnx",
        "lstn infer --engine model.xml",
    ]


def test_without_a_gpu_plans_for_rtx_build_and_nothing_runs_them() -> None:
    found = {each.command: each for each in abilities(ALL, (), PROVIDERS)}
    assert found["lstn export --engine trt-rtx"].ready
    for command in ("lstn export --engine trt", "lstn infer --engine model.plan (trt-rtx)"):
        assert (found[command].ready, found[command].reason, found[command].cure) == (False, "no NVIDIA GPU", "")


def test_a_gpu_that_rtx_doesnt_build_for_is_sent_to_tensorrt() -> None:
    found = {each.command: each for each in abilities(ALL, (H200,), PROVIDERS)}
    rtx = found["lstn infer --engine model.plan (trt-rtx)"]
    assert (rtx.ready, rtx.reason) == (False, "TensorRT for RTX doesn't build for sm90")
    assert found["lstn infer --engine model.plan (trt)"].ready


def test_pycuda_alone_runs_plans_without_graphs() -> None:
    libraries = {name: version for name, version in ALL.items() if name != "cuda-python"} | {"pycuda": "2026.1"}
    found = {each.command: each for each in abilities(libraries, (L4,), PROVIDERS)}
    plan, rtx = (found[f"lstn infer --engine model.plan ({flavour})"] for flavour in ("trt", "trt-rtx"))
    assert plan.ready
    assert plan.reason == (
        "TensorRT 10.0 on NVIDIA L4 by pycuda 2026.1, so without CUDA graphs; pip install cuda-python brings them"
    )
    assert (rtx.ready, rtx.reason) == (True, "TensorRT for RTX 10.0 on NVIDIA L4 by pycuda 2026.1")
    both = abilities(ALL | {"pycuda": "2026.1"}, (L4,), PROVIDERS)
    assert not any("pycuda" in each.reason for each in both)


def test_the_cpu_wheel_beside_a_gpu_is_told_to_change() -> None:
    found = {each.command: each for each in abilities({"onnxruntime": "1.22"}, (L4,), PROVIDERS[1:])}
    on_gpu = found["lstn infer --engine model.onnx --device cuda"]
    assert on_gpu.cure == f"pip uninstall -y onnxruntime && {install_line('gpu')}"


def test_under_cuda_12_every_install_line_is_for_it() -> None:
    found = {each.command: each.cure for each in abilities({}, (L4,), (), driver=Driver("550.54.15", (12, 4)))}
    assert found["lstn export --engine trt"] == install_line("trt-cu12")
    assert found["lstn export --engine trt-rtx"] == install_line("trt-rtx-cu12")
    assert found["lstn infer --engine model.plan (trt)"] == install_line("trt-cu12")
    assert found["lstn infer --engine model.onnx --device cuda"] == install_line("gpu-cu12")
    assert found["lstn infer --engine model.onnx"] == install_line("gpu-cu12")


@pytest.mark.parametrize(("cuda", "count"), [((12, 8), 1), ((13, 0), 0), ((13, 4), 0)])
def test_packages_of_a_newer_cuda_than_the_drivers_are_a_conflict(cuda: tuple[int, int], count: int) -> None:
    found = conflicts({"cuda-python": "13.4.4", "tensorrt": "11.4"}, Driver("570.1", cuda))
    assert len(found) == count
    for line in found:
        assert line.startswith("cuda-python 13.4.4 needs CUDA 13, and the NVIDIA driver 570.1 supports CUDA 12.8; ")
        assert line.endswith(install_line("trt-cu12"))
    assert conflicts({"cuda-python": "12.9.1"}, Driver("570.1", cuda)) == []


@pytest.mark.parametrize("loads", [False, True])
def test_a_provider_is_loaded_and_not_only_listed(
    run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    """With a GPU and an ONNX Runtime built with CUDA, `lstn doctor` runs a model there, if the libraries are there."""
    import onnxruntime

    class Loaded(onnxruntime.InferenceSession):
        def get_providers(self) -> list[str]:
            return list(PROVIDERS)

    monkeypatch.setattr("lstn.machine.environment.find_gpus", lambda: (L4,))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS))
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublasLt.so.13"), raising=False)  # noqa: T201
    monkeypatch.setattr("lstn.machine.environment.installed", lambda: ALL)
    if loads:
        monkeypatch.setattr(onnxruntime, "InferenceSession", Loaded)
    found = json.loads(run_lstn("doctor", "--format", "json").out)
    (able,) = (each for each in found["abilities"] if each["command"].endswith("model.onnx --device cuda"))
    assert able["ready"] is loads
    if loads:
        assert able["reason"] == "ONNX Runtime 10.0 on NVIDIA L4"
    else:
        assert able["reason"].endswith("can't load its CUDA libraries: Failed to load libcublasLt.so.13")
        assert able["cure"] == f"run: {install_line('gpu')}; then: lstn doctor"


def test_two_wheels_of_onnx_runtime_and_an_old_tensorrt_are_conflicts() -> None:
    assert conflicts(ALL) == []
    (both,) = conflicts({"onnxruntime": "1", "onnxruntime-gpu": "1"})
    assert "overwrite each other" in both
    (old,) = conflicts({"tensorrt": "8.6.1"})
    assert old.startswith("TensorRT 8.6.1 is installed, expected 10 or 11")


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_the_command_fits_the_terminal(run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    ran = run_lstn("doctor")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= int(columns)
    assert "lstn export --engine trt-rtx" in ran.out


def test_the_command_speaks_json(run_lstn: RunLstn) -> None:
    found = json.loads(run_lstn("doctor", "--format", "json").out)
    assert {"environment", "providers", "abilities", "problems"} == set(found)
    assert {each["command"]: each["ready"] for each in found["abilities"]}["lstn infer --engine model.onnx"]


def test_a_broken_onnx_runtime_is_told_and_not_fatal(run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    def broken() -> list[str]:
        raise AttributeError("module 'onnxruntime' has no attribute\n'get_available_providers'")

    monkeypatch.setattr(onnxruntime, "get_available_providers", broken)
    ran = run_lstn("doctor")
    assert ran.code == 0
    assert "warning: onnxruntime is installed but doesn't load (module 'onnxruntime' has no attribute" in ran.err


def test_it_imports_neither_torch_nor_tensorrt() -> None:
    code = (
        "import sys; from lstn.cli.app import app; app(['doctor'], standalone_mode=False); "
        "heavy = {'torch', 'onnx', 'tensorrt', 'tensorrt_rtx', 'cuda'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
