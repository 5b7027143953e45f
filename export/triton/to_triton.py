"""model.onnx or model.plan -> a model in a repository of NVIDIA's Triton Inference Server.

    REPOSITORY/model/config.pbtxt   what Triton is to know, in Protocol Buffers' text format
    REPOSITORY/model/labels.txt     a label a line, in the order of the logits
    REPOSITORY/model/1/model.plan   or model.onnx, in a folder for each version; Triton serves the latest

Fields are those of model_config.proto in triton-inference-server/common.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lstn.contract import LOGITS, Contract, Task, check_task
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import filling
from lstn.formats.onnx_file import read_model
from lstn.formats.plan_file import Flavour, Sidecar, Tensor, read_sidecar, sidecar_path
from lstn.terminal import printable

CONFIG, LABELS = "config.pbtxt", "labels.txt"

_ONNX_BATCH = 32
"""An ONNX file takes any batch, but Triton wants a largest one: that of a plan by default."""

_TYPES = {
    "uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16",
    "UINT8": "TYPE_UINT8", "FLOAT": "TYPE_FP32", "HALF": "TYPE_FP16", "BF16": "TYPE_BF16",
}  # fmt: skip
"""A type in an ONNX file, or as TensorRT calls it in a plan's sidecar -> Triton's."""


@dataclass(frozen=True, slots=True)
class Served:
    """What Triton is told of a model.

    profiles: minimum, optimum and maximum batch of each profile of a plan; none for an ONNX file
    """

    platform: str
    contract: Contract
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: tuple[tuple[int, int, int], ...] = ()
    dla_core: int | None = None

    @property
    def max_batch(self) -> int:
        """The largest batch that Triton may send."""
        return max((high for _, _, high in self.profiles), default=_ONNX_BATCH)


def write_triton(model: Path, repository: Path) -> Path:
    """Add a model to a repository under its file's name, and return the folder of its version.

    model: an ONNX file of lstn, or a plan of TensorRT with its sidecar

    The repository, the model or the new version, whichever wasn't there, appears whole or not at all. A model of this
    name gets a further version if only its weights differ; Triton reads one config.pbtxt for all.

    Raises:
        ArtifactError: the file isn't one of lstn's, or a plan that Triton can't run on every batch from 1 on.
        UsageError: a model of this name is there and is another one, or the name is no text.
        LstnError: the repository can't be written.
    """
    served = read_served(model)
    name = model.stem
    texts = {
        CONFIG: config_text(served, name),
        LABELS: "".join(f"{printable(label)}\n" for label in served.contract.labels),
    }
    folder = repository / name
    with _telling(repository):
        if folder.exists():
            _check_same(folder, texts)
            version = _next_version(folder)
            with filling(folder / str(version)) as temporary:
                _copy(model, temporary)
            return folder / str(version)
        fresh = not repository.exists()
        with filling(repository if fresh else folder) as temporary:
            made = temporary / name if fresh else temporary
            (made / "1").mkdir(parents=True)
            for file, text in texts.items():
                (made / file).write_text(text, encoding="utf-8")
            _copy(model, made / "1")
    return folder / "1"


def read_served(model: Path) -> Served:
    """Read from the file itself what Triton is to be told.

    Raises:
        ArtifactError: not a file of lstn's, or a plan that Triton can't run on every batch from 1 on.
    """
    if model.suffix == ".onnx":
        contract, onnx = read_model(model)
        served = Served("onnxruntime_onnx", contract, onnx.inputs, onnx.outputs)
    else:
        plan = read_sidecar(model)
        _check_plan(plan, model)
        served = Served("tensorrt_plan", plan.contract, plan.inputs, plan.outputs, plan.profiles, plan.dla_core)
    check_task(served.contract.task, Task.CLASSIFY, "a Triton repository")
    for tensor in (*served.inputs, *served.outputs):
        if tensor.dtype not in _TYPES or tensor.shape[:1] != (-1,):
            raise ArtifactError(
                f"{model}: {tensor.name!r:.60} is {tensor.dtype} of {tensor.shape}, and Triton batches along a first "
                "dimension that is open",
                hint="write it with: lstn export",
            )
    if LOGITS not in {tensor.name for tensor in served.outputs}:
        raise ArtifactError(f"{model}: has no output {LOGITS}", hint="write it with: lstn export")
    return served


def config_text(served: Served, name: str) -> str:
    """Return config.pbtxt.

    Triton batches whatever has queued up, without waiting for more; kernels of a plan are chosen for the optimum of
    its profiles, so these sizes are preferred. Each is run once before the model is said to be ready.

    Raises:
        UsageError: the name is no text.
    """
    optima = sorted({optimum for _, optimum, _ in served.profiles})
    lines = [
        f"name: {_quoted(name)}",
        f"platform: {_quoted(served.platform)}",
        f"max_batch_size: {served.max_batch}",
        *(f"input {{ {_tensor(tensor)} }}" for tensor in served.inputs),
        *(f"output {{ {_tensor(tensor)}{_label_file(tensor)} }}" for tensor in served.outputs),
        f"instance_group {{ {_instances(served)} }}",
        *(["optimization { cuda { graphs: true } }"] if served.profiles and served.dla_core is None else []),
        f"dynamic_batching {{ {f'preferred_batch_size: {optima} ' if optima else ''}}}",
        *(_warm_up(size, served.inputs) for size in sorted({1, *optima, served.max_batch})),
    ]
    return "\n".join(lines) + "\n"


def _tensor(tensor: Tensor) -> str:
    return f"name: {_quoted(tensor.name)} {_type(tensor)}"


def _type(tensor: Tensor) -> str:
    return f"data_type: {_TYPES[tensor.dtype]} dims: {list(tensor.shape[1:])}"


def _label_file(tensor: Tensor) -> str:
    return f" label_filename: {_quoted(LABELS)}" if tensor.name == LOGITS else ""


def _instances(served: Served) -> str:
    """Two on each GPU for a plan, so that one copies while the other computes; one on the CPU for an ONNX file.

    A DLA computes one batch at a time. Profiles that aren't named aren't used.
    """
    if not served.profiles:
        return "count: 1 kind: KIND_CPU"
    names = ", ".join(_quoted(str(index)) for index in range(len(served.profiles)))
    if served.dla_core is None:
        return f"count: 2 kind: KIND_GPU profile: [{names}]"
    dla = f"secondary_devices {{ kind: KIND_NVDLA device_id: {served.dla_core} }}"
    return f"count: 1 kind: KIND_GPU profile: [{names}] {dla}"


def _warm_up(size: int, inputs: Sequence[Tensor]) -> str:
    zeros = " ".join(
        f"inputs {{ key: {_quoted(tensor.name)} value {{ {_type(tensor)} zero_data: true }} }}" for tensor in inputs
    )
    return f'model_warmup {{ name: "batch {size}" batch_size: {size} {zeros} }}'


def _quoted(text: str) -> str:
    """A string of Protocol Buffers' text format: bytes of UTF-8, octal where they aren't plain."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r:.80} is not text, which a name in Triton is", hint="rename the file") from error
    return '"' + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\{c:03o}" for c in data) + '"'


def _check_plan(plan: Sidecar, path: Path) -> None:
    if plan.flavour is not Flavour.TRT:
        raise ArtifactError(
            f"{path}: {plan.flavour.product} built it, and Triton runs plans of TensorRT",
            hint="build it with: lstn export --engine trt",
        )
    try:
        check_profiles(plan.profiles)
    except UsageError as error:
        raise ArtifactError(f"{path}: {error.message}", hint=f"build it again; {error.hint}") from error


def check_profiles(profiles: Sequence[tuple[int, int, int]]) -> None:
    """Refuse profiles that leave a batch out: Triton doesn't fill batches up.

    Raises:
        UsageError: there is such a batch.
    """
    taken = {size for low, _, high in profiles for size in range(low, high + 1)}
    lacking = next((size for size in range(1, max(taken)) if size not in taken), None)
    if lacking is not None:
        raise UsageError(
            f"no profile takes a batch of {lacking}, and Triton batches as requests come, from 1 on",
            hint=f"use --batch-profile 1,{min(8, max(taken))},{max(taken)}",
        )


def _check_same(folder: Path, texts: dict[str, str]) -> None:
    for file, text in texts.items():
        try:
            same = (folder / file).read_bytes() == text.encode()
        except FileNotFoundError:
            same = False
        if not same:
            raise UsageError(
                f"{folder} is there, and its {file} is another: Triton reads one for all versions",
                hint="remove it, choose another folder, or give the model file another name",
            )


def _next_version(folder: Path) -> int:
    """Triton takes folders for versions whose names are numbers without a leading zero."""
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return 1 + max((int(name) for name in names if name.isascii() and name.isdigit() and name[0] != "0"), default=0)


def _copy(model: Path, version: Path) -> None:
    """A plan keeps its sidecar, so that lstn knows it there too; Triton looks at no file but the model."""
    copied = version / f"model{model.suffix}"
    shutil.copyfile(model, copied)
    if model.suffix == ".plan":
        shutil.copyfile(sidecar_path(model), sidecar_path(copied))


@contextmanager
def _telling(repository: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LstnError(f"cannot write {repository}: {error.strerror or error}", hint="choose another place") from error
