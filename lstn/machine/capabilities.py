"""Capabilities of a machine, judged from what is installed and which GPU is there. Imports none of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lstn.errors import LstnError
from lstn.formats.plan_file import RTX_TARGETS, Flavour
from lstn.install import install_line
from lstn.machine.gpu import Gpu
from lstn.nvidia_driver import CUDA_PROVIDER, Driver, extra_for, newer_driver_or

_TORCH = ("torch", "torchvision", "safetensors")
_SERVE = ("uvicorn", "httptools", "grpcio", "protobuf", "prometheus-client")
_NO_GPU = "no NVIDIA GPU"


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that a user may want to do here.

    command: as it is typed
    reason:  what it would run with, or what stands in the way
    cure:    the line that helps; empty where nothing is to be done
    """

    command: str
    ready: bool
    reason: str
    cure: str = ""


def abilities(
    libraries: Mapping[str, str],
    gpus: Sequence[Gpu],
    providers: Sequence[str],
    *,
    driver: Driver | None = None,
    cuda_problem: LstnError | None = None,
) -> tuple[Ability, ...]:
    """Judge every stage and every kind of engine, in the order of the pipeline.

    libraries:    name -> version, as `lstn.machine.environment.installed` returns them
    providers:    execution providers of the ONNX Runtime that is installed
    driver:       NVIDIA's, which decides between packages for CUDA 12 and 13
    cuda_problem: why ONNX Runtime doesn't run on the GPU, though it has a provider for it
    """
    machine = _Machine(libraries, gpus, driver)
    place = gpus[0].name if gpus else "the CPU"
    ort = "onnxruntime-gpu" if "onnxruntime-gpu" in libraries else "onnxruntime"
    runtime = "runtime" if not gpus else extra_for("gpu", driver)
    onnx = (*_TORCH, "onnx", "onnxscript", ort)
    return (
        machine.judge("lstn train", (*_TORCH, "matplotlib"), "train", f"PyTorch {{torch}} on {place}"),
        machine.judge("lstn export --engine onnx", onnx, f"export,{runtime}", "PyTorch {torch}, onnx {onnx}"),
        machine.judge(
            "lstn calibrate",
            ("onnx", "onnxconverter-common", ort),
            f"calibrate,{runtime}",
            f"onnxconverter-common {{onnxconverter-common}}, ONNX Runtime {{{ort}}}",
        ),
        machine.judge(
            "lstn export --engine trt", ("tensorrt",), extra_for("trt", driver), "TensorRT {tensorrt}", gpu=True
        ),
        machine.judge(
            "lstn export --engine trt-rtx",
            ("tensorrt-rtx",),
            extra_for("trt-rtx", driver),
            f"TensorRT for RTX {{tensorrt-rtx}}, for {', '.join(RTX_TARGETS)}, even without a GPU",
        ),
        machine.judge(
            "lstn export --engine openvino",
            ("openvino", ort),
            f"openvino,{runtime}",
            "OpenVINO {openvino}, for the CPU",
        ),
        machine.judge("lstn infer --engine model.onnx", (ort,), runtime, f"ONNX Runtime {{{ort}}}"),
        _onnx_on_gpu(machine, ort, providers, cuda_problem),
        machine.judge("lstn infer --engine model.xml", ("openvino",), "openvino", "OpenVINO {openvino} on the CPU"),
        _plan(machine, Flavour.TRT, f"TensorRT {{tensorrt}} on {place}"),
        _rtx_plan(machine, place),
        *_further(machine),
    )


def _further(machine: "_Machine") -> tuple[Ability, ...]:
    """What an engine can be used for besides, and what training shows."""
    return (
        machine.judge("lstn serve", _SERVE, "serve", "uvicorn {uvicorn} for HTTP, grpcio {grpcio} for gRPC"),
        machine.judge("lstn infer --ray ADDRESS", ("ray", "fsspec"), "ray", "Ray {ray}"),
        machine.judge(
            "lstn bench --scenario NAME",
            ("mlcommons-loadgen",),
            "loadgen",
            "MLPerf's LoadGen, mlcommons-loadgen {mlcommons-loadgen}",
        ),
        machine.judge("lstn explain RUN", (*_TORCH, "captum"), "explain", "captum {captum}, for maps of checkpoints"),
        machine.judge("lstn train --tensorboard", ("tensorboard",), "tensorboard", "TensorBoard {tensorboard}"),
        machine.judge("lstn train --wandb", ("wandb",), "wandb", "Weights & Biases {wandb}"),
        machine.judge("lstn train --mlflow", ("mlflow-skinny",), "mlflow", "MLflow {mlflow-skinny}"),
    )


def conflicts(libraries: Mapping[str, str], driver: Driver | None = None) -> list[str]:
    """Return a line for each combination of packages, and of packages and driver, that spoils something."""
    found = []
    if "onnxruntime" in libraries and "onnxruntime-gpu" in libraries:
        found.append(
            "onnxruntime and onnxruntime-gpu overwrite each other; run: pip uninstall -y onnxruntime onnxruntime-gpu, "
            f"then {install_line('runtime')}, or gpu in its place"
        )
    major = libraries.get("tensorrt", "10").partition(".")[0]
    if major not in ("10", "11"):
        line = install_line(extra_for("trt", driver))
        found.append(f"TensorRT {libraries['tensorrt']} is installed, expected 10 or 11; run: {line}")
    wanted = libraries.get("cuda-python", "0").partition(".")[0]
    if driver is not None and wanted.isdecimal() and int(wanted) > driver.cuda[0]:
        ways = newer_driver_or(driver, "trt-rtx" if "tensorrt-rtx" in libraries else "trt")
        found.append(
            f"cuda-python {libraries['cuda-python']} needs CUDA {wanted}, and the NVIDIA driver {driver.version} "
            f"supports CUDA {driver.cuda[0]}.{driver.cuda[1]}; {ways}"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Machine:
    libraries: Mapping[str, str]
    gpus: Sequence[Gpu]
    driver: Driver | None

    def judge(self, command: str, needs: Sequence[str], extra: str, reason: str, *, gpu: bool = False) -> Ability:
        """`reason` is a format string over the libraries' names, for when nothing is missing."""
        missing = [name for name in needs if name not in self.libraries]
        no_gpu = gpu and not self.gpus
        obstacles = [_NO_GPU] if no_gpu else []
        if missing:
            obstacles.append(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed")
        if not obstacles:
            return Ability(command, True, reason.format_map(self.libraries))
        install = install_line(extra) if missing else ""
        where = "where there is one: " if no_gpu and install else ""
        return Ability(command, False, "; ".join(obstacles), where + install)


def _onnx_on_gpu(machine: _Machine, ort: str, providers: Sequence[str], cuda_problem: LstnError | None) -> Ability:
    command, extra = "lstn infer --engine model.onnx --device cuda", extra_for("gpu", machine.driver)
    if machine.gpus and "onnxruntime" in machine.libraries and CUDA_PROVIDER not in providers:
        cure = f"pip uninstall -y onnxruntime && {install_line(extra)}"
        return Ability(command, False, "this ONNX Runtime was built without CUDA", cure)
    if machine.gpus and cuda_problem is not None:
        return Ability(command, False, cuda_problem.message, cuda_problem.hint)
    place = machine.gpus[0].name if machine.gpus else ""
    return machine.judge(command, (ort,), extra, f"ONNX Runtime {{{ort}}} on {place}", gpu=True)


def _rtx_plan(machine: _Machine, place: str) -> Ability:
    command = "lstn infer --engine model.plan (trt-rtx)"
    if machine.gpus and machine.gpus[0].target not in RTX_TARGETS:
        reason = f"{Flavour.TRT_RTX.product} doesn't build for {machine.gpus[0].target}"
        return Ability(command, False, reason, "use: lstn export --engine trt")
    return _plan(machine, Flavour.TRT_RTX, f"TensorRT for RTX {{tensorrt-rtx}} on {place}")


def _plan(machine: _Machine, flavour: Flavour, reason: str) -> Ability:
    """pycuda has no CUDA graphs; TensorRT for RTX makes its own."""
    command, library = f"lstn infer --engine model.plan ({flavour.value})", flavour.module.replace("_", "-")
    extra = extra_for(flavour.value, machine.driver)
    if "cuda-python" in machine.libraries or "pycuda" not in machine.libraries:
        return machine.judge(command, (library, "cuda-python"), extra, reason, gpu=True)
    reason += " by pycuda {pycuda}"
    if flavour is Flavour.TRT:
        reason += ", so without CUDA graphs; pip install cuda-python brings them"
    return machine.judge(command, (library, "pycuda"), extra, reason, gpu=True)
