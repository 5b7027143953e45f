"""A spatial transformer of a dozen nodes, written by hand, named as lstn names nodes: quick, and easy to spoil."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from lstn.calibration.cost.lowering_cost import ClassifierCost
from lstn.contract import METADATA_KEY, Contract, Loc
from lstn.images import Pixels

SIDE = 16
LABELS = tuple(f"class {index}" for index in range(8))
OPSET = 18

Weights = dict[str, npt.NDArray[np.float32]]
Edit = Callable[[Weights], object]
MeasureByHand = Callable[..., ClassifierCost]
"""Measures a hand-made model against itself after an edit of its weights; see conftest.py."""

_MEAN_FEATURES = np.array([0.919, 0.782, 0.269, 0.208, 1.462, 0.001], np.float32)
"""What the average pooling comes to on random images."""


@dataclass(frozen=True)
class ArraySplit:
    """Images in memory."""

    pixels: Pixels
    labels: tuple[int, ...]
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self.pixels[index], self.labels[index]

    def redrawn(self, epoch: int) -> "ArraySplit":
        return self


def random_split(count: int, *, classes: int = len(LABELS), seed: int = 0) -> ArraySplit:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    pixels = small.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    return ArraySplit(pixels, tuple(random.integers(0, classes, count).tolist()))


def untouched(weights: Weights) -> None:
    """An edit that leaves everything as it is."""


def make_weights(classes: int = len(LABELS)) -> Weights:
    random = np.random.default_rng(5)
    shapes = {
        "localizer.features.0.weight": (4, 3, 3, 3),
        "localizer.features.0.bias": (4,),
        "localizer.head.1.weight": (6, 4 * (SIDE // 2) ** 2),
        "localizer.head.1.bias": (6,),
        "backbone.conv1.weight": (6, 3, 3, 3),
        "backbone.conv1.bias": (6,),
        "backbone.fc.weight": (classes, 6),
        "backbone.fc.bias": (classes,),
    }
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["localizer.head.1.weight"] *= 0.1
    weights["localizer.head.1.bias"] = np.array([0.9, 0.1, 0.05, -0.1, 0.8, -0.05], np.float32)
    weights["backbone.fc.weight"] *= 20
    weights["backbone.fc.bias"] -= weights["backbone.fc.weight"] @ _MEAN_FEATURES  # or one class would win them all
    return weights


def make_model(
    loc: Loc = Loc.LSTN, *, labels: tuple[str, ...] = LABELS, edit: Edit = lambda weights: None
) -> onnx.ModelProto:
    """Make the model; `edit` changes its weights first, by the names that they have in it."""
    weights = make_weights(len(labels))
    edit(weights)
    node = helper.make_node
    nodes = [
        node("Cast", ["pixels"], ["input/Cast"], "input/Cast", to=TensorProto.FLOAT),
        node("Transpose", ["input/Cast"], ["input/Transpose"], "input/Transpose", perm=[0, 3, 1, 2]),
        node("Mul", ["input/Transpose", "scale"], ["input/Mul"], "input/Mul"),
    ]
    image = "input/Mul"
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(labels)])]
    if loc is not Loc.NONE:
        nodes += _transformer()
        image = "sampler/GridSample"
        outputs.append(helper.make_tensor_value_info("theta", TensorProto.FLOAT, ["N", 2, 3]))
    conv1 = [image, "backbone.conv1.weight", "backbone.conv1.bias"]
    fc = ["backbone.avgpool/ReduceMean", "backbone.fc.weight", "backbone.fc.bias"]
    nodes += [
        node("Conv", conv1, ["backbone.conv1/Conv"], "backbone.conv1/Conv", pads=[1] * 4),
        node("Relu", ["backbone.conv1/Conv"], ["backbone.relu/Relu"], "backbone.relu/Relu"),
        node("ReduceMean", ["backbone.relu/Relu", "axes"], [fc[0]], fc[0], keepdims=0),
        node("Gemm", fc, ["logits"], "backbone.fc/Gemm", transB=1),
    ]
    used = {name for each in nodes for name in each.input}
    constants = [
        numpy_helper.from_array(array, name) for name, array in (_constants() | weights).items() if name in used
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    graph = helper.make_graph(nodes, "hand made", [pixels], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: Contract(loc, "cnn", (SIDE, SIDE), labels).to_json()})
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def _transformer() -> list[onnx.NodeProto]:
    node = helper.make_node
    conv = ["input/Mul", "localizer.features.0.weight", "localizer.features.0.bias"]
    head = ["localizer.head.1/Reshape", "localizer.head.1.weight", "localizer.head.1.bias"]
    conv_name, relu_name = "localizer.features.0/Conv", "localizer.features.1/Relu"
    return [
        node("Conv", conv, [conv_name], conv_name, strides=[2, 2], pads=[1] * 4),
        node("Relu", [conv_name], [relu_name], relu_name),
        node("Reshape", [relu_name, "flat"], head[:1], head[0]),
        node("Gemm", head, ["localizer.head.1/Gemm"], "localizer.head.1/Gemm", transB=1),
        node("Reshape", ["localizer.head.1/Gemm", "matrix"], ["theta"], "localizer/Reshape"),
        node("Transpose", ["theta"], ["grid/Transpose"], "grid/Transpose", perm=[0, 2, 1]),
        node("MatMul", ["places", "grid/Transpose"], ["grid/MatMul"], "grid/MatMul"),
        node("Reshape", ["grid/MatMul", "image"], ["grid/Reshape"], "grid/Reshape"),
        node(
            "GridSample",
            ["input/Mul", "grid/Reshape"],
            ["sampler/GridSample"],
            "sampler/GridSample",
            mode="bilinear",
            padding_mode="zeros",
            align_corners=0,
        ),
    ]


def _constants() -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]:
    """places (H * W, 3): the centre of every pixel of the output as x, y, 1."""
    centres = (2 * np.arange(SIDE) + 1) / SIDE - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return {
        "scale": np.array(1 / 255, np.float32),
        "axes": np.array([2, 3]),
        "flat": np.array([-1, 4 * (SIDE // 2) ** 2]),
        "matrix": np.array([-1, 2, 3]),
        "image": np.array([-1, SIDE, SIDE, 2]),
        "places": np.stack([x.ravel(), y.ravel(), np.ones(SIDE**2)], axis=1).astype(np.float32),
    }
