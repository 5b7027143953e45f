"""A localizer that sees a smaller view, and a crop that is smaller than the image."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.contract import At, Contract, Loc
from lstn.errors import UsageError
from lstn.nn.backbones import backbone_named
from lstn.nn.classifier import Classifier
from lstn.nn.localizers import build_localizer, usual_view
from lstn.nn.spatial_transformer import SpatialTransformer
from lstn.nn.transformer import Transformer

CONTRACT = Contract(Loc.STN, "cnn", (64, 96), ("cat", "dog"))


def pixels(hw: tuple[int, int], count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, *hw, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def answering(theta: list[list[float]]) -> torch.nn.Module:
    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([theta]).expand(len(images), 2, 3)

    return Fixed()


def moving(model: Classifier) -> Classifier:
    """A model whose theta depends on the image: a fresh one's doesn't."""
    assert model.transformer is not None
    last = model.transformer.localizer.get_submodule("head.3")
    torch.nn.init.normal_(last.get_parameter("weight"), std=0.3, generator=torch.Generator().manual_seed(1))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # or it would let nothing through that depends on the image
    with torch.no_grad():
        model(pixels(model.contract.image_hw, 16))
    return model.eval()


@torch.no_grad()
def test_a_view_is_the_mean_of_blocks() -> None:
    """As numpy computes it: the same localizer, without a view, on images made small beforehand."""
    seeing = build_localizer(Loc.STN, (64, 96), view_hw=(32, 24))
    torch.nn.init.normal_(seeing.get_submodule("head.3").get_parameter("weight"))
    plain = build_localizer(Loc.STN, (32, 24))
    plain.load_state_dict(
        {name.replace("features.1.", "features.0."): value for name, value in shifted(seeing).items()}
    )
    images = torch.rand(2, 3, 64, 96)
    blocks = torch.from_numpy(images.numpy().reshape(2, 3, 32, 2, 24, 4).mean(axis=(3, 5)))
    torch.testing.assert_close(seeing(images), plain(blocks))


def shifted(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights by the names that they have without the view in front."""
    found = {}
    for name, value in module.state_dict().items():
        part, _, rest = name.partition(".")
        number, _, weight = rest.partition(".")
        found[f"features.{int(number) - 1}.{weight}" if part == "features" else name] = value
    return found


@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN, Loc.GLANCE, Loc.SHARED])
def test_a_model_with_a_crop_answers_like_its_parts_done_by_torch(loc: Loc) -> None:
    contract = replace(CONTRACT, loc=loc, crop_hw=(40, 48), view_hw=None if loc is Loc.SHARED else (32, 48))
    model = moving(Classifier(contract))
    images = pixels((64, 96))
    with torch.no_grad():
        logits, theta = model(images)
        grid = F.affine_grid(theta, [3, 3, 40, 48], align_corners=False)
        crop = F.grid_sample(model.normalise(images), grid, align_corners=False)
        torch.testing.assert_close(logits, model.backbone(crop), atol=1e-4, rtol=1e-4)
    assert logits.shape == (3, 2)
    assert (theta[0] - theta[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("crop", "taps"),
    [((16, 24), (1, 1)), ((15, 24), (2, 1)), ((8, 12), (2, 2)), ((7, 12), (3, 2)), ((8, 6), (2, 4))],
)
def test_small_crops_take_the_mean_of_several_points(crop: tuple[int, int], taps: tuple[int, int]) -> None:
    """A grid taps times as fine, sampled by torch and averaged; in half of an image it misses no stripe."""
    theta = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    images = torch.rand(1, 3, 64, 96)
    warped, _ = Transformer(answering(theta), (64, 96), crop_hw=crop)(images)
    fine = [1, 3, taps[0] * crop[0], taps[1] * crop[1]]
    grid = F.affine_grid(torch.tensor([theta]), fine, align_corners=False)
    torch.testing.assert_close(warped, F.avg_pool2d(F.grid_sample(images, grid, align_corners=False), taps))
    stripes = torch.zeros(1, 3, 64, 96)
    stripes[..., ::4] = 1.0
    half = answering([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    seen = Transformer(half, (64, 96), crop_hw=crop)(stripes)[0]
    assert seen.mean() == pytest.approx(0.25, abs=0.05)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(1, 8))
def test_the_crop_of_the_whole_image_keeps_its_mean(height: int, width: int, down: int, across: int) -> None:
    """Points spread evenly over a smooth picture see its mean, however many of them make a pixel."""
    hw = (height * down, width * across)
    rows, columns = (torch.arange(1 - side, side, 2) / side for side in hw)
    ramp = rows[:, None] + columns[None]
    images = 3 + ramp.expand(1, 1, *hw)
    identity = answering([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    crop = Transformer(identity, hw, crop_hw=(height, width))(images)[0]
    assert crop.shape == (1, 1, height, width)
    assert float(crop.mean()) == pytest.approx(3.0, abs=1e-4)


def test_looks_after_the_first_see_the_image_and_not_the_crop() -> None:
    contract = replace(CONTRACT, iterations=2, crop_hw=(32, 32), view_hw=(32, 48))
    model = moving(Classifier(contract))
    localizer = model.transformer.localizer
    seen: list[torch.Size] = []
    localizer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    model(pixels((64, 96)))
    assert [shape[-2:] for shape in seen] == [(64, 96)] * 2


@pytest.mark.parametrize(
    ("image", "view"),
    [((224, 224), (56, 56)), ((64, 64), (32, 32)), ((48, 48), (24, 24)), ((42, 42), (21, 21)), ((28, 28), (14, 14)),
     ((448, 448), (64, 64)), ((128, 192), (32, 48)), ((97, 97), None), ((64, 97), None)],
)  # fmt: skip
def test_glance_sees_a_small_view_unless_told(image: tuple[int, int], view: tuple[int, int] | None) -> None:
    assert usual_view(Loc.GLANCE, image) == view
    assert usual_view(Loc.LSTN, image) is None
    around = Classifier.around(backbone_named("cnn").factory(2), labels=("a", "b"), image_hw=image, loc="glance")
    assert around.contract.view_hw == view


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"view_hw": (30, 40)}, "a view of 30 x 40 pixels can't be averaged from 64 x 96"),
        ({"view_hw": (16, 16)}, "views of 16 x 16 pixels are too small for localizer stn, which needs 18 x 18"),
        ({"view_hw": (128, 96)}, "a view of 128 x 96 pixels can't be averaged from 64 x 96"),
        ({"loc": Loc.NONE, "view_hw": (32, 48)}, "of loc none has no localizer that looks at the image by itself"),
        ({"loc": Loc.SHARED, "view_hw": (32, 48)}, "of loc shared has no localizer"),
        ({"at": At.STEM, "view_hw": (32, 48)}, "a transformer at the stem warps feature maps: it has no view"),
        ({"loc": Loc.NONE, "crop_hw": (32, 48)}, "of loc none makes no crop"),
        ({"loc": Loc.DEAD, "crop_hw": (32, 48)}, "of loc dead makes no crop"),
        ({"at": At.STEM, "crop_hw": (32, 48)}, "a transformer at the stem warps feature maps"),
        ({"crop_hw": (65, 48)}, "a crop of 65 x 48 pixels is larger than the image, 64 x 96"),
        ({"crop_hw": (3, 48)}, "crops of 3 x 48 pixels are too small for cnn"),
    ],
)
def test_sizes_that_make_no_model_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Classifier(replace(CONTRACT, **changes))


def test_the_layer_for_ones_own_network_makes_crops_too() -> None:
    layer = SpatialTransformer("glance", image_hw=(64, 64), crop_hw=(24, 20))
    warped, theta = layer.transform(torch.rand(2, 3, 64, 64))
    assert (warped.shape, theta.shape) == ((2, 3, 24, 20), (2, 2, 3))
    with pytest.raises(UsageError, match="larger than the image, 64 x 64"):
        SpatialTransformer("glance", image_hw=(64, 64), crop_hw=(65, 20))
