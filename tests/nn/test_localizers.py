import pytest
import torch
from torch import nn

from lstn.contract import Loc
from lstn.errors import UsageError
from lstn.nn.shapes import shapes_only
from lstn.nn.warping.localizers import LOCALIZERS, build_localizer, feature_side
from lstn.research.claims.paper import read_tables

TABLES = read_tables()
TABLE = {Loc.STN: "table1_stn", Loc.VSTN: "table2_vstn", Loc.LSTN: "table3_lstn"}
SMALLEST = {Loc.STN: 18, Loc.VSTN: 18, Loc.LSTN: 17}
ALL = [Loc.STN, Loc.VSTN, Loc.LSTN]


def parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def rows_of(features: nn.Sequential) -> list[list[nn.Module]]:
    """The paper's rows: a convolution with its BatchNorm, or a max-pooling. Activations have no row."""
    rows: list[list[nn.Module]] = []
    for layer in features:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            rows.append([layer])
        elif isinstance(layer, nn.BatchNorm2d):
            rows[-1].append(layer)
    return rows


def test_every_localizer_is_in_the_table() -> None:
    assert set(LOCALIZERS) == set(Loc) - {Loc.NONE, Loc.IDENTITY}


@pytest.mark.parametrize("loc", ALL)
def test_layers_are_the_papers(loc: Loc) -> None:
    table = TABLES[TABLE[loc]]
    features = LOCALIZERS[loc](3)
    maps = torch.zeros(1, *table["input"])
    rows = rows_of(features)
    assert len(rows) == len(table["layers"])
    for number, (row, wanted) in enumerate(zip(rows, table["layers"], strict=True), 1):
        layer = row[0]
        assert isinstance(layer, nn.MaxPool2d if wanted["type"] == "maxpool" else nn.Conv2d), number
        for module in row:
            maps = module(maps)
        assert list(maps.shape[1:]) == wanted["output"], number
        assert parameters(*row) == wanted["params"], number
        if isinstance(layer, nn.Conv2d):
            assert (len(row) == 2) == (wanted["type"] == "conv+bn"), number
            shape = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0])
            assert shape == tuple(wanted[key] for key in ("in", "out", "kernel", "stride", "padding")), number
    assert parameters(features) == table["total"]


@pytest.mark.parametrize(
    ("loc", "order"),
    [
        (Loc.STN, "Conv2d MaxPool2d ReLU " * 2),
        (Loc.VSTN, "Conv2d ReLU " * 3 + "MaxPool2d " + "Conv2d ReLU " * 2 + "MaxPool2d"),
        (Loc.LSTN, "Conv2d BatchNorm2d ReLU " * 17),
    ],
)
def test_activations_stand_where_the_paper_puts_them(loc: Loc, order: str) -> None:
    assert [type(layer).__name__ for layer in LOCALIZERS[loc](3)] == order.split()


@pytest.mark.parametrize("loc", ALL)
@pytest.mark.parametrize("backbone", [name for name in TABLES["table6_transformer"] if name != "columns"])
def test_parameters_are_those_of_table_6(loc: Loc, backbone: str) -> None:
    column = TABLES["table6_transformer"]["columns"].index(f"{loc.value} params")
    side = TABLES["input_size"][backbone]
    with shapes_only():
        localizer = build_localizer(loc, (side, side))
    assert parameters(localizer) == TABLES["table6_transformer"][backbone][column]
    assert parameters(localizer.features) == TABLES[TABLE[loc]]["total"]
    assert parameters(localizer.head) == parameters(localizer) - parameters(localizer.features)


@pytest.mark.parametrize("loc", ALL)
def test_a_new_localizer_says_identity_whatever_it_sees(loc: Loc) -> None:
    theta = build_localizer(loc, (40, 56))(torch.randn(3, 3, 40, 56))
    assert theta.dtype == torch.float32
    assert theta.tolist() == [[[1, 0, 0], [0, 1, 0]]] * 3


@pytest.mark.parametrize("loc", ALL)
def test_feature_side_is_what_the_features_leave(loc: Loc) -> None:
    with shapes_only():
        features = LOCALIZERS[loc](3)
        for side in range(SMALLEST[loc], 60):
            assert features(torch.zeros(1, 3, side, 33)).shape[2] == feature_side(features, side)
    assert all(feature_side(features, side) == 0 for side in range(SMALLEST[loc]))


@pytest.mark.parametrize("loc", ALL)
@pytest.mark.parametrize("other", [0, 1, 28])
def test_the_smallest_images_work(loc: Loc, other: int) -> None:
    smallest = SMALLEST[loc]
    image_hw = (smallest, max(other, smallest))
    assert build_localizer(loc, image_hw)(torch.zeros(2, 3, *image_hw)).shape == (2, 2, 3)


@pytest.mark.parametrize("loc", ALL)
@pytest.mark.parametrize("transposed", [False, True])
def test_smaller_images_are_refused_with_the_smallest_size(loc: Loc, transposed: bool) -> None:
    smallest = SMALLEST[loc]
    image_hw = (64, smallest - 1) if transposed else (smallest - 1, 64)
    with pytest.raises(UsageError) as caught:
        build_localizer(loc, image_hw)
    assert f"{image_hw[0]} x {image_hw[1]}" in caught.value.message
    assert caught.value.message.endswith(f"localizer {loc.value}, which needs {smallest} x {smallest}")
    assert "--loc none" in caught.value.hint
