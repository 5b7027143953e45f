from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_models import SIDE, Exported, rounding, warping_model
from torch import nn

from lstn.contract import Loc
from lstn.errors import VerificationError
from lstn.export.onnx.verify_onnx import Agreement, sample_images, verify_onnx

FIRST_CONV = "backbone.features.0.weight"


def tampered(exported: Exported, folder: Path, edit: Callable[[onnx.GraphProto], object]) -> Path:
    proto = onnx.load(exported.path)
    edit(proto.graph)
    path = folder / "tampered.onnx"
    onnx.save(proto, path)
    return path


def verify(exported: Exported, path: Path) -> Agreement:
    return verify_onnx(path, exported.model, exported.contract, exported.images)


def change(graph: onnx.GraphProto, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    (tensor,) = [tensor for tensor in graph.initializer if tensor.name.endswith(name)]
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(edit(array.copy()).astype(array.dtype), tensor.name))


def with_nan(array: np.ndarray) -> np.ndarray:
    array.flat[0] = np.nan
    return array


def test_the_figures_are_told_in_one_line() -> None:
    agreement = Agreement(images=64, logit_difference=3.14e-6, top1=63 / 64, drift_px=1.2e-4)
    assert str(agreement) == "largest logit difference 3.1e-06, top-1 agreement 98.4 %, drift 1.2e-04 px"
    assert "drift" not in str(Agreement(64, 0.0, 1.0, None))


def test_a_nearest_sampler_is_found(exported_lstn: Exported, tmp_path: Path) -> None:
    def edit(graph: onnx.GraphProto) -> None:
        (node,) = [node for node in graph.node if node.op_type == "GridSample"]
        (mode,) = [attribute for attribute in node.attribute if attribute.name == "mode"]
        mode.s = b"nearest"

    with pytest.raises(VerificationError, match="differs from PyTorch: largest logit difference"):
        verify(exported_lstn, tampered(exported_lstn, tmp_path, edit))


@pytest.mark.parametrize("weight", [FIRST_CONV, "transformer.localizer.features.0.weight"])
def test_changed_weights_are_found(exported_lstn: Exported, tmp_path: Path, weight: str) -> None:
    path = tampered(exported_lstn, tmp_path, lambda graph: change(graph, weight, lambda array: array * 1.05))
    with pytest.raises(VerificationError, match="differs from PyTorch"):
        verify(exported_lstn, path)


def test_a_drift_that_the_logits_hardly_show_is_found(exported_lstn: Exported, tmp_path: Path) -> None:
    def shift(array: np.ndarray) -> np.ndarray:
        return array + np.array([0, 0, 0.05 / (SIDE / 2), 0, 0, 0])  # a twentieth of a pixel to the right

    path = tampered(exported_lstn, tmp_path, lambda graph: change(graph, "localizer.head.3.bias", shift))
    with pytest.raises(VerificationError, match=r"drift 5\.\de-02 px; rounding explains .* and 1\.\de-02 px"):
        verify(exported_lstn, path)


def test_numbers_that_are_not_finite_are_found(exported: Exported, tmp_path: Path) -> None:
    path = tampered(exported, tmp_path, lambda graph: change(graph, FIRST_CONV, with_nan))
    with pytest.raises(VerificationError, match="in ONNX Runtime the exported model computes logits that are not fin"):
        verify(exported, path)


def test_a_model_that_diverged_is_told_apart_from_a_bad_export(exported_lstn: Exported) -> None:
    model, contract = warping_model(Loc.LSTN)
    with torch.no_grad():
        model.transformer.localizer.head[-1].bias[0] = torch.nan
    with pytest.raises(VerificationError, match="the trained model itself computes logits and theta") as caught:
        verify_onnx(exported_lstn.path, model, contract, exported_lstn.images)
    assert "train again" in caught.value.hint


def test_a_fixed_batch_is_found(exported_lstn: Exported, tmp_path: Path) -> None:
    def edit(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2

    with pytest.raises(VerificationError, match="ONNX Runtime can't run the exported model"):
        verify(exported_lstn, tampered(exported_lstn, tmp_path, edit))


def test_a_near_tie_is_no_failure(exported_lstn: Exported, tmp_path: Path) -> None:
    """Two best classes with the same weights: the ONNX file puts the second first, by less than rounding."""
    model, contract = warping_model(Loc.LSTN)
    name, layer = [entry for entry in model.named_modules() if isinstance(entry[1], nn.Linear)][-1]
    with torch.no_grad():
        layer.bias -= 1000  # so that no other class is among the best
        layer.weight[3] = layer.weight[7] = layer.weight[7] / 100
        layer.bias[3] = layer.bias[7] = 1
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy().copy()
    bias[7] += 1e-6

    def edit(graph: onnx.GraphProto) -> None:
        change(graph, f"{name}.weight", lambda _: weight)
        change(graph, f"{name}.bias", lambda _: bias)

    agreement = verify_onnx(tampered(exported_lstn, tmp_path, edit), model, contract, exported_lstn.images)
    assert agreement.top1 < 0.5
    assert agreement.logit_difference < 10 * rounding(model, exported_lstn.images)


class TestWeightsThatAmplifyRounding:
    """Beyond the tolerances, PyTorch's own distance from float64 decides; without any, it decides alone."""

    @pytest.fixture(autouse=True)
    def _no_tolerances(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lstn.export.onnx.verify_onnx.LOGIT_TOLERANCE", 0.0)
        monkeypatch.setattr("lstn.export.onnx.verify_onnx.DRIFT_TOLERANCE_PX", 0.0)

    def test_what_rounds_as_pytorch_does_passes(self, exported_lstn: Exported) -> None:
        assert verify(exported_lstn, exported_lstn.path).top1 == 1.0

    def test_what_doesnt_is_found(self, exported_lstn: Exported, tmp_path: Path) -> None:
        path = tampered(exported_lstn, tmp_path, lambda graph: change(graph, FIRST_CONV, lambda array: array * 1.001))
        with pytest.raises(VerificationError, match="rounding explains"):
            verify(exported_lstn, path)


def test_images_are_spread_over_the_validation_split(tmp_path: Path) -> None:
    images = sample_images("digits", (16, 20), seed=0)
    assert images.shape == (64, 16, 20, 3)
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 64
    assert sample_images("digits", (16, 20), seed=0, count=1_000_000).shape[0] == 1000  # there are no more


def test_a_data_set_that_is_gone_gives_way_to_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sample_images(f"folder:{tmp_path / 'gone'}", (16, 16), seed=0, count=8)
    assert (images == sample_images("digits", (16, 16), seed=0, count=8)).all()
    said = " ".join(capsys.readouterr().err.split())
    assert "no such folder; comparing on the embedded digits instead" in said
