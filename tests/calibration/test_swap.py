import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from hand_made import make_model, random_split
from onnx import TensorProto, helper, numpy_helper

from lstn.calibration.cost.swap import with_theta_input
from lstn.contract import Loc
from lstn.errors import ArtifactError

PIXELS = random_split(6).pixels
COARSE = (numpy_helper.from_array(np.float32(0.05), "s"), numpy_helper.from_array(np.int8(0), "z"))


def run(model: onnx.ModelProto, outputs: list[str], **inputs: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, inputs)


def always(theta: np.ndarray) -> onnx.ModelProto:
    """The model with a localizer that answers `theta` (2, 3), whatever it sees."""

    def edit(weights: dict[str, np.ndarray]) -> None:
        weights["localizer.head.1.weight"][:] = 0
        weights["localizer.head.1.bias"][:] = theta.ravel()

    return make_model(edit=edit)


def theta_behind(
    model: onnx.ModelProto, *inserted: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()
) -> None:
    """Let nodes that lower precision inserts lie between the head and theta; the head's own tensor becomes `raw`."""
    (at,) = (index for index, node in enumerate(model.graph.node) if "theta" in node.output)
    model.graph.node[at].output[0] = "raw"
    nodes = [*model.graph.node[: at + 1], *inserted, *model.graph.node[at + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)


def test_fed_its_own_theta_it_is_the_model() -> None:
    model = make_model()
    logits, theta = run(model, ["logits", "theta"], pixels=PIXELS)
    assert np.ptp(theta, axis=0).max() > 0.1  # the localizer looks at the image
    np.testing.assert_array_equal(run(with_theta_input(model), ["logits"], pixels=PIXELS, theta=theta)[0], logits)


def test_fed_another_theta_it_is_the_model_that_computes_that() -> None:
    other = np.array([[0.5, -0.2, 0.3], [0.1, 0.7, -0.4]], np.float32)
    thetas = np.stack([other] * len(PIXELS))
    (logits,) = run(with_theta_input(make_model()), ["logits"], pixels=PIXELS, theta=thetas)
    np.testing.assert_array_equal(logits, run(always(other), ["logits"], pixels=PIXELS)[0])


def test_nothing_of_the_localizer_is_left_and_the_model_stays_as_it_was() -> None:
    model = make_model()
    before = model.SerializeToString(deterministic=True)
    swapped = with_theta_input(model).graph
    assert model.SerializeToString(deterministic=True) == before
    assert [entry.name for entry in swapped.input] == ["pixels", "theta"]
    assert [entry.name for entry in swapped.output] == ["logits"]
    parts = {node.name.partition("/")[0].partition(".")[0] for node in swapped.node}
    assert parts == {"input", "grid", "sampler", "backbone"}
    assert not [weight.name for weight in swapped.initializer if weight.name.startswith("localizer")]
    assert {"flat", "matrix"}.isdisjoint(weight.name for weight in swapped.initializer)


def test_theta_that_was_quantized_on_its_way_out_is_not_quantized_again() -> None:
    model = make_model()
    theta_behind(model, *pair("raw", "theta", "t"), constants=COARSE)
    logits, coarse = run(model, ["logits", "theta"], pixels=PIXELS)
    np.testing.assert_allclose(coarse / 0.05, np.round(coarse / 0.05), atol=1e-5)
    swapped = with_theta_input(model)
    np.testing.assert_array_equal(run(swapped, ["logits"], pixels=PIXELS, theta=coarse)[0], logits)
    fine = run(make_model(), ["theta"], pixels=PIXELS)[0]
    wanted = run(with_theta_input(make_model()), ["logits"], pixels=PIXELS, theta=fine)[0]
    np.testing.assert_array_equal(run(swapped, ["logits"], pixels=PIXELS, theta=fine)[0], wanted)


def pair(source: str, target: str, name: str) -> tuple[onnx.NodeProto, ...]:
    return (
        helper.make_node("QuantizeLinear", [source, "s", "z"], [f"{name}_q"], f"{name}_QuantizeLinear"),
        helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [target], f"{name}_DequantizeLinear"),
    )


def test_each_reader_of_a_quantized_theta_may_dequantize_it_for_itself() -> None:
    model = make_model()
    (grid,) = (node for node in model.graph.node if node.name == "grid/Transpose")
    grid.input[0] = "again"
    again = helper.make_node("DequantizeLinear", ["t_q", "s", "z"], ["again"], "another")
    theta_behind(model, *pair("raw", "theta", "t"), again, constants=COARSE)
    logits, theta = run(model, ["logits", "theta"], pixels=PIXELS)
    np.testing.assert_array_equal(run(with_theta_input(model), ["logits"], pixels=PIXELS, theta=theta)[0], logits)


def test_what_rounds_theta_behind_the_output_is_the_backbones_side() -> None:
    model = make_model()
    (grid,) = (node for node in model.graph.node if node.name == "grid/Transpose")
    grid.input[0] = "rounded"
    theta_behind(
        model,
        helper.make_node("Identity", ["raw"], ["theta"], "same"),
        *pair("theta", "rounded", "t"),
        constants=COARSE,
    )
    logits, theta = run(model, ["logits", "theta"], pixels=PIXELS)
    assert not np.array_equal(logits, run(make_model(), ["logits"], pixels=PIXELS)[0])
    np.testing.assert_array_equal(run(with_theta_input(model), ["logits"], pixels=PIXELS, theta=theta)[0], logits)


def test_a_grid_that_reads_theta_before_its_cast_gets_that_type() -> None:
    model = make_model()
    casts = (
        helper.make_node("Cast", ["raw"], ["half"], "to_half", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["theta"], "theta_to_float32", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["half", "one"], ["same"], "grid/Mul"),  # which refuses two types
        helper.make_node("Transpose", ["same"], ["turned"], "grid/Transpose", perm=[0, 2, 1]),
        helper.make_node("Cast", ["turned"], ["grid/Transpose"], "grid/Cast", to=TensorProto.FLOAT),
    )
    (own,) = (node for node in model.graph.node if node.name == "grid/Transpose")
    model.graph.node.remove(own)
    theta_behind(model, *casts, constants=(numpy_helper.from_array(np.float16(1), "one"),))
    logits, theta = run(model, ["logits", "theta"], pixels=PIXELS)
    np.testing.assert_array_equal(run(with_theta_input(model), ["logits"], pixels=PIXELS, theta=theta)[0], logits)


def test_a_model_without_theta_is_refused() -> None:
    with pytest.raises(ArtifactError, match="computes no theta"):
        with_theta_input(make_model(Loc.NONE))


def test_a_model_that_throws_its_transformer_away_is_refused() -> None:
    model = copy.deepcopy(make_model())
    (conv,) = (node for node in model.graph.node if node.name == "backbone.conv1/Conv")
    conv.input[0] = "input/Mul"
    with pytest.raises(ArtifactError, match="nothing in the model depends on theta"):
        with_theta_input(model)
