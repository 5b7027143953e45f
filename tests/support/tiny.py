"""A model small enough to be worked out by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lstn.contract import METADATA_KEY, Contract, Loc, Task
from lstn.images import Pixels
from lstn.warps.warp import identity_theta

SIDE = 8


@dataclass(frozen=True)
class Tiny:
    """logits = mean colour @ weights; theta = identity + mean colour @ theta_weights; a detector's for each region."""

    path: Path
    contract: Contract
    weights: np.ndarray
    theta_weights: np.ndarray

    def logits(self, pixels: Pixels) -> np.ndarray:
        flat = pixels.mean(axis=(1, 2), dtype=np.float32) @ self.weights
        return flat.reshape(-1, *self.contract.logits_shape)

    @property
    def identity(self) -> np.ndarray:
        return np.tile(identity_theta(self.contract.theta).ravel(), self.contract.warps)

    def theta(self, pixels: Pixels) -> np.ndarray:
        flat = self.identity + pixels.mean(axis=(1, 2), dtype=np.float32) @ self.theta_weights
        return flat.reshape(-1, *self.contract.theta_shape)


MakeTiny = Callable[..., Tiny]
"""Writes one; see `make_tiny` in conftest.py."""


def proto_of(tiny: Tiny, *, dtype: int = TensorProto.UINT8, batch: int | str = "N") -> onnx.ModelProto:
    height, width = tiny.contract.image_hw
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["planes", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(tiny.weights, "weights"), numpy_helper.from_array(np.array([2, 3]), "axes")]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, *tiny.contract.logits_shape])]
    if tiny.contract.task is not Task.CLASSIFY:
        nodes[-1] = helper.make_node("MatMul", ["mean", "weights"], ["regions"])
        nodes.append(helper.make_node("Reshape", ["regions", "logits_shape"], ["logits"]))
        constants.append(numpy_helper.from_array(np.array([-1, *tiny.contract.logits_shape]), "logits_shape"))
    if tiny.contract.loc is not Loc.NONE:
        nodes += [
            helper.make_node("MatMul", ["mean", "theta_weights"], ["shift"]),
            helper.make_node("Add", ["shift", "identity"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["theta"]),
        ]
        shape = tiny.contract.theta_shape
        arrays = {"theta_weights": tiny.theta_weights, "identity": tiny.identity, "shape": np.array([-1, *shape])}
        constants += [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        outputs.append(helper.make_tensor_value_info("theta", TensorProto.FLOAT, [batch, *shape]))
    for node in nodes:
        node.name = f"backbone.{node.output[0]}/{node.op_type}"
    pixels = helper.make_tensor_value_info("pixels", dtype, [batch, height, width, 3])
    graph = helper.make_graph(nodes, "tiny", [pixels], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: tiny.contract.to_json()})
    return model
