from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lstn.contract import PAPER_LOCS, Contract, Loc
from lstn.errors import UsageError
from lstn.nn.backbones import BACKBONES
from lstn.nn.classifier import Classifier
from lstn.nn.costs.counting import count_costs, count_rows
from lstn.nn.costs.part_costs import CostPart, total, transformer
from lstn.nn.shapes import shapes_only
from lstn.nn.warping.grids import affine_grid
from lstn.research.claims.paper import PaperCell, compare_counts, read_tables

HW = (224, 224)


@pytest.fixture(scope="module")
def cells() -> list[PaperCell]:
    return list(compare_counts(count_costs, count_rows))


def test_every_cell_of_the_paper_is_compared(cells: list[PaperCell]) -> None:
    tables = read_tables()
    wanted = Counter(
        {
            f"Table {n}": len(tables[key]["layers"]) + 1
            for n, key in enumerate(("table1_stn", "table2_vstn", "table3_lstn"), 1)
        }
    )
    wanted["Table 4"] = 2 * 4 * len(tables["table4_caltech101"]["none"])
    wanted["Table 5"] = 2 * 4 * len(tables["table5_cifar10"]["none"])
    wanted["Table 6"] = len(tables["table6_transformer"]["columns"]) * len(tables["input_size"])
    assert Counter(cell.table for cell in cells) == wanted
    assert sum(wanted.values()) == 211


def test_every_parameter_cell_is_the_papers_to_the_unit(cells: list[PaperCell]) -> None:
    assert [cell for cell in cells if cell.unit == "parameters" and cell.ours != cell.paper] == []


def test_every_gflops_cell_is_the_papers_within_2e_4(cells: list[PaperCell]) -> None:
    for cell in cells:
        if cell.unit == "GFLOPS":
            decimals = 3 if cell.table == "Table 4" else 4  # as the paper prints them
            assert round(cell.ours, decimals) == pytest.approx(cell.paper, abs=0.00021), cell
            assert cell.agrees


@pytest.mark.parametrize("off", [0.0004, -0.0004])
def test_a_cell_that_is_off_is_told(off: float) -> None:
    cell = PaperCell("Table 5", "resnet-18", Loc.STN, "GFLOPS", 1.8979, 1.8979 + off)
    assert not cell.agrees
    assert cell.difference == pytest.approx(off)


@pytest.mark.parametrize("name", BACKBONES)
def test_multiply_accumulates_of_a_backbone_are_torchs_own_and_the_papers_extras(name: str) -> None:
    """torch's flop counter has convolutions and linear layers without their biases, and counts each twice."""
    side = BACKBONES[name].image_size
    with shapes_only():
        module = BACKBONES[name].factory(1000).eval()
        images = torch.empty(1, 3, side, side)
    extras = 0

    def add(layer: nn.Module, given: tuple[torch.Tensor], result: torch.Tensor) -> None:
        nonlocal extras
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            extras += result.numel()
        elif isinstance(layer, nn.BatchNorm2d):
            extras += 2 * result.numel()
        elif isinstance(layer, nn.AvgPool2d):
            extras += result.numel()
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            extras += result.numel() + given[0].numel()

    for layer in module.modules():
        layer.register_forward_hook(add)
    with FlopCounterMode(display=False) as flops:
        module(images)
    if name.startswith("densenet"):  # it pools with a function, which no hook sees
        channels = module.get_submodule("classifier").in_features
        extras += channels * (1 + (side // 32) ** 2)
    cost = count_costs(Loc.NONE, name, (side, side), 1000)
    assert total(cost).paper_macs == cost[CostPart.BACKBONE].macs == flops.get_total_flops() // 2 + extras


def test_a_localizer_adds_up_by_hand() -> None:
    costs = count_costs(Loc.STN, "cnn", HW, 10)
    convolutions = 8 * 218 * 218 * (3 * 49 + 1) + 10 * 105 * 105 * (8 * 25 + 1)  # Table 1
    assert costs[CostPart.CONVOLUTIONS].macs == convolutions
    assert costs[CostPart.HEAD].macs == 10 * 52 * 52 * 32 + 32 * 6
    moved = [3 * 224**2, 8 * 218**2, 8 * 218**2, 8 * 109**2, 8 * 109**2, 10 * 105**2, 10 * 105**2, 10 * 52**2]
    assert costs[CostPart.CONVOLUTIONS].activation_bytes == 4 * sum(moved)
    assert costs[CostPart.CONVOLUTIONS].weight_bytes == 4 * 3194


class Multiplications(TorchDispatchMode):
    """Elements of every product and sum that really runs."""

    def __init__(self) -> None:
        super().__init__()
        self.products = self.sums = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        result = func(*args, **(kwargs or {}))
        self.products += result.numel() if func is torch.ops.aten.mul.Tensor else 0
        self.sums += result.numel() if func is torch.ops.aten.add.Tensor else 0
        return result


def test_the_grid_costs_what_its_code_computes() -> None:
    with Multiplications() as ran:
        affine_grid(torch.zeros(1, 2, 3), (40, 56))
    assert count_costs(Loc.LSTN, "cnn", (40, 56), 10)[CostPart.GRID].macs == ran.products == ran.sums


def test_the_sampler_reads_images_and_grid_and_writes_images() -> None:
    sampler = count_costs(Loc.LSTN, "cnn", HW, 10)[CostPart.SAMPLER]
    assert sampler.macs == 224**2 * (2 + 4 + 4 * 3)
    assert sampler.activation_bytes == 4 * 224**2 * (3 + 2 + 3)
    assert sampler.parameters == 0


def test_the_paper_leaves_grid_and_sampler_out() -> None:
    costs = count_costs(Loc.LSTN, "resnet-18", HW, 10)
    free = costs[CostPart.GRID].macs + costs[CostPart.SAMPLER].macs
    assert transformer(costs).macs - transformer(costs).paper_macs == free > 0
    assert costs[CostPart.GRID].paper_macs == costs[CostPart.SAMPLER].paper_macs == 0


@pytest.mark.parametrize("loc", PAPER_LOCS)
def test_the_backbone_costs_the_same_behind_every_localizer(loc: Loc) -> None:
    costs, plain = count_costs(loc, "cnn", HW, 10), count_costs(Loc.NONE, "cnn", HW, 10)
    assert set(costs) == set(CostPart)
    assert costs[CostPart.BACKBONE] == plain[CostPart.BACKBONE]
    assert (transformer(costs).macs > 0) == (loc is not Loc.NONE)


@pytest.mark.parametrize("loc", PAPER_LOCS)
def test_the_parts_are_all_of_the_model(loc: Loc) -> None:
    """A model in one piece, its convolutions and linear layers counted by torch."""
    with shapes_only():
        model = Classifier(Contract(loc, "alexnet", HW, ("a", "b"))).eval()
    with FlopCounterMode(display=False) as flops:
        model(torch.empty(1, *HW, 3, dtype=torch.uint8, device="meta"))
    costs = count_costs(loc, "alexnet", HW, 2)
    assert total(costs).parameters == sum(weight.numel() for weight in model.parameters())
    assert 1 <= total(costs).paper_macs / (flops.get_total_flops() / 2) < 1.01  # biases and BatchNorm come on top


def test_counting_leaves_torch_as_it_was() -> None:
    count_costs(Loc.LSTN, "cnn", (32, 32), 10)
    assert F.conv2d(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item() == 1


def test_unknown_and_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no model called 'resnet-19'"):
        count_costs(Loc.STN, "resnet-19", HW, 10)
    with pytest.raises(UsageError, match="too small for localizer stn, which needs 18 x 18"):
        count_costs(Loc.STN, "cnn", (16, 16), 10)
