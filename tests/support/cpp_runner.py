"""The C++ runner, compiled once, and a model that tells which pixels it got."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from command import Ran
from onnx import TensorProto, helper, numpy_helper

from lstn.contract import METADATA_KEY, Contract, Fit, Loc
from lstn.images import Pixels

ROOT = Path(__file__).parents[2]
NEEDS = ROOT / "build" / "onnxruntime"
"""ONNX Runtime's headers and library, where `make runner` puts them."""

_STEP = 0.01
"""Of the logits, for each grey level."""


def build_runner() -> Path:
    """Compile what has changed, into the checkout's build folder, and return the program."""
    assert NEEDS.exists(), "the C++ runner lacks what it is built with: make runner"
    build = ROOT / "build" / "runner"
    configure = ["cmake", "-S", ROOT / "runtime" / "cpp", "-B", build, f"-DONNXRUNTIME_ROOT={NEEDS}"]
    for command in ([*configure, "-DCMAKE_CXX_FLAGS=-Werror"], ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "lstn-infer"


def run_program(program: Path, *arguments: object, stdin: bytes = b"") -> Ran:
    words = [each if isinstance(each, bytes) else str(each) for each in arguments]
    done = subprocess.run([program, *words], input=stdin, capture_output=True)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def rows_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def write_telling_model(path: Path, image_hw: tuple[int, int], fit: Fit) -> Contract:
    """Write a model whose labels are the samples of its input, each more probable by 1 % for a grey level more."""
    count = image_hw[0] * image_hw[1] * 3
    contract = Contract(Loc.NONE, "cnn", image_hw, tuple(map(str, range(count))), fit=fit)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "step"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["logits"]),
    ]
    constants = {"step": np.float32(_STEP), "shape": np.array([-1, count])}
    graph = helper.make_graph(
        nodes,
        "telling",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *image_hw, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", count])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    return contract


def told_pixels(row: dict[str, Any], image_hw: tuple[int, int], brightest: int) -> Pixels:
    """Return the pixels (H, W, 3) that the telling model got, by its row with all labels.

    brightest: the largest of them, for only their differences are in the probabilities
    """
    shares = np.empty(image_hw[0] * image_hw[1] * 3)
    for guess in row["top"]:
        shares[int(guess["label"])] = guess["probability"]
    levels = brightest + np.log(shares / shares.max()) / _STEP
    pixels = np.rint(levels)
    assert np.abs(levels - pixels).max() < 0.3  # six decimals tell a level from the next
    return pixels.astype(np.uint8).reshape(*image_hw, 3)
