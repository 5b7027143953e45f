"""Opening of engines: the one place where a file's suffix picks the library that runs it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.contract import Task
from lstn.errors import LstnError, UsageError
from lstn.evaluation.answer import Classification
from lstn.files import check_utf8, what_is
from lstn.formats.inspection import inspect_file
from lstn.images import Picture
from lstn.machine.cores import core_quota, within_cores
from lstn.machine.gpu import Device, engine_device
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.plans.preflight import instead
from lstn.zoo.named_models import model_path

if TYPE_CHECKING:
    from lstn.runtime.engines.generator_engines import GeneratorEngine


def open_engine(
    path: str | Path, *, device: Device | str = Device.AUTO, threads: int | None = None, spin: bool = True
) -> AbstractContextManager[Engine]:
    """Open `.onnx` with ONNX Runtime, `.plan` with the TensorRT that built it, `.xml` with OpenVINO; for a `with`.

        with lstn.open_engine("model.onnx") as engine:
            print(engine.classify("photo.jpg"))

    path:    of the file, or `zoo:NAME` for a model that comes with lstn
    device:  auto, cpu or cuda: where an ONNX model runs; a plan runs on the GPU or not at all, an .xml on the CPU
    threads: of ONNX Runtime or OpenVINO within one operator; None for what a container's
             quota allows, or, without one, the library's choice, one for each physical core
    spin:    whether ONNX Runtime's threads wait busily between operators: faster when alone, and costly to whoever
             shares the cores, so no for every engine of several

    Raises:
        UsageError: no such file, device or model of the zoo, not a kind of file that an engine reads, or fewer threads
            than one, or more than this machine can stand.
        ArtifactError, DeviceError, MissingExtra: on entering the `with`: the file, the machine or the installation.
    """
    path, device = _checked(path, device, threads)
    opener = _OPENERS[path.suffix.lower()]
    return opener(path, device, threads or core_quota(), spin)  # the libraries see cores, and no quota


def open_generator(
    path: str | Path, *, device: Device | str = Device.AUTO, threads: int | None = None, spin: bool = True
) -> AbstractContextManager["GeneratorEngine"]:
    """Open a generator, `.onnx` with ONNX Runtime or `.xml` with OpenVINO; for a `with`.

        with lstn.open_generator("generator.onnx") as generator:
            noise = np.random.default_rng(0).standard_normal((1, generator.contract.noise), np.float32)
            picture = generator.generate(noise, np.array([7])).pixels[0]

    The arguments are those of `open_engine`.

    Raises:
        UsageError: as `open_engine`; or, on entering the `with`, a model that looks at pictures.
        ArtifactError, DeviceError, MissingExtra: on entering the `with`: the file, the machine or the installation.
    """
    from lstn.runtime.engines import generator_engines

    path, device = _checked(path, device, threads)
    threads = threads or core_quota()
    if path.suffix.lower() == ".xml":
        return generator_engines.open_xml_generator(path, threads=threads)
    if path.suffix.lower() == ".onnx":
        return generator_engines.open_onnx_generator(path, device=device, threads=threads, spin=spin)
    raise UsageError(f"{path}: generators run as .onnx or .xml", hint="lstn export --engine onnx, or openvino")


def is_generator(path: Path) -> bool:
    """Whether an engine's file says that it is a generator; whatever is wrong with it is said when it is opened."""
    try:
        contract = inspect_file(path).contract
    except LstnError:
        return False
    return contract is not None and contract.task is Task.GENERATE


def _checked(path: str | Path, device: Device | str, threads: int | None) -> tuple[Path, Device]:
    """Return the path and the device of an engine that may be opened.

    Raises:
        UsageError: it may not.
    """
    path = model_path(path)
    device = device if isinstance(device, Device) else engine_device(str(device))
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; expected 1 or more", hint="leave it out for the library's choice")
    within_cores(threads)
    if not path.exists():
        unbuilt = path.suffix.lower() == ".plan" and path.with_suffix(".onnx").is_file()
        raise UsageError(
            f"{path}: {what_is(path)}", hint=instead(path) if unbuilt else "make a model with: lstn export"
        )
    check_utf8(path, "engines")
    if path.suffix.lower() not in _OPENERS or not path.is_file():
        export = f"lstn export {path}" if path.suffix == ".safetensors" else "lstn export"
        raise UsageError(
            f"{path}: not an engine; expected {' or '.join(f'a {suffix} file' for suffix in _OPENERS)}",
            hint=f"make one with: {export}",
        )
    return path, device


def classify(images: Picture | Sequence[Picture], engine: str | Path) -> Classification | list[Classification]:
    """Open the engine at a path, classify one image or a list of images, and close it; see `Engine.classify`.

    To classify more than once, open the engine once with `open_engine`.

    Raises:
        LstnError: what `open_engine` and `Engine.classify` raise.
    """
    with open_engine(engine) as opened:
        return opened.classify(images)


def _open_onnx(path: Path, device: Device, threads: int | None, spin: bool) -> AbstractContextManager[Engine]:
    from lstn.runtime.engines.onnxruntime_engine import open_onnx

    return open_onnx(path, device=device, threads=threads, spin=spin)


def _open_plan(path: Path, device: Device, threads: int | None, spin: bool) -> AbstractContextManager[Engine]:
    from lstn.runtime.engines.plans.plan_engine import open_plan

    if device is Device.CPU:
        raise UsageError(f"{path}: a TensorRT plan runs on an NVIDIA GPU only", hint=instead(path))
    return open_plan(path)


def _open_xml(path: Path, device: Device, threads: int | None, spin: bool) -> AbstractContextManager[Engine]:
    from lstn.runtime.engines.openvino_engine import open_xml

    if device is Device.CUDA:
        raise UsageError(f"{path}: OpenVINO runs on the CPU only", hint="leave out --device")
    return open_xml(path, threads=threads)


_OPENERS: dict[str, Callable[[Path, Device, int | None, bool], AbstractContextManager[Engine]]] = {
    ".onnx": _open_onnx,
    ".plan": _open_plan,
    ".xml": _open_xml,
}
