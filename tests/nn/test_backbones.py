import warnings
from functools import cache

import pytest
import torch
from torch import nn
from torchvision import models

from lstn.errors import UsageError
from lstn.nn.backbones import BACKBONES, backbone_named
from lstn.nn.shapes import shapes_only
from lstn.research.claims.paper import read_tables

TABLES = read_tables()

IMAGE_SIZES = {
    "cnn": 64,
    "dcgan": 64,
    **{f"effnet-b{n}": side for n, side in enumerate((224, 240, 288, 300, 380, 456, 528, 600))},
    **{f"paper-effnet-b{n}": TABLES["input_size"][f"effnet-b{n}"] for n in range(6)},
    **{f"resnet-{depth}": 224 for depth in (18, 34, 50, 101, 152)},
    **{f"densenet-{depth}": 224 for depth in (121, 161, 169, 201)},
    **{f"vgg-{column}": 224 for column in ("11", "13", "16", "19", "a", "a-lrn", "b", "c", "d", "e")},
    **dict.fromkeys(("alexnet", "googlenet", "zfnet"), 224),
}

# Parameters at 1000 classes of the networks that torchvision doesn't publish. VGG: Simonyan & Zisserman, Table 2, which
# rounds to millions (133, 133, 133, 134, 138, 144); ZFNet: from Zeiler & Fergus, Figure 3.
PARAMETERS = {
    "zfnet": 62_357_608,
    "vgg-a": 132_863_336,
    "vgg-a-lrn": 132_863_336,
    "vgg-b": 133_047_848,
    "vgg-c": 133_638_952,
    "vgg-d": 138_357_544,
    "vgg-e": 143_667_240,
}


def build(name: str, classes: int, device: str = "meta") -> nn.Module:
    """On `meta` nothing is allocated, computed or initialised, shapes are all there is."""
    with shapes_only() if device == "meta" else torch.device(device):
        return BACKBONES[name].factory(classes)


@cache
def built(name: str, classes: int) -> nn.Module:
    """`build` once; the caller changes nothing."""
    return build(name, classes).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_table_holds_every_name_with_its_image_size() -> None:
    assert {name: backbone.image_size for name, backbone in BACKBONES.items()} == IMAGE_SIZES


@pytest.mark.parametrize("name", BACKBONES)
def test_builds_without_a_warning_and_classifies_at_its_size(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.device("meta"):  # and its weights filled
            module = BACKBONES[name].factory(7).eval()
    side = BACKBONES[name].image_size
    assert module(torch.empty(2, 3, side, side, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_smallest_size_is_the_smallest(name: str) -> None:
    smallest = BACKBONES[name].smallest
    module = built(name, 7)
    assert module(torch.empty(2, 3, smallest, smallest, device="meta")).shape == (2, 7)
    if smallest > 1:
        with pytest.raises(RuntimeError):
            module(torch.empty(2, 3, smallest - 1, smallest - 1, device="meta"))


@pytest.mark.parametrize("name", [name for name, backbone in BACKBONES.items() if backbone.weights])
def test_parameters_are_those_torchvision_publishes(name: str) -> None:
    weights = BACKBONES[name].weights
    assert weights is not None
    assert parameters(built(name, 1000)) == weights.meta["num_params"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_publication(name: str) -> None:
    assert parameters(built(name, 1000)) == PARAMETERS[name]


def test_the_cnn_is_small() -> None:
    assert parameters(build("cnn", 10)) == 19_178


@pytest.mark.parametrize("table", ["table4_caltech101", "table5_cifar10"])
def test_parameters_are_those_of_the_lstn_paper(table: str) -> None:
    rows = TABLES[table]["none"]
    ours = {name: f"paper-{name}" if name.startswith("effnet") else name for name in rows}
    counts = {name: parameters(build(ours[name], TABLES[table]["classes"])) for name in rows}
    assert counts == {name: row[0] for name, row in rows.items()}


def outputs(features: nn.Module, side: int) -> list[tuple[int, int]]:
    """(channels, side) after each layer, runs of the same left out."""
    assert isinstance(features, nn.Sequential)
    maps, found = torch.empty(1, 3, side, side, device="meta"), [(3, side)]
    for layer in features:
        maps = layer(maps)
        shape = (maps.shape[1], maps.shape[-1])
        if maps.ndim == 4 and shape != found[-1]:
            found.append(shape)
    return found[1:]


def test_zfnet_layers_are_those_of_figure_3() -> None:
    zfnet = build("zfnet", 10).get_submodule("features")
    wanted = [(96, 110), (96, 55), (256, 26), (256, 13), (384, 13), (256, 13), (256, 6)]
    assert outputs(zfnet, 224) == wanted


def test_paper_effnet_stages_are_those_of_tan_and_le_table_1() -> None:
    features = build("paper-effnet-b0", 10).get_submodule("features")
    stages = [(32, 112), (16, 112), (24, 56), (40, 28), (80, 14), (112, 14), (192, 7), (320, 7), (1280, 7), (1280, 1)]
    assert outputs(features, 224) == stages


@pytest.mark.parametrize("name", ["cnn", "effnet-b0", "paper-effnet-b0", "resnet-18", "densenet-121", "googlenet"])
def test_trains_on_real_numbers(name: str) -> None:
    torch.manual_seed(0)
    module = build(name, 5, device="cpu").train()
    logits = module(torch.randn(2, 3, 32, 32))
    loss = nn.functional.cross_entropy(logits, torch.tensor([1, 4]))
    assert logits.isfinite().all()
    gradients = torch.autograd.grad(loss, list(module.parameters()))  # an unused parameter would be an error
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("side", [8, 28, 33, 48, 64])
def test_the_cnn_takes_the_sizes_of_digits(side: int) -> None:
    logits = build("cnn", 10, device="cpu")(torch.rand(1, 3, side, side + 3))
    assert logits.shape == (1, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("column", "depth"), [("a", 11), ("b", 13), ("d", 16), ("e", 19)])
def test_vgg_columns_fit_torchvisions_weights(column: str, depth: int) -> None:
    ours, theirs = built(f"vgg-{column}", 1000).state_dict(), built(f"vgg-{depth}", 1000).state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in theirs.items()}
    assert BACKBONES[f"vgg-{column}"].weights is BACKBONES[f"vgg-{depth}"].weights


def test_vgg_c_ends_its_last_three_blocks_in_a_1x1_convolution() -> None:
    convolutions = [layer for layer in build("vgg-c", 10).modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size[0] for layer in convolutions] == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]


@pytest.mark.parametrize("name", ["vgg-a-lrn", "zfnet"])
def test_local_response_norm_is_krizhevskys(name: str) -> None:
    layer = next(layer for layer in build(name, 10).modules() if isinstance(layer, nn.LocalResponseNorm))
    maps = 30 * torch.rand(1, 9, 2, 2)
    # Krizhevsky et al. 2012, section 3.3: b_i = a_i / (2 + 1e-4 * sum over |j - i| <= 2 of a_j^2) ^ 0.75
    sums = torch.stack([(maps[:, max(0, i - 2) : i + 3] ** 2).sum(1) for i in range(9)], dim=1)
    torch.testing.assert_close(layer(maps), maps / (2 + 1e-4 * sums) ** 0.75)


def test_googlenet_takes_the_inputs_its_weights_were_trained_on() -> None:
    module = build("googlenet", 10)
    assert isinstance(module, models.GoogLeNet)
    assert module.transform_input
    assert not any(key.startswith("aux") for key in module.state_dict())


def test_a_known_name_is_found() -> None:
    assert backbone_named("resnet-18") is BACKBONES["resnet-18"]


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("resnet-81", "resnet-18"),
        ("efnet-b0", "effnet-b0"),
        ("VGG-A-LRN", "vgg-a-lrn"),
        ("densnet-121", "densenet-121"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_closest(name: str, close: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'; did you mean {close}\\?"):
        backbone_named(name)


def test_an_unknown_name_is_answered_with_all_of_them() -> None:
    with pytest.raises(UsageError) as caught:
        backbone_named("qqqq")
    assert caught.value.message == "there is no model called 'qqqq'"
    listed, _, others = caught.value.hint.removeprefix("choose one of: ").partition("; ")
    assert set(listed.split(", ")) == set(BACKBONES)
    assert "timm:NAME" in others
