"""float16 and bfloat16: what must stay float32 does, and what is lowered is rounded as the type rounds."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, numpy_helper
from small_models import SIDE, exported_model, warping_model

from lstn.calibration.emulate import emulated
from lstn.calibration.half import half_model
from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import LstnError
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.formats.node_names import HEAD, ModelPart, layer_of, part_of
from lstn.images import Pixels
from lstn.nn.classifier import Classifier
from lstn.precision import Precision

HALVES = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}
LARGE = 456
FAR = torch.tensor([0.05, 0.0, 0.95, 0.0, 0.05, 0.95])
"""A window of a twentieth of the image in its far corner, where coordinates are largest."""


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {entry.name: entry.type.tensor_type.elem_type for entry in (*graph.value_info, *graph.output)}


def run(model: onnx.ModelProto, pixels: Pixels, outputs: list[str]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, {PIXELS: pixels})


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("keep", ["head", "localizer"])
@pytest.mark.parametrize(("loc", "backbone"), [(Loc.LSTN, "cnn"), (Loc.STN, "resnet-18"), (Loc.NONE, "cnn")])
def test_types_are_what_was_asked_for(loc: Loc, backbone: str, keep: str, precision: Precision) -> None:
    model = exported_model(loc, backbone)
    half = half_model(model, precision, kept_layers(layer_names(model), [keep]))
    types = tensor_types(half)
    for node in half.graph.node:
        if node.op_type == "Cast":
            continue
        part, layer = part_of(node.name), layer_of(node.name)
        in_head = layer in (HEAD, "localizer") or layer.startswith(f"{HEAD}.")
        full = (
            part in (ModelPart.INPUT, ModelPart.GRID, ModelPart.SAMPLER)
            or in_head
            or (keep == "localizer" and part is ModelPart.LOCALIZER)
        )
        assert types[node.output[0]] == (TensorProto.FLOAT if full else HALVES[precision]), node.name
    assert [(e.name, e.type) for e in half.graph.output] == [(e.name, e.type) for e in model.graph.output]
    assert [(e.name, e.type) for e in half.graph.input] == [(e.name, e.type) for e in model.graph.input]


@pytest.fixture(scope="module")
def far() -> tuple[Classifier, onnx.ModelProto]:
    """A model that looks at a far corner of large images, and its export."""
    contract = Contract(Loc.LSTN, "cnn", (LARGE, LARGE), ("a", "b"))
    torch.manual_seed(0)
    model = Classifier(contract).eval()
    assert model.transformer is not None
    with torch.no_grad():
        model.transformer.localizer.head[-1].bias.copy_(FAR)
    return model, onnx_from_torch(model, contract)


@pytest.mark.parametrize("precision", HALVES)
def test_a_warp_at_the_far_edge_of_a_large_image_is_sampled_in_float32(
    precision: Precision, far: tuple[Classifier, onnx.ModelProto]
) -> None:
    model, exported = far
    half = half_model(exported, precision, kept_layers(layer_names(exported), ["head"]))
    half.graph.output.append(onnx.helper.make_tensor_value_info("sampler/GridSample", TensorProto.FLOAT, None))
    pixels = np.random.default_rng(0).integers(0, 256, (1, LARGE, LARGE, 3), dtype=np.uint8)
    (warped,) = run(emulated(half, precision), pixels, ["sampler/GridSample"])
    images = model.normalise(torch.from_numpy(pixels)).double()
    grid = F.affine_grid(FAR.double().reshape(1, 2, 3), [1, 3, LARGE, LARGE], align_corners=False)
    expected = F.grid_sample(images, grid, padding_mode="zeros", align_corners=False).numpy()
    # Between neighbours of noise a coordinate that is 1e-3 px off is up to 0.005 off; float16's would be 0.2 px off.
    assert np.abs(warped - expected).max() < 0.005
    coarse = F.grid_sample(images, grid.half().double(), padding_mode="zeros", align_corners=False).numpy()
    assert np.abs(coarse - expected).max() > 0.2


@pytest.mark.parametrize("precision", HALVES)
def test_weights_are_rounded_once_and_to_nearest(precision: Precision) -> None:
    model = exported_model(Loc.LSTN)
    half = half_model(model, precision, kept_layers(layer_names(model), ["localizer"]))
    exact = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    to = torch.float16 if precision is Precision.FP16 else torch.bfloat16
    seen = Counter[bool]()
    for weight in half.graph.initializer:
        found = numpy_helper.to_array(weight)
        lowered = weight.data_type == HALVES[precision]
        seen[lowered] += 1
        wanted = torch.from_numpy(exact[weight.name].copy())
        wanted = wanted.to(to).float() if lowered else wanted
        np.testing.assert_array_equal(found.astype(wanted.numpy().dtype), wanted.numpy())
    assert seen[True] >= 6  # weights and biases of three layers
    assert seen[False] > 10


def test_emulated_bfloat16_is_what_pytorch_computes_in_bfloat16() -> None:
    model, contract = warping_model(Loc.NONE)
    half = half_model(exported_model(Loc.NONE), Precision.BF16, frozenset())
    pixels = np.random.default_rng(1).integers(0, 256, (4, *contract.image_hw, 3), dtype=np.uint8)
    (logits,) = run(emulated(half, Precision.BF16), pixels, [LOGITS])
    with torch.no_grad():
        images = model.normalise(torch.from_numpy(pixels))
        exact, wanted = model.backbone(images).numpy(), model.bfloat16().backbone(images.bfloat16()).float().numpy()
    rounding = np.abs(wanted - exact).max()
    assert rounding > 1e-4
    assert np.abs(logits - wanted).max() < rounding  # an order of sums apart, which may flip last bits


def test_float16_of_theta_would_show() -> None:
    """Theta of the half model is the float32 model's to the last bit if only the backbone is lowered."""
    exported = exported_model(Loc.LSTN)
    half = half_model(exported, Precision.FP16, kept_layers(layer_names(exported), ["localizer"]))
    pixels = np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run(half, pixels, [THETA])[0], run(exported, pixels, [THETA])[0])


def test_a_constant_too_large_for_float16_is_named() -> None:
    model = exported_model(Loc.LSTN)
    weight = next(entry for entry in model.graph.initializer if entry.name == "backbone.features.3.weight")
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = -70000.0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    kept = kept_layers(layer_names(model), ["localizer"])
    with pytest.raises(LstnError, match=r"backbone\.features\.3 is 7e\+04") as caught:
        half_model(model, Precision.FP16, kept)
    assert "bf16" in caught.value.hint
    half_model(model, Precision.BF16, kept)
    half_model(model, Precision.FP16, kept | {"backbone.features.3"})
    values.flat[0] = 65504.0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    half_model(model, Precision.FP16, kept)


def test_a_single_kept_layer_is_cast_around() -> None:
    exported = exported_model(Loc.LSTN)
    half = half_model(
        exported, Precision.FP16, kept_layers(layer_names(exported), ["localizer", "backbone.features.3"])
    )
    types = tensor_types(half)
    assert types["backbone.features.3/Conv"] == TensorProto.FLOAT
    assert types["backbone.features.0/Conv"] == TensorProto.FLOAT16
    pixels = np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    (found,), (wanted,) = (run(proto, pixels, [LOGITS]) for proto in (half, exported))
    assert 0 < np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
