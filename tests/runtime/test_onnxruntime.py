import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny import SIDE, MakeTiny, Tiny

from lstn.contract import Loc
from lstn.errors import ArtifactError, DeviceError, LstnError, MissingExtra, UsageError
from lstn.formats.onnx_session import OnnxSession
from lstn.install import install_line
from lstn.machine.gpu import Device, Gpu
from lstn.nvidia_driver import Driver
from lstn.runtime.engines.onnxruntime_engine import resolve_device
from lstn.runtime.engines.opening import open_engine

GPU = Gpu("NVIDIA L4", "sm89", 23034)


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 5, 32])
def test_the_answer_is_numpys(tiny: Tiny, count: int) -> None:
    images = pixels(count)
    with open_engine(tiny.path, threads=1, spin=False) as engine:
        assert engine.contract == tiny.contract
        prediction = engine.infer(images)
    assert prediction.logits.dtype == np.float32
    np.testing.assert_allclose(prediction.logits, tiny.logits(images), atol=1e-5)
    assert prediction.theta is not None
    np.testing.assert_allclose(prediction.theta, tiny.theta(images), atol=1e-5)


@pytest.mark.parametrize(("quota", "given", "more"), [(3, None, 2), (1, None, 0), (3, 2, 1)])
def test_a_containers_quota_says_how_many_threads(
    quota: int, given: int | None, more: int, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the thread that asks, as many more as ONNX Runtime is given, told by the system."""
    (tmp_path / "cpu.max").write_text(f"{quota}00000 100000")
    monkeypatch.setattr("lstn.machine.cores.CGROUP", tmp_path)
    before = threads_of_this_process()
    with open_engine(tiny.path, threads=given, spin=False) as engine:
        engine.infer(pixels(1))
        assert threads_of_this_process() - before == more


def threads_of_this_process() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_a_view_of_other_memory_order_is_read_rightly(tiny: Tiny) -> None:
    images = pixels(4)[::-2, :, ::-1]
    with open_engine(tiny.path) as engine:
        np.testing.assert_allclose(engine.infer(images).logits, tiny.logits(images), atol=1e-5)


def test_answers_are_the_callers_to_keep(tiny: Tiny) -> None:
    with open_engine(tiny.path) as engine:
        first = engine.infer(pixels(2, seed=1))
        kept = first.logits.copy()
        engine.infer(pixels(2, seed=2))
    np.testing.assert_array_equal(first.logits, kept)


def test_a_model_without_localizer_has_no_theta(make_tiny: MakeTiny) -> None:
    with open_engine(make_tiny(loc=Loc.NONE).path) as engine:
        assert engine.infer(pixels(1)).theta is None


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((1, 8, 9, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1025, 8, 8, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_wrong_pixels_are_a_usage_error_that_says_both_shapes(tiny: Tiny, wrong: np.ndarray) -> None:
    with open_engine(tiny.path) as engine, pytest.raises(UsageError) as raised:
        engine.infer(wrong)
    assert str(wrong.shape) in raised.value.message
    assert "uint8 (N, 8, 8, 3) with N from 1 to 1024" in raised.value.message


def drop_contract(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "images"


def drop_theta(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def widen_logits(model: onnx.ModelProto) -> None:
    weights = np.zeros((3, 9), np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9


def damage_contract(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = '{"version": 1}'


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (drop_contract, "no contract, so it wasn't written by lstn"),
        (rename_input, "its inputs are images uint8 (N, 8, 8, 3); its contract says pixels uint8 (N, 8, 8, 3)"),
        (drop_theta, "its outputs are logits float32 (N, 4); its contract says logits float32 (N, 4), theta"),
        (widen_logits, "its outputs are logits float32 (N, 9)"),
        (damage_contract, "damaged contract ('loc' is missing)"),
    ],
)
def test_a_foreign_model_is_refused(
    make_tiny: MakeTiny, edit: Callable[[onnx.ModelProto], None], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_tiny(edit=edit).path
    with pytest.raises(ArtifactError) as raised, open_engine(path):
        pass
    assert told in raised.value.message
    assert raised.value.message.startswith(f"{path}: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("options", [{"dtype": TensorProto.FLOAT}, {"batch": 4}])
def test_float_pixels_and_fixed_batches_are_refused(make_tiny: MakeTiny, options: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="its inputs are pixels"), open_engine(make_tiny(**options).path):
        pass


def test_labels_are_counted_even_where_the_file_leaves_the_width_open(make_tiny: MakeTiny) -> None:
    def edit(model: onnx.ModelProto) -> None:
        widen_logits(model)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "K"

    with open_engine(make_tiny(edit=edit).path) as engine, pytest.raises(ArtifactError, match="its contract says"):
        engine.infer(pixels(2))


@pytest.mark.parametrize("junk", [b"", b"hello world " * 9, bytes(range(256)) * 40, b"PK\3\4" + bytes(99)])
def test_junk_is_refused_in_one_line(tmp_path: Path, junk: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(junk)
    with pytest.raises(ArtifactError, match="not an ONNX model, or cut off"), open_engine(path):
        pass
    assert capfd.readouterr().err == ""


def test_a_file_cut_off_anywhere_is_refused(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    whole = tiny.path.read_bytes()
    for size in range(0, len(whole), 7):
        tiny.path.write_bytes(whole[:size])
        with pytest.raises(LstnError), open_engine(tiny.path) as engine:
            engine.infer(pixels(1))
    assert capfd.readouterr().err == ""


def test_an_operator_that_onnx_runtime_lacks_is_one_clear_error(make_tiny: MakeTiny) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[3].op_type = "Teleport"

    with pytest.raises(ArtifactError, match=r"ONNX Runtime .* can't open it: .*Teleport") as raised:
        open_engine(make_tiny(edit=edit).path).__enter__()
    assert "\n" not in raised.value.message


def test_a_failure_while_running_is_a_device_error(make_tiny: MakeTiny) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([-1, 4, 3]), "shape"))
        shape = model.graph.output[1].type.tensor_type.shape
        shape.dim[1].dim_param, shape.dim[2].dim_param = "A", "B"

    with open_engine(make_tiny(edit=edit).path) as engine, pytest.raises(DeviceError, match="failed on 3 images"):
        engine.infer(pixels(3))


@pytest.mark.parametrize("location", ["weights.bin", "../secret.bin", "/etc/hostname"])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_in_other_files_are_refused(make_tiny: MakeTiny, location: str, nested: bool) -> None:
    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        if nested:  # where onnx's own helpers look as well: a tensor inside an attribute
            tensor = TensorProto()
            tensor.CopyFrom(model.graph.initializer[0])
            model.graph.node.insert(0, helper.make_node("Constant", [], ["spare"], value=tensor))
            tensor = model.graph.node[0].attribute[0].t
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    with pytest.raises(ArtifactError, match="keeps weights in other files"), open_engine(make_tiny(edit=edit).path):
        pass


def test_a_file_that_no_protobuf_can_be_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**31)
    with pytest.raises(ArtifactError, match="more than an ONNX file can hold"), open_engine(path):
        pass


@pytest.mark.parametrize("name", ["model.safetensors", "model", "model.pt"])
def test_other_kinds_of_file_are_no_engines(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"not an engine; expected a \.onnx file or a \.plan file") as raised:
        open_engine(tmp_path / name)
    assert "lstn export" in raised.value.hint


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_engine(tmp_path / "model.onnx")


def test_a_plan_that_was_never_built_points_to_the_onnx_file_beside_it(tiny: Tiny) -> None:
    plan = tiny.path.with_suffix(".plan")
    with pytest.raises(UsageError, match="no such file") as raised:
        open_engine(plan)
    assert raised.value.hint == f"name {tiny.path} in its place, which ONNX Runtime runs on any CPU"
    tiny.path.unlink()
    with pytest.raises(UsageError) as raised:
        open_engine(plan)
    assert raised.value.hint == "make a model with: lstn export"


def test_the_session_is_freed_at_the_end(tiny: Tiny) -> None:
    with open_engine(tiny.path) as engine:
        pass
    with pytest.raises(DeviceError):
        engine.infer(pixels(1))


def test_threads_and_spinning_reach_the_session(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = onnxruntime.InferenceSession

    def spy(path: str, options: onnxruntime.SessionOptions, **rest: object) -> onnxruntime.InferenceSession:
        spins = options.get_session_config_entry("session.intra_op.allow_spinning")
        seen.append((options.intra_op_num_threads, spins))
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    for threads, spin in ((2, True), (None, False)):
        with open_engine(tiny.path, threads=threads, spin=spin):
            pass
    assert seen == [(2, "1"), (0, "0")]


@pytest.mark.parametrize(
    ("device", "gpus", "providers", "expected"),
    [
        (Device.AUTO, (), ["CUDAExecutionProvider"], Device.CPU),
        (Device.AUTO, (GPU,), ["CPUExecutionProvider"], Device.CPU),
        (Device.AUTO, (GPU,), ["CUDAExecutionProvider"], Device.CUDA),
        (Device.CPU, (GPU,), ["CUDAExecutionProvider"], Device.CPU),
        (Device.CUDA, (GPU,), ["CUDAExecutionProvider"], Device.CUDA),
        (Device.CUDA, (), ["CUDAExecutionProvider"], DeviceError),
        (Device.CUDA, (GPU,), ["CPUExecutionProvider"], MissingExtra),
    ],
)
def test_the_device_is_what_machine_and_library_allow(
    monkeypatch: pytest.MonkeyPatch, device: Device, gpus: tuple[Gpu, ...], providers: list[str], expected: object
) -> None:
    monkeypatch.setattr("lstn.runtime.engines.onnxruntime_engine.find_gpus", lambda: gpus)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    if isinstance(expected, Device):
        assert resolve_device(device) is expected
    else:
        with pytest.raises(expected):
            resolve_device(device)


@pytest.mark.parametrize("device", [Device.AUTO, Device.CUDA])
def test_cuda_libraries_that_dont_load_are_told_and_not_silently_replaced(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lstn.runtime.engines.onnxruntime_engine.find_gpus", lambda: (GPU,))
    told = "Failed to load libcublasLt.so.13\nPlease follow https://elsewhere\n"
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write(told), raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    if device is Device.CUDA:
        with pytest.raises(DeviceError, match=r"its CUDA libraries: Failed to load libcublasLt\.so\.13$") as raised:
            open_engine(tiny.path, device=device).__enter__()
        assert raised.value.hint == f"run: {install_line('gpu')}; then: lstn doctor"
        wanted = 0
    else:
        with open_engine(tiny.path, device=device) as engine:
            engine.infer(pixels(1))
        wanted = 1
    out, err = capfd.readouterr()
    assert (out, err.count("warning:"), len(err.splitlines())) == ("", wanted, wanted)


def test_a_driver_too_old_for_onnx_runtime_is_named(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What ONNX Runtime 1.31 prints before it goes on without."""
    told = "EP Error CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=0\n"
    monkeypatch.setattr("lstn.runtime.engines.onnxruntime_engine.find_gpus", lambda: (GPU,))
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write(f"****\n{told}****\n"), raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("lstn.nvidia_driver.find_driver", lambda: Driver("550.54.15", (12, 4)))
    with pytest.raises(DeviceError, match=r"the NVIDIA driver 550\.54\.15 is too old for it") as raised:
        open_engine(tiny.path, device=Device.CUDA).__enter__()
    assert raised.value.hint.endswith(f"or run: {install_line('gpu-cu12')}")
    assert capfd.readouterr() == ("", "")


class Wrapped:
    """The session within ONNX Runtime's own Python session, but for what is defined in its place."""

    def __init__(self, real: object) -> None:
        self._real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def test_on_a_gpu_algorithms_are_chosen_and_not_timed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    real = onnxruntime.InferenceSession

    def spy(path: str, options: object, *, providers: list[object]) -> onnxruntime.InferenceSession:
        seen.append(providers[0])
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    OnnxSession(tiny.path, cuda=True)
    assert seen == [("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})]


def test_memory_that_runs_out_is_told_with_what_helps(tmp_path: Path) -> None:
    """Of ONNX Runtime itself, which is asked for 2 ** 62 bytes an image."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["float", "shape"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["logits"], keepdims=0),
    ]
    pixels_in = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [])
    shape = numpy_helper.from_array(np.array([1 << 30, 1, 1 << 30]), "shape")
    graph = helper.make_graph(nodes, "wide", [pixels_in], [logits], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(DeviceError, match=r"^wide: not enough memory for 2 images at once: ") as raised:
        OnnxSession(model.SerializeToString(), "wide").run({"pixels": np.zeros((2, 1), np.uint8)})
    assert raised.value.hint == "use a smaller batch, or free memory on this device"


@pytest.mark.parametrize(
    "told",
    [
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
        "Failed to allocate memory for requested buffer of size 4294967296",
        "Available memory of 8 is smaller than requested bytes of 4096",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_a_gpu_without_memory_is_told_in_the_same_words(tiny: Tiny, told: str) -> None:
    session = OnnxSession(tiny.path)

    class Failing(Wrapped):
        def run(self, *arguments: object) -> None:
            raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {told}")

    session._session._sess = Failing(session._session._sess)
    with pytest.raises(DeviceError, match="not enough memory for 3 images at once: "):
        session.run({"pixels": pixels(3)})


def test_after_a_failure_the_model_does_not_go_on_on_the_cpu(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime by itself would, from its first failure on a GPU to its end."""
    session = OnnxSession(tiny.path)

    class Failing(Wrapped):
        def run(self, *arguments: object) -> None:
            raise onnxruntime.capi.onnxruntime_pybind11_state.EPFail("[ONNXRuntimeError] : 11 : EP_FAIL : a GPU fell")

    session._session._sess = Failing(session._session._sess)
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"failed on 3 images: a GPU fell$"):
            session.run({"pixels": pixels(3)})
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_is_closed_says_so(tiny: Tiny) -> None:
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    with open_engine(tiny.path) as engine:
        engine.infer(pixels)
    with pytest.raises(DeviceError, match="this engine is closed") as refused:
        engine.infer(pixels)
    assert refused.value.hint == "use it within its with block"
