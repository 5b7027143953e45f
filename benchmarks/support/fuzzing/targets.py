"""Targets of the fuzzer: each feeds bytes to a reader, and raises if it does more than read or refuse them.

A reader may raise an `LstnError`, in one line. Where something independent says what is right, it is asked: Google's
protobuf whether an ONNX file keeps weights elsewhere, and a contract that was read must be the same once written.
"""

import atexit
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.support.memory_folder import memory_folder
from lstn.contract import Contract, Loc, Task, ThetaForm
from lstn.data.annotations.yaml_names import names_of_yaml
from lstn.data.folders.box_table import read_table
from lstn.errors import LstnError
from lstn.files import sha256_of
from lstn.formats.inspection import inspect_file
from lstn.formats.onnx_file import read_onnx
from lstn.formats.openvino_file import read_xml
from lstn.formats.plan_file import Flavour, Sidecar, Tensor, read_sidecar, sidecar_path
from lstn.images import decode

_PLAN = b"vtrt" + bytes(12) + struct.pack("<Q", 64) + bytes([1, 7, 0, 0]) + bytes(36)


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """What is fuzzed. read: takes the bytes; begin: returns good ones to start from; words: that it looks for"""

    read: Callable[[bytes], object]
    begin: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()


@contextmanager
def refusing() -> Iterator[None]:
    """Take a refusal in one line for an answer."""
    try:
        yield
    except LstnError as error:
        _check_line(error.message)
        _check_line(error.hint or "-")


def _check_line(told: str) -> None:
    if not told or "\n" in told:
        raise AssertionError(f"not one line: {told!r}")


def contracts() -> list[Contract]:
    """Return contracts of several kinds."""
    plain = Contract(Loc.LSTN, "resnet-18", (48, 64), ("ant", "bee"))
    forms = [Contract(Loc.STN, "cnn", (64, 64), ("a", "b"), theta=form) for form in ThetaForm]
    detector = Contract(Loc.GLANCE, "cnn", (64, 64), ("a",), warps=8, task=Task.DETECT)
    reader = Contract(Loc.GLANCE, "cnn", (32, 96), ("0", "1"), warps=5, task=Task.READ, view_hw=(16, 48))
    return [plain, *forms, detector, reader, Contract(Loc.NONE, "cnn", (8, 8), ("a", "b"), temperature=1.5)]


def _contract(data: bytes) -> None:
    with refusing():
        contract = Contract.from_json(data.decode("utf-8", "surrogateescape"), source="x")
        assert Contract.from_json(contract.to_json(), source="x") == contract


@cache
def _place() -> Path:
    folder = memory_folder()
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _file(name: str, data: bytes) -> Path:
    path = _place() / name
    path.write_bytes(data)
    return path


def _onnx(data: bytes) -> None:
    path = _file("model.onnx", data)
    with refusing():
        found = read_onnx(path)
        assert found.external_data or not _keeps_weights_elsewhere(data), "it doesn't see external data"
        inspect_file(path)


def _keeps_weights_elsewhere(data: bytes) -> bool:
    """Ask protobuf whether any tensor of a model lies in another file."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return False
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors_in(model))


def _tensors_in(message: Any) -> Iterator[Any]:
    """Yield every TensorProto below a message."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if hasattr(value, "__len__") else [value]:
                yield from _tensors_in(each)


def _openvino(data: bytes) -> None:
    path = _file("model.xml", data)
    with refusing():
        read_xml(path)
        inspect_file(path)


def _plan(data: bytes) -> None:
    with refusing():
        inspect_file(_file("lonely.plan", data))


def _sidecar(data: bytes) -> None:
    plan = _file("model.plan", _PLAN)
    _file(sidecar_path(plan).name, data)
    with refusing():
        sidecar = read_sidecar(plan)
        assert Contract.from_json(sidecar.contract.to_json(), source="x") == sidecar.contract


def _safetensors(data: bytes) -> None:
    with refusing():
        inspect_file(_file("model.safetensors", data))


def _boxes(data: bytes) -> None:
    with refusing():
        for row in read_table(_file("boxes.csv", data)).rows:
            row.number("x1")


def _yaml(data: bytes) -> None:
    try:
        names_of_yaml(data.decode("utf-8", "replace"))
    except ValueError as error:
        _check_line(str(error))


def _image(data: bytes) -> None:
    with refusing():
        pixels = decode(data, (8, 8))
        assert (pixels.shape, str(pixels.dtype)) == ((8, 8, 3), "uint8")


def _onnx_files() -> list[bytes]:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    elsewhere = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0])
    elsewhere.ClearField("float_data")
    elsewhere.data_location = TensorProto.EXTERNAL
    node = helper.make_node("MatMul", ["pixels", "w"], ["logits"], name="m")
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere)
    branch = helper.make_node("If", ["c"], ["d"], then_branch=helper.make_graph([constant], "t", [], []))
    made = []
    for nodes in ([node], [node, branch]):
        model = helper.make_model(helper.make_graph(nodes, "g", [pixels], [logits], [weights]), ir_version=10)
        helper.set_model_props(model, {"lstn": contracts()[0].to_json()})
        made.append(model.SerializeToString())
    return made


def _xml_files() -> list[bytes]:
    record = json.dumps({
        "contract": contracts()[0].to_json(), "bin_sha256": "0" * 64, "onnx_sha256": "0" * 64, "version": "2026.4",
        "precision": "fp32",
    }).replace('"', "&quot;")  # fmt: skip
    port = '<port id="0" precision="U8" names="pixels"><dim>-1</dim><dim>8</dim></port>'
    layers = f'<layer id="0" type="Parameter"><output>{port}</output></layer><layer id="1" type="MatMul"/>'
    result = f'<layer id="2" type="Result" output_names="logits"><input>{port}</input></layer>'
    return [
        f'<net name="m"><layers>{layers}{result}</layers><rt_info><lstn value="{record}"/></rt_info></net>'.encode()
    ]


def _sidecars() -> list[bytes]:
    tensor = Tensor("pixels", "uint8", (-1, 8, 8, 3))
    sha256 = sha256_of(_file("model.plan", _PLAN))
    sidecar = Sidecar(
        contracts()[0], sha256, "0" * 64, Flavour.TRT_RTX, "1.7", ("sm89",), ((1, 8, 32),), "fp32", (tensor,), (tensor,)
    )
    return [sidecar.to_json().encode()]


def _checkpoints() -> list[bytes]:
    tensors = {"head.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    header = json.dumps({"__metadata__": {"lstn": contracts()[0].to_json()}} | tensors).encode()
    return [struct.pack("<Q", len(header)) + header + bytes(24)]


def _tables() -> list[bytes]:
    gtsrb = b"Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\na.ppm;29;30;5;6;24;25;0\n"
    return [b'path,x1,y1,x2,y2,degrees\na.png,1,2,3,4,5\n"b,c",1,2,3,4,\n', gtsrb]


def _pictures() -> list[bytes]:
    import io

    from PIL import Image

    made = []
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "JPEG2000"):
        file = io.BytesIO()
        Image.radial_gradient("L").resize((16, 12)).convert("RGB").save(file, form)
        made.append(file.getvalue())
    return made


_CONTRACT_WORDS = (*Contract.__dataclass_fields__, "version", *(each.value for each in (*Loc, *ThetaForm, *Task)))

READERS: dict[str, FuzzTarget] = {
    "contract": FuzzTarget(_contract, lambda: [each.to_json().encode() for each in contracts()], _CONTRACT_WORDS),
    "onnx": FuzzTarget(_onnx, _onnx_files, ("lstn", "lstn.training")),
    "openvino": FuzzTarget(_openvino, _xml_files, ("<layer", "<port", "<dim>", "<!DOCTYPE", "<rt_info>", "<lstn")),
    "plan": FuzzTarget(_plan, lambda: [_PLAN, b"ftrt" + _PLAN[4:]], ("ftrt", "vtrt")),
    "sidecar": FuzzTarget(_sidecar, _sidecars, (*Sidecar.__dataclass_fields__, *_CONTRACT_WORDS)),
    "safetensors": FuzzTarget(_safetensors, _checkpoints, ("__metadata__", "dtype", "shape", "data_offsets", "lstn")),
    "boxes": FuzzTarget(_boxes, _tables, ("path", "x1", "y1", "x2", "y2", "degrees", "Filename;Width;")),
    "yaml": FuzzTarget(
        _yaml, lambda: [b"names: [a, 'b']\n", b"names:\n  0: a\n  1: b\n", b"names:\n- a\n"], ("names:",)
    ),
    "image": FuzzTarget(_image, _pictures, ("Exif", "IHDR", "IDAT")),
}
"""Readers of files, by name."""
