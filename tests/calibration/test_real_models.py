"""What hand-made models show elsewhere, on exported ones: each localizer, lowered by ONNX Runtime's own tool."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from small_models import SIDE, exported_once, warping_model

from lstn.calibration.cost.drift import measure_drift
from lstn.calibration.cost.swap import with_theta_input
from lstn.contract import At, Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_session import OnnxSession


class Reader(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"pixels": image[None]}


KINDS: dict[str, dict[str, Any]] = {
    "stn": {},
    "vstn": {},
    "lstn": {},
    "none": {},
    "shared": {"iterations": 2},
    "stn at the stem": {"at": At.STEM},
    "stn in perspective": {"theta": ThetaForm.PROJECTIVE},
    "stn by a spline": {"theta": ThetaForm.TPS},
}


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Loc, Path, Path]:
    """model.onnx, and one whose localizer and backbone are in int8, Q/DQ pairs around every operator."""
    loc, folder = Loc(request.param.partition(" ")[0]), tmp_path_factory.mktemp("pair")
    images = sample_images("digits", (SIDE, SIDE), seed=0, count=16)
    exact, rough = folder / "model.onnx", folder / "model.int8.onnx"
    if changes := KINDS[request.param]:
        model, contract = warping_model(loc, **changes)
        write_onnx(model, exact, contract, images)
    else:
        exact = exported_once(loc, "cnn").path
    kept = [
        node.name
        for node in onnx.load(exact).graph.node
        if part_of(node.name) in (ModelPart.INPUT, ModelPart.GRID, ModelPart.SAMPLER)
    ]
    quantize_static(
        exact,
        rough,
        Reader(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    return loc, exact, rough


def test_both_models_with_theta_as_an_input_are_themselves(pair: tuple[Loc, Path, Path]) -> None:
    loc, *paths = pair
    if loc is Loc.NONE:
        return
    images = sample_images("digits", (SIDE, SIDE), seed=3, count=8)
    for path in paths:
        logits, theta = OnnxSession(path).run({"pixels": images}, ["logits", "theta"])
        behind = OnnxSession(with_theta_input(onnx.load(path)).SerializeToString())
        (again,) = behind.run({"pixels": images, "theta": theta}, ["logits"])
        np.testing.assert_array_equal(again, logits)


def test_every_layer_is_found_and_the_noise_adds_up(pair: tuple[Loc, Path, Path]) -> None:
    loc, exact, rough = pair
    cost = measure_drift(exact, rough, open_data("digits", image_hw=(SIDE, SIDE)).val, count=32)
    by_name = {layer.node: layer for layer in cost.layers}
    assert not [layer.node for layer in cost.layers if layer.own_db is None]
    assert {part_of(name) for name in by_name} >= (
        {ModelPart.LOCALIZER, ModelPart.BACKBONE} if cost.drift else {ModelPart.BACKBONE}
    )
    convolutions = [layer for layer in cost.layers if layer.operator == "Conv"]
    assert all(15 < (layer.own_db or 0) < 60 for layer in convolutions)  # 8 bits are 50 dB at best
    assert all(layer.own_db == math.inf for layer in cost.layers if part_of(layer.node) is ModelPart.INPUT)
    assert (cost.drift is None) is (loc is Loc.NONE)
    if cost.drift is not None:
        assert cost.changed is not None
        assert 0 < cost.drift.mean_px < cost.drift.max_px
        assert by_name["theta"].output_db is not None
        assert by_name["theta"].output_db > 0
