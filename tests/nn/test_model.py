import numpy as np
import pytest
import torch
from torch import nn

from lstn.contract import PAPER_LOCS, Contract, Loc
from lstn.errors import UsageError
from lstn.nn.classifier import Classifier
from lstn.nn.shapes import shapes_only
from lstn.nn.warping.localizers import Localizer
from lstn.nn.warping.transformer import Transformer
from lstn.research.claims.paper import read_tables

TABLES = read_tables()
ALL = [Loc.STN, Loc.VSTN, Loc.LSTN]


def contract(
    loc: Loc = Loc.LSTN, backbone: str = "cnn", image_hw: tuple[int, int] = (32, 40), classes: int = 5
) -> Contract:
    labels = tuple(f"class {index}" for index in range(classes))
    return Contract(loc=loc, backbone=backbone, image_hw=image_hw, labels=labels, mean=(0.1, 0.2, 0.7), std=(0.5, 1, 2))


def some_pixels(count: int = 2, image_hw: tuple[int, int] = (32, 40)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *image_hw, 3), dtype=torch.uint8, generator=generator)


def test_normalise_is_the_contracts_mean_and_std() -> None:
    pixels = some_pixels()
    images = Classifier(contract()).normalise(pixels)
    wanted = (pixels.numpy() / 255.0 - np.array([0.1, 0.2, 0.7])) / np.array([0.5, 1, 2])
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), wanted.transpose(0, 3, 1, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loc", ALL)
def test_forward_gives_logits_and_theta(loc: Loc) -> None:
    model = Classifier(contract(loc)).eval()
    logits, theta = model(some_pixels())
    assert (logits.shape, logits.dtype) == ((2, 5), torch.float32)
    assert (theta.shape, theta.dtype) == ((2, 2, 3), torch.float32)
    images, same_theta = model.transform(some_pixels())
    assert same_theta is not None
    assert torch.equal(theta, same_theta)
    assert torch.equal(logits, model.backbone(images))


def test_without_a_localizer_there_is_no_theta() -> None:
    model = Classifier(contract(Loc.NONE)).eval()
    assert model.transformer is None
    images, theta = model.transform(some_pixels())
    assert theta is None
    assert torch.equal(images, model.normalise(some_pixels()))
    assert torch.equal(model(some_pixels()), model.backbone(images))


def test_the_backbone_sees_the_warped_image() -> None:
    model = Classifier(contract()).eval()
    assert isinstance(model.transformer, Transformer)
    localizer = model.transformer.localizer
    assert isinstance(localizer, Localizer)
    last = localizer.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        # x' = -x mirrors the image from left to right.
        last.bias.copy_(torch.tensor([-1.0, 0, 0, 0, 1, 0]))
    pixels = some_pixels()
    images, _theta = model.transform(pixels)
    torch.testing.assert_close(images, model.normalise(pixels.flip(2)), rtol=0, atol=1e-5)
    assert torch.equal(model(pixels)[0], model.backbone(images))


def test_state_is_the_two_parts_and_nothing_of_the_contract() -> None:
    keys = list(Classifier(contract()).state_dict())
    assert {key.split(".")[0] for key in keys} == {"transformer", "backbone"}
    assert any(key.startswith("transformer.localizer.features.") for key in keys)
    assert any(key.startswith("transformer.localizer.head.") for key in keys)


def test_mean_and_std_follow_the_model_to_its_device() -> None:
    model = Classifier(contract()).to("meta")
    assert model.normalise(torch.empty(2, 32, 40, 3, dtype=torch.uint8, device="meta")).shape == (2, 3, 32, 40)


def test_images_too_small_for_the_backbone_are_refused() -> None:
    with pytest.raises(UsageError, match="images of 62 x 80 pixels are too small for alexnet, which needs 63 x 63"):
        Classifier(contract(backbone="alexnet", image_hw=(62, 80)))


def test_images_too_small_for_the_localizer_are_refused() -> None:
    with pytest.raises(UsageError, match="images of 16 x 16 pixels are too small for localizer lstn"):
        Classifier(contract(image_hw=(16, 16)))


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(UsageError, match="'resnet-19'; did you mean resnet-1"):
        Classifier(contract(backbone="resnet-19"))


@pytest.mark.parametrize("loc", PAPER_LOCS)
@pytest.mark.parametrize("table", ["table4_caltech101", "table5_cifar10"])
def test_parameters_are_those_of_tables_4_and_5(table: str, loc: Loc) -> None:
    rows = TABLES[table][loc.value]
    counts = {}
    for name in rows:
        backbone = f"paper-{name}" if name.startswith("effnet") else name
        side = TABLES["input_size"][name]
        with shapes_only():
            model = Classifier(contract(loc, backbone, (side, side), TABLES[table]["classes"]))
        counts[name] = sum(parameter.numel() for parameter in model.parameters())
    assert counts == {name: row[0] for name, row in rows.items()}
