"""The transformer as a layer of somebody's network, against torch's own affine_grid and grid_sample."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import lstn
from lstn.contract import Loc
from lstn.nn import SpatialTransformer, build_localizer


def images(count: int = 2, hw: tuple[int, int] = (28, 36), channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, *hw, generator=torch.Generator().manual_seed(0))


def wanted(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


class Fixed(nn.Module):
    """A localizer of somebody's own."""

    def __init__(self, theta: torch.Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.theta.expand(images.shape[0], 2, 3)


@given(st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6), st.integers(2, 20), st.integers(2, 20))
def test_the_warp_is_torchs(numbers: list[float], height: int, width: int) -> None:
    theta, batch = torch.tensor(numbers).reshape(1, 2, 3), images(2, (height, width), channels=2)
    transformer = SpatialTransformer(Fixed(theta), image_hw=(height, width))
    warped, found = transformer.transform(batch)
    assert torch.equal(found, theta.expand(2, 2, 3))
    torch.testing.assert_close(warped, wanted(batch, found), rtol=0, atol=2e-5)
    assert torch.equal(transformer(batch), warped)
    assert torch.equal(transformer.localize(batch), found)


@pytest.mark.parametrize("localizer", ["stn", "vstn", "lstn", Loc.LSTN])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_localizer_starts_with_the_identity_and_warps_any_channels(localizer: str, channels: int) -> None:
    transformer = SpatialTransformer(localizer, image_hw=(28, 36), channels=channels).eval()
    batch = images(channels=channels)
    warped, theta = transformer.transform(batch)
    assert torch.equal(theta, torch.eye(2, 3).expand(2, 2, 3))
    torch.testing.assert_close(warped, batch, rtol=0, atol=1e-5)
    theirs = build_localizer(Loc(localizer), (28, 36), channels=channels)
    assert [p.shape for p in transformer.parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.parametrize(("theta", "iterations"), [("similarity", 1), ("crop", 2)])
def test_a_bounded_theta_and_several_looks(theta: str, iterations: int) -> None:
    transformer = SpatialTransformer("stn", image_hw=(28, 36), theta=theta, iterations=iterations)
    with torch.no_grad():
        transformer.inner.localizer.head[-1].weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    warped, found = transformer.transform(images())
    torch.testing.assert_close(warped, wanted(images(), found), rtol=0, atol=2e-5)
    if theta == "crop":
        assert torch.equal(found[:, 0, 1], torch.zeros(2))


def test_it_learns_with_the_network_behind_it() -> None:
    """A shifted square is to be seen in the middle: plain torch, an optimizer and no lstn but the layer."""
    torch.manual_seed(0)
    net = nn.Sequential(SpatialTransformer("stn", image_hw=(28, 28), channels=1), nn.AvgPool2d(28))
    square = torch.zeros(8, 1, 28, 28)
    square[:, :, 2:8, 2:8] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = -net(square).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 2 * losses[0]  # it has zoomed in


def test_under_autocast_it_computes_in_float32() -> None:
    transformer = SpatialTransformer("stn", image_hw=(28, 36)).eval()
    with torch.no_grad():
        transformer.inner.localizer.head[-1].weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    exact = transformer.transform(images())
    with torch.autocast("cpu", torch.bfloat16):
        found = transformer.transform(images())
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, exact, strict=True))


def test_a_network_with_it_can_be_exported_with_an_open_batch() -> None:
    net = nn.Sequential(SpatialTransformer("lstn", image_hw=(28, 36)), nn.Flatten(), nn.Linear(3 * 28 * 36, 4)).eval()
    program = torch.export.export(net, (images(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(images(5)), net(images(5)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"localizer": "sttn"}, "'sttn'"),
        ({"localizer": "none"}, "'none'"),
        ({"localizer": Loc.SHARED}, "'shared'"),
        ({"localizer": "dead"}, "'dead'"),
        ({"theta": "spiral"}, "'spiral'"),
        ({"iterations": 0}, "iterations 0; expected 1 to 8"),
        ({"image_hw": (9, 9)}, "9 x 9 pixels are too small for localizer lstn"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(lstn.UsageError, match=says):
        SpatialTransformer(**{"image_hw": (28, 28), **options})


@pytest.mark.parametrize(("theta", "shape"), [("tps", (2, 3)), ("projective", (8,)), ("polar", (3,)), ("affine", (6,))])
def test_a_localizer_of_ones_own_that_answers_another_theta_is_refused(theta: str, shape: tuple[int, ...]) -> None:
    class Own(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), *shape)

    with pytest.raises(lstn.UsageError, match=rf"the localizer answers \(2, {shape[0]}.*; theta {theta} is \(N, "):
        SpatialTransformer(Own(), image_hw=(28, 36), theta=theta)(images())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(lstn.UsageError, match="images of 28 x 36 pixels; this transformer was made for 36 x 28"):
        SpatialTransformer("stn", image_hw=(36, 28))(images())
