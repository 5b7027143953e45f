"""Generators: where an object lands, by loops and by what a classifier would read; boxes; and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lstn.contract import At, Contract, Loc, Task, ThetaForm
from lstn.data.poses import pose_from_box
from lstn.errors import UsageError
from lstn.nn.generation.generator import Generator
from lstn.nn.generation.object_transformer import inverse, place_objects, tight
from lstn.nn.generation.painter import logistic
from lstn.nn.turned_boxes import boxes_of
from lstn.nn.warping.grids import affine_grid
from lstn.nn.warping.transformer import sample

CONTRACT = Contract(
    Loc.GLANCE, "dcgan", (32, 40), ("a", "b", "c"), task=Task.GENERATE, noise=6, crop_hw=(16, 16), view_hw=(16, 20)
)
PLAIN = replace(CONTRACT, loc=Loc.NONE, crop_hw=None, view_hw=None)


def poses(*boxes: tuple[tuple[float, float], tuple[float, float], float]) -> torch.Tensor:
    return torch.from_numpy(np.stack([pose_from_box(*box, (32, 40)).theta for box in boxes]))


THETAS = poses(((20, 16), (16, 16), 0), ((14, 20), (20, 12), 30), ((25.5, 11), (9, 18), -100))


def test_an_inverse_undoes_its_matrix() -> None:
    torch.manual_seed(0)
    theta = torch.eye(2, 3) + torch.randn(50, 2, 3) / 3
    theta = theta[torch.linalg.det(theta[:, :, :2].double()).abs() > 0.2]
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(theta), 1, 3)
    wanted = torch.linalg.inv(torch.cat([theta, last], dim=1).double())[:, :2]
    torch.testing.assert_close(inverse(theta).double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_pixel_of_the_picture_shows_the_point_of_the_object_that_theta_takes_there() -> None:
    """Pixel by pixel, bilinearly, with float64 matrices: theta goes from the object to the picture."""
    torch.manual_seed(0)
    objects = torch.rand(3, 1, 12, 10)
    found = place_objects(objects, THETAS, (32, 40))
    for theta, one, picture in zip(THETAS.double().numpy(), objects[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        whole = np.linalg.inv(np.vstack([theta, [0, 0, 1]]))
        padded = np.pad(one.astype(np.float64), 1)
        for row in range(32):
            for column in range(40):
                x, y, _ = whole @ [(column + 0.5) / 20 - 1, (row + 0.5) / 16 - 1, 1]
                across, down = (x + 1) * 5 + 0.5, (y + 1) * 6 + 0.5  # in cells of the padded object
                wanted = 0.0
                if 0 <= across < 11 and 0 <= down < 13:
                    left, top = int(across), int(down)
                    right, below = across - left, down - top
                    corners = padded[top : top + 2, left : left + 2]
                    wanted = float(np.array([1 - below, below]) @ corners @ np.array([1 - right, right]))
                assert picture[row, column] == pytest.approx(wanted, abs=2e-5)


def test_what_a_classifier_reads_by_theta_is_the_object_upright() -> None:
    """A smooth object, so that being sampled twice changes little."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    one = torch.exp(-4 * ((x - 0.3) ** 2 + (y + 0.2) ** 2)).expand(3, 1, 24, 24)
    boxes = [((40, 30), (44, 40), 0), ((36, 34), (40, 40), 30), ((45, 28), (38, 40), -100)]
    big = torch.from_numpy(np.stack([pose_from_box(*box, (64, 80)).theta for box in boxes]))
    picture = place_objects(one, big, (64, 80))
    read = sample(picture, affine_grid(big, (24, 24)))
    inner = slice(2, -2)
    torch.testing.assert_close(read[:, :, inner, inner], one[:, :, inner, inner], atol=0.03, rtol=0)


def test_a_box_is_cut_down_to_what_is_solid() -> None:
    mask = torch.zeros(3, 1, 8, 10)
    mask[0, 0, 2:5, 1:7] = 0.9
    mask[0, 0, 6, 9] = 0.4  # not solid
    mask[1, 0, 3, 4] = 0.2  # nowhere solid: its highest value counts
    mask[2] = 1.0
    found = tight(THETAS, mask)
    # Rows 2 to 4 of 8 and columns 1 to 6 of 10; row 3 and column 4; everything. Edges on -1..1.
    edges = [(-0.8, 0.4, -0.5, 0.25), (-0.2, 0.0, -0.25, 0.0), (-1.0, 1.0, -1.0, 1.0)]
    for theta, got, (left, right, top, bottom) in zip(THETAS, found, edges, strict=True):
        for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            inside = torch.tensor([left if u < 0 else right, top if v < 0 else bottom, 1.0])
            torch.testing.assert_close(got @ torch.tensor([float(u), float(v), 1.0]), theta @ inside)


@pytest.mark.parametrize("loc", [Loc.GLANCE, Loc.LSTN, Loc.NONE])
def test_a_generator_answers_pixels_and_theta(loc: Loc) -> None:
    torch.manual_seed(0)
    contract = PLAIN if loc is Loc.NONE else replace(CONTRACT, loc=loc, view_hw=None)
    model = Generator(contract).eval()
    answer = model(torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1]))
    pixels = answer if loc is Loc.NONE else answer[0]
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (5, 32, 40, 3))
    if loc is not Loc.NONE:
        assert tuple(answer[1].shape) == (5, 2, 3)


def test_pixels_are_what_is_painted_in_256_steps() -> None:
    torch.manual_seed(0)
    model, noise, labels = Generator(CONTRACT).eval(), torch.randn(3, 6), torch.tensor([2, 0, 1])
    painted = model.paint(noise, labels).pictures
    assert 0 <= painted.min().item() <= painted.max().item() <= 1
    wanted = np.rint(painted.detach().permute(0, 2, 3, 1).double().numpy() * 255)
    assert np.abs(model(noise, labels)[0].numpy() - wanted).max() <= 1


def test_the_class_shows_in_the_object_alone() -> None:
    torch.manual_seed(0)
    model = Generator(CONTRACT).eval()
    noise = torch.randn(1, 6).expand(2, 6)
    layers, background, _ = model.backbone(noise, torch.tensor([0, 2]))
    torch.testing.assert_close(background[0], background[1])
    assert not torch.allclose(layers[0], layers[1])


@pytest.mark.parametrize("form", [ThetaForm.AFFINE, ThetaForm.CROP])
def test_an_object_stays_in_the_picture_whatever_the_weights(form: ThetaForm) -> None:
    """Its middle is inside, its sides are 1/2.2 to 2.2 of half of the shorter side, and upright ones are upright."""
    torch.manual_seed(0)
    localizer = Generator(replace(CONTRACT, theta=form)).transformer.localizer  # type: ignore[union-attr]
    with torch.no_grad():
        for weight in localizer.parameters():
            weight.normal_(std=3)
        boxes = localizer.eval()(torch.rand(64, 3, 32, 40), torch.randn(64, 6 + 32))
    x, y, wide, high, angle = boxes.unbind(1)
    assert bool(((x >= 0) & (x <= 40) & (y >= 0) & (y <= 32)).all())
    assert bool(((wide >= 16 / 2.21) & (wide <= 16 * 2.21)).all())
    torch.testing.assert_close(wide, high)
    assert (float(angle.abs().max()) == 0) == (form is ThetaForm.CROP)


def test_the_logistic_function_is_exact_near_its_ends() -> None:
    """Relatively, in float32, against float64; and it has a gradient that is a number everywhere."""
    values = torch.cat([torch.linspace(-60, 60, 2001), torch.tensor([-1e4, 1e4])]).requires_grad_()
    wanted = torch.sigmoid(values.detach().double())
    found = logistic(values)
    torch.testing.assert_close(found[:-2].double(), wanted[:-2], rtol=1e-5, atol=0)
    assert found[-2:].tolist() == [0, 1]
    found.sum().backward()
    assert values.grad is not None
    assert bool(values.grad.isfinite().all())


def test_theta_has_no_shear() -> None:
    """So that a box with an angle says all of it."""
    torch.manual_seed(0)
    model = Generator(CONTRACT).eval()
    _, theta = model(torch.randn(8, 6), torch.arange(8) % 3)
    sides = torch.tensor([40.0, 32.0])
    across, down = theta[:, :, 0] * sides, theta[:, :, 1] * sides
    assert ((across * down).sum(1) / across.norm(dim=1) / down.norm(dim=1)).abs().max().item() < 1e-4
    assert bool((boxes_of(theta, (32, 40))[:, 2:4] > 0).all())


def test_the_localizer_does_not_teach_the_background() -> None:
    torch.manual_seed(0)
    model = Generator(CONTRACT)
    painted = model.paint(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
    assert painted.theta is not None
    painted.theta.sum().backward()
    assert all(weight.grad is None for weight in model.backbone.background.parameters())  # type: ignore[union-attr]
    assert model.transformer.localizer.head[0].weight.grad is not None  # type: ignore[union-attr, index]


def test_a_discriminator_judges_by_the_logit_of_the_class() -> None:
    torch.manual_seed(0)
    model, images = Generator(CONTRACT), torch.randn(3, 3, 32, 40)
    logits = model.discriminator(images)
    torch.testing.assert_close(model.judge(images, torch.tensor([2, 0, 1])), logits[[0, 1, 2], [2, 0, 1]])


def test_what_the_discriminator_sees_is_normalised_as_pixels_are() -> None:
    model, pixels = Generator(CONTRACT), torch.randint(0, 256, (2, 32, 40, 3), dtype=torch.uint8)
    torch.testing.assert_close(model.standardise(pixels.permute(0, 3, 1, 2) / 255), model.normalise(pixels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loc": Loc.SHARED, "view_hw": None}, "a generator of loc shared"),
        ({"loc": Loc.IDENTITY, "view_hw": None}, "a generator of loc identity"),
        ({"noise": 0}, "a generator without noise"),
        ({"warps": 2}, "a generator of 2 objects"),
        ({"at": At.STEM, "crop_hw": None, "view_hw": None}, "a generator at stem"),
        ({"theta": ThetaForm.TPS}, "a generator's boxes can't be tps"),
        ({"iterations": 2}, "a generator looks once"),
        ({"task": Task.CLASSIFY}, "a model that classifies takes no noise"),
        (
            {"image_hw": (12, 40), "crop_hw": (8, 8), "view_hw": None},
            "12 x 40 pixels are too small for dcgan",
        ),
    ],
)
def test_what_is_no_generator_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Generator(replace(CONTRACT, **change))  # type: ignore[arg-type]
