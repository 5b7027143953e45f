from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lstn.contract import Loc
from lstn.nn.warping.grids import affine_grid
from lstn.nn.warping.localizers import build_localizer
from lstn.nn.warping.transformer import Transformer, sample

TOLERANCE = 1e-5


@st.composite
def affine_matrices(draw: st.DrawFn) -> torch.Tensor:
    """Rotation, scale, shear and shift in the ranges that matter: (N, 2, 3) float32 for N of 1 or 3."""
    matrices = []
    for _ in range(draw(st.sampled_from([1, 3]))):
        angle, shear = draw(st.floats(-np.pi, np.pi)), draw(st.floats(-0.5, 0.5))
        scale = [draw(st.floats(0.3, 1.5)), draw(st.floats(0.3, 1.5))]
        shift = [draw(st.floats(-1, 1)), draw(st.floats(-1, 1))]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)
        matrices.append(np.hstack([linear, np.array(shift)[:, None]]))
    return torch.tensor(np.array(matrices), dtype=torch.float32)


def torch_grid(theta: torch.Tensor, image_hw: tuple[int, int]) -> torch.Tensor:
    return F.affine_grid(theta, [len(theta), 3, *image_hw], align_corners=False)


@given(affine_matrices(), st.tuples(st.integers(1, 64), st.integers(1, 64)))
@settings(deadline=None)
def test_grid_is_torchs(theta: torch.Tensor, image_hw: tuple[int, int]) -> None:
    grid = affine_grid(theta, image_hw)
    assert grid.shape == (len(theta), *image_hw, 2)
    assert grid.dtype == torch.float32
    torch.testing.assert_close(grid, torch_grid(theta, image_hw), rtol=0, atol=TOLERANCE)


# On noise, one float32 step of a coordinate is worth up to 1e-6 of a pixel's value for every 16 pixels of a side.
@given(affine_matrices(), st.tuples(st.integers(1, 24), st.integers(1, 24)), st.integers(0, 2**31))
@settings(deadline=None)
def test_warped_image_is_torchs(theta: torch.Tensor, image_hw: tuple[int, int], seed: int) -> None:
    images = torch.rand(len(theta), 3, *image_hw, generator=torch.Generator().manual_seed(seed))
    warped = sample(images, affine_grid(theta, image_hw))
    wanted = F.grid_sample(
        images, torch_grid(theta, image_hw), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    torch.testing.assert_close(warped, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("image_hw", [(224, 224), (225, 224), (64, 300), (456, 456)])
def test_large_grids_are_torchs(image_hw: tuple[int, int]) -> None:
    theta = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(affine_grid(theta, image_hw), torch_grid(theta, image_hw), rtol=0, atol=TOLERANCE)


def test_gradient_of_theta_is_torchs() -> None:
    theta = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 12, 17, 2, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((grid(theta, (12, 17)) * weights).sum(), theta)[0] for grid in (affine_grid, torch_grid)
    )
    torch.testing.assert_close(ours, theirs)


def test_grid_mirrors_exactly() -> None:
    identity = torch.eye(2, 3)[None]
    grid = affine_grid(identity, (13, 10))[0]
    assert torch.equal(grid, -grid.flip(0, 1))


def test_outside_of_the_image_is_zero() -> None:
    beside = torch.tensor([[[1.0, 0, 3], [0, 1, 0]]])
    assert not sample(torch.ones(1, 3, 8, 8), affine_grid(beside, (8, 8))).any()


@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN])
@pytest.mark.parametrize("image_hw", [(32, 32), (33, 40)])
def test_a_new_transformer_gives_the_image_back(loc: Loc, image_hw: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *image_hw)
    warped, theta = Transformer(build_localizer(loc, image_hw), image_hw)(images)
    assert theta.shape == (2, 2, 3)
    torch.testing.assert_close(warped, images, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN])
def test_gradient_reaches_the_whole_localizer(loc: Loc) -> None:
    torch.manual_seed(0)
    transformer = Transformer(build_localizer(loc, (32, 32)), (32, 32))
    images = torch.rand(4, 3, 32, 32)
    optimizer = torch.optim.SGD(transformer.parameters(), lr=0.1)
    # The last layer's weights start at zero, so that the layers before it get no gradient until the second step.
    for _ in range(2):
        optimizer.zero_grad()
        warped, _theta = transformer(images)
        (warped * images.flip(3)).mean().backward()
        optimizer.step()
    for name, parameter in transformer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    weights = [layer.weight for layer in transformer.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(weights) >= 4
    assert all(weight.grad is not None and weight.grad.any() for weight in weights)


class Warp(nn.Module):
    def forward(self, images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return sample(images, affine_grid(theta, (30, 44)))


def test_exported_grid_is_a_few_products_for_any_batch(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(2, 3, 30, 44), torch.randn(2, 2, 3)
    batch = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        Warp().eval(), inputs, dynamo=True, opset_version=18, dynamic_shapes=({0: batch}, {0: batch}), verbose=False
    )
    assert program is not None
    operators = [node.op_type for node in program.model.graph]
    allowed = {"Unsqueeze", "Gather", "Mul", "Add", "Expand", "Reshape", "GridSample"}
    assert set(operators) <= allowed  # no Range, Shape, ReduceSum, AffineGrid: TensorRT refuses some, the rest is slow
    assert len(operators) < 16
    (sampler,) = (node for node in program.model.graph if node.op_type == "GridSample")
    # Opset 20 writes `linear`, which TensorRT samples to the nearest pixel (NVIDIA/TensorRT issue 4646).
    assert sampler.attributes["mode"].as_string() == "bilinear"

    program.save(tmp_path / "warp.onnx")
    session = ort.InferenceSession(tmp_path / "warp.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    for count in (1, 5):
        images = torch.rand(count, 3, 30, 44, generator=generator)
        theta = torch.eye(2, 3) + 0.2 * torch.randn(count, 2, 3, generator=generator)
        (warped,) = session.run(None, dict(zip(names, (images.numpy(), theta.numpy()), strict=True)))
        np.testing.assert_allclose(warped, Warp()(images, theta).numpy(), rtol=0, atol=TOLERANCE)
