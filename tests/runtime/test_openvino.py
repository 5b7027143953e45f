import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import openvino as ov
import pytest
from command import RunLstn
from numpy.typing import DTypeLike
from onnx import helper, numpy_helper
from tiny import SIDE, MakeTiny, Tiny

from lstn.contract import METADATA_KEY, Contract, Loc
from lstn.errors import ArtifactError, DeviceError, MissingExtra, UsageError
from lstn.files import sha256_of
from lstn.formats.openvino_file import Record, bin_path
from lstn.machine.gpu import Device
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.openvino_engine import OpenVinoGraph, open_openvino

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 3])
def test_answers_what_the_model_computes(tiny: Tiny, count: int) -> None:
    pixels = RANDOM.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    with open_openvino(tiny.path, threads=1) as engine:
        assert engine.contract == tiny.contract
        prediction = engine.infer(pixels)
    np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)
    assert prediction.theta is not None
    np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), rtol=1e-5, atol=1e-5)


def test_an_answer_is_the_callers_to_keep(tiny: Tiny) -> None:
    black, white = (np.full((1, SIDE, SIDE, 3), level, np.uint8) for level in (0, 255))
    with open_openvino(tiny.path, threads=1) as engine:
        first = engine.infer(black)
        engine.infer(white)
    np.testing.assert_allclose(first.logits, 0, atol=1e-6)


def test_a_model_without_a_localizer_has_no_theta(make_tiny: MakeTiny) -> None:
    with open_openvino(make_tiny(loc=Loc.NONE).path, threads=None) as engine:
        assert engine.infer(np.zeros((2, SIDE, SIDE, 3), np.uint8)).theta is None


def test_other_pixels_are_refused(tiny: Tiny) -> None:
    with open_openvino(tiny.path, threads=1) as engine, pytest.raises(UsageError, match="expected uint8"):
        engine.infer(np.zeros((1, SIDE, SIDE, 4), np.uint8))


def test_a_file_without_a_contract_is_refused(make_tiny: MakeTiny) -> None:
    path = make_tiny(edit=lambda model: model.ClearField("metadata_props")).path
    with pytest.raises(ArtifactError, match="no contract"), open_openvino(path, threads=1):
        pass


def test_what_openvino_says_is_one_line_without_its_own_source(tiny: Tiny, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ArtifactError) as caught:
        OpenVinoGraph(broken, threads=1)
    assert "\n" not in caught.value.message
    assert "Exception from" not in caught.value.message
    with pytest.raises(DeviceError, match="OpenVINO failed"):
        OpenVinoGraph(tiny.path, threads=1).run({"paxels": np.zeros((1, SIDE, SIDE, 3), np.uint8)})


def test_without_openvino_the_error_names_the_extra(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra) as caught, open_openvino(tiny.path, threads=1):
        pass
    assert "[openvino]" in caught.value.hint


MakeXml = Callable[..., Path]


@pytest.fixture
def make_xml(tmp_path: Path) -> MakeXml:
    """Write an ONNX file as .xml and .bin, as `lstn export --engine openvino` would, without asking it."""

    def make(tiny: Tiny, *, contract: Contract | None = None, edit: Callable[[ov.Model], object] | None = None) -> Path:
        path = tmp_path / "model.xml"
        model = ov.Core().read_model(tiny.path)
        if edit is not None:
            edit(model)
        ov.save_model(model, path, compress_to_fp16=False)
        record = Record(contract or tiny.contract, sha256_of(bin_path(path)), sha256_of(tiny.path), "2026.4", "fp32")
        model.set_rt_info(record.to_json(), METADATA_KEY)
        ov.save_model(model, path, compress_to_fp16=False)
        return path

    return make


@pytest.mark.parametrize("loc", [Loc.LSTN, Loc.NONE])
def test_an_xml_runs_as_its_onnx_file_does(make_tiny: MakeTiny, make_xml: MakeXml, loc: Loc) -> None:
    tiny = make_tiny(loc=loc)
    with open_engine(make_xml(tiny), threads=1) as engine:
        assert engine.contract == tiny.contract
        for count in (1, 3):
            pixels = RANDOM.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
            prediction = engine.infer(pixels)
            np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)
            assert (prediction.theta is None) == (loc is Loc.NONE)
            if prediction.theta is not None:
                np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), rtol=1e-5, atol=1e-5)


def _lower(model: onnx.ModelProto, dtype: DTypeLike = ml_dtypes.bfloat16, cast: str = "logits16") -> None:
    """Let logits, and them alone, be computed in a lower precision; `cast` is what they are called before the cast."""
    (matmul,) = (node for node in model.graph.node if node.output[0] == "logits")
    (weights,) = (weight for weight in model.graph.initializer if weight.name == "weights")
    rounded = numpy_helper.to_array(weights).astype(dtype)
    weights.CopyFrom(numpy_helper.from_array(rounded, "weights"))
    matmul.input[0], matmul.output[0] = "mean16", cast
    down = helper.make_node("Cast", ["mean"], ["mean16"], to=weights.data_type)
    model.graph.node.insert(list(model.graph.node).index(matmul), down)
    model.graph.node.append(helper.make_node("Cast", [cast], ["logits"], to=onnx.TensorProto.FLOAT))


def test_theta_is_float32_beside_bfloat16(make_tiny: MakeTiny, make_xml: MakeXml) -> None:
    """On a CPU with bfloat16, OpenVINO's own choice would be wrong by 1e-3 here; on others nothing tells the two."""
    tiny = make_tiny(edit=_lower)
    pixels = RANDOM.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    with open_engine(make_xml(tiny), threads=1) as engine:
        prediction = engine.infer(pixels)
    assert prediction.theta is not None
    np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), rtol=1e-6, atol=1e-6)
    off = np.abs(prediction.logits - tiny.logits(pixels)).max()
    assert 1e-4 < off < 2e-2 * np.abs(tiny.logits(pixels)).max()


@pytest.mark.parametrize("cast", ["a", "logits16", "z"])
def test_an_output_behind_a_cast_is_found(make_tiny: MakeTiny, make_xml: MakeXml, cast: str) -> None:
    """On a CPU float16 is computed as float32: the cast goes, and leaves its input's name beside the output's own."""
    tiny = make_tiny(edit=lambda model: _lower(model, np.float16, cast))
    path = make_xml(tiny)
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert {cast, "logits"} in [port.get_names() for port in compiled.outputs]
    pixels = RANDOM.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    with open_engine(path, threads=1) as engine:
        prediction = engine.infer(pixels)
    np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), rtol=2e-2, atol=2e-2)


def test_an_xml_runs_on_the_cpu_alone(tiny: Tiny, make_xml: MakeXml) -> None:
    path = make_xml(tiny)
    with pytest.raises(UsageError, match="OpenVINO runs on the CPU only"):
        open_engine(path, device=Device.CUDA)
    with open_engine(path, device=Device.CPU, threads=1) as engine, pytest.raises(UsageError, match="expected uint8"):
        engine.infer(np.zeros((1, SIDE + 1, SIDE, 3), np.uint8))


def test_an_xml_whose_weights_changed_is_refused(tiny: Tiny, make_xml: MakeXml) -> None:
    path = make_xml(tiny)
    data = bytearray(bin_path(path).read_bytes())
    data[len(data) // 2] ^= 1
    bin_path(path).write_bytes(data)
    with pytest.raises(ArtifactError, match="SHA-256 differs"), open_engine(path):
        pass


def test_an_xml_with_other_tensors_than_its_contract_says_is_refused(tiny: Tiny, make_xml: MakeXml) -> None:
    other = Contract(Loc.LSTN, "cnn", (SIDE, SIDE), ("one", "two"))
    with (
        pytest.raises(ArtifactError, match=r"its outputs are .* its contract says logits"),
        open_engine(make_xml(tiny, contract=other)),
    ):
        pass
    fixed = make_xml(tiny, edit=lambda model: model.reshape({"pixels": [1, SIDE, SIDE, 3]}))
    with pytest.raises(ArtifactError, match="its inputs are pixels uint8 \\(1, 8, 8, 3\\)"), open_engine(fixed):
        pass


def test_an_xml_that_openvino_cannot_read_is_one_error(tiny: Tiny, make_xml: MakeXml) -> None:
    path = make_xml(tiny)
    for found, spoilt in (
        ('type="MatMul"', 'type="MatMuller"'),
        ('size="', 'size="9999999'),
        ('offset="', 'offset="x'),
    ):
        text = path.read_text()
        path.write_text(text.replace(found, spoilt, 1))
        with pytest.raises(ArtifactError, match="OpenVINO can't read it") as caught, open_engine(path):
            pass
        assert "\n" not in caught.value.message
        path.write_text(text)


def test_images_are_classified_from_an_xml(tiny: Tiny, make_xml: MakeXml, tmp_path: Path, run_lstn: RunLstn) -> None:
    from PIL import Image

    Image.new("RGB", (20, 10), (200, 30, 90)).save(tmp_path / "image.png")
    answers = [
        run_lstn("infer", tmp_path / "image.png", "--engine", path, "--format", "csv", "--device", "cpu")
        for path in (make_xml(tiny), tiny.path)
    ]
    assert [ran.code for ran in answers] == [0, 0]
    assert answers[0].out.split(",")[:2] == answers[1].out.split(",")[:2]
    path = tmp_path / "model.bin"
    ran = run_lstn(
        "infer", tmp_path / "image.png", "--engine", tmp_path / "model.xml", "--format", "csv", "--output", path
    )
    assert (ran.code, "this command reads that file" in ran.err) == (2, True)


CLOSED_ELSEWHERE = """
import os, signal, sys, threading
from contextlib import ExitStack
from pathlib import Path
import numpy as np
from lstn.runtime.engines.openvino_engine import open_openvino

opened = ExitStack()
engine = opened.enter_context(open_openvino(Path(sys.argv[1]), threads=1))
engine.infer(np.zeros((1, *engine.contract.image_hw, 3), np.uint8))
del engine

def close():
    global opened
    opened.close()
    del opened

thread = threading.Thread(target=close)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_another_thread_closed_the_engine_is_handled(tiny: Tiny) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_ELSEWHERE, tiny.path], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "handled\n", "")


def test_an_engine_that_is_closed_says_so(tiny: Tiny) -> None:
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    with open_openvino(tiny.path, threads=1) as engine:
        engine.infer(pixels)
    for count in (1, 2):  # the first was compiled before, the second never
        with pytest.raises(DeviceError, match="this engine is closed"):
            engine.infer(pixels.repeat(count, axis=0))
