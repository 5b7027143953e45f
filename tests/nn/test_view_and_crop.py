"""A localizer that sees a smaller view, and a crop that is smaller than the image."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.contract import UNBOUNDED, At, Contract, Loc, ThetaForm
from lstn.errors import UsageError
from lstn.export.onnx.to_onnx import write_onnx
from lstn.formats.node_names import ModelPart, part_of
from lstn.nn.backbones import backbone_named
from lstn.nn.classifier import Classifier
from lstn.nn.normalising import Normalising
from lstn.nn.warping.localizers import build_localizer, usual_view
from lstn.nn.warping.spatial_transformer import SpatialTransformer
from lstn.nn.warping.transformer import Transformer, inside

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


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_what_is_read_inside_is_what_an_image_of_ones_gives(height: int, width: int, seed: int) -> None:
    """By torch's own sampler; near edges as well, where a reading is partly of the image."""
    drawn = torch.Generator().manual_seed(seed)
    points = torch.rand(2, 5, 7, 2, generator=drawn) * 3 - 1.5
    edges = torch.tensor([[-1.0, 1.0], [-1 - 1 / width, 0.0], [1 + 0.5 / width, 1 - 0.5 / height], [0.0, -1.0]])
    grid = torch.cat([points, edges.expand(2, 5, 4, 2)], dim=2)
    by_torch = F.grid_sample(torch.ones(2, 1, height, width), grid, align_corners=False)
    torch.testing.assert_close(inside(grid, (height, width)), by_torch, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", list(ThetaForm))
@pytest.mark.parametrize(
    ("image", "crop", "warps"), [((64, 64), (16, 16), 1), ((64, 96), (16, 24), 2), ((96, 64), (8, 12), 1)]
)
def test_a_large_image_is_normalised_where_it_is_read(
    form: ThetaForm, image: tuple[int, int], crop: tuple[int, int], warps: int
) -> None:
    """As if all of it were: with a mean that isn't black, crops that leave the image, and several points of a pixel."""
    view = image[0] // 2, image[1] // 2
    contract = Contract(Loc.GLANCE, "cnn", image, ("a", "b"), theta=form, view_hw=view, crop_hw=crop, warps=warps)
    model = moving(Classifier(contract))
    transformer = model.transformer
    assert transformer is not None
    with torch.no_grad():
        bias = transformer.localizer.get_submodule("head.3").get_parameter("bias")
        bias.add_(torch.linspace(-0.4, 0.5, len(bias)))
    normalised: list[torch.Size] = []
    usual = Classifier.normalise
    images = pixels(image)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "normalise", lambda *args: normalised.append(args[1].shape) or usual(*args))
        crops, theta = model.transform(images)
    assert theta is not None
    assert normalised == []
    with torch.no_grad():
        frames = model.normalise(images)
        torch.testing.assert_close(theta, transformer.localizer(frames), atol=1e-5, rtol=1e-5)
        expected = transformer.warp(frames, theta)
    torch.testing.assert_close(crops, expected, atol=2e-5, rtol=1e-5)
    if form in UNBOUNDED:
        assert (crops == 0).any(), "some of it lies outside, where the mean is"


@pytest.mark.parametrize(
    "changes",
    [{"crop_hw": (24, 24)}, {"crop_hw": None}, {"view_hw": None, "loc": Loc.STN}, {"iterations": 2}],
)
def test_other_images_are_normalised_whole(changes: dict[str, object]) -> None:
    """Where the crop is not much smaller, and where the localizer needs the image itself."""
    contract = Contract(Loc.GLANCE, "cnn", (64, 64), ("a", "b"), view_hw=(32, 32), crop_hw=(16, 16))
    model = Classifier(replace(contract, **changes)).eval()
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Classifier, "floats", lambda self, images: seen.append(1) or Normalising.floats(self, images))
        usual = Classifier.normalise
        patch.setattr(Classifier, "normalise", lambda self, images: seen.append(2) or usual(self, images))
        model(pixels((64, 64), 2))
    assert seen[0] == 2


def test_an_exported_model_samples_the_pixels(tmp_path: Path) -> None:
    """Nothing but the cast and the transpose stands before its sampler; `write_onnx` compares its answers."""
    contract = Contract(Loc.GLANCE, "cnn", (64, 96), ("a", "b"), view_hw=(32, 48), crop_hw=(16, 24))
    model = moving(Classifier(contract))
    path = tmp_path / "model.onnx"
    write_onnx(model, path, contract, pixels((64, 96)).numpy())
    graph = onnx.load(path).graph
    makers = {node.output[0]: node for node in graph.node}
    (sampler,) = [node for node in graph.node if node.op_type == "GridSample"]
    before = makers[sampler.input[0]]
    assert (before.op_type, makers[before.input[0]].op_type) == ("Transpose", "Cast")
    after = [node for node in graph.node if sampler.output[0] in node.input]
    assert [part_of(node.name) for node in after] == [ModelPart.SAMPLER]
    of_view = [node for node in graph.node if node.op_type == "ReduceMean" and part_of(node.name)]
    assert {part_of(node.name) for node in of_view[:2]} == {ModelPart.LOCALIZER}
