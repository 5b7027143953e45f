import numpy as np
import pytest
import torch
from torch import nn

from lstn.contract import PAPER_LOCS, Contract, Loc
from lstn.errors import UsageError
from lstn.nn.classifier import Classifier
from lstn.nn.costs.taken_apart import build_models, default_of, default_piece, runner, take_apart

HW = (40, 40)
LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def models() -> dict[Loc, Classifier]:
    return build_models("effnet-b0", HW, LABELS, 0)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, *HW, 3), dtype=np.uint8))


def test_all_models_share_one_backbone(models: dict[Loc, Classifier]) -> None:
    assert set(models) == {*PAPER_LOCS, Loc.GLANCE, Loc.SHARED}
    assert models[Loc.GLANCE].contract.view_hw is not None
    assert {id(model.backbone) for model in models.values()} == {id(models[Loc.NONE].backbone)}
    assert not any(module.training for model in models.values() for module in model.modules())


def test_shared_is_left_out_where_the_backbone_leaves_too_little() -> None:
    assert set(build_models("resnet-18", (18, 18), LABELS, 0)) == {*PAPER_LOCS, Loc.GLANCE}
    with pytest.raises(UsageError, match="too small"):
        build_models("cnn", (16, 16), LABELS, 0)


def test_values_stay_far_from_denormal_numbers(models: dict[Loc, Classifier], pixels: torch.Tensor) -> None:
    """Those would be slow on a CPU, and the timings wrong."""
    smallest = []

    def look(_: nn.Module, __: object, result: torch.Tensor) -> None:
        smallest.append(float(result.abs().mean()))

    hooks = [layer.register_forward_hook(look) for layer in models[Loc.LSTN].modules() if isinstance(layer, nn.Conv2d)]
    with torch.inference_mode():
        models[Loc.LSTN](pixels)
    for hook in hooks:
        hook.remove()
    assert min(smallest) > 1e-6


@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN, Loc.GLANCE])
def test_the_parts_make_the_whole_and_really_warp(models: dict[Loc, Classifier], loc: Loc) -> None:
    transformer = models[loc].transformer
    assert transformer is not None
    pieces = take_apart(transformer)
    assert set(pieces) == {"transformer", "localizer", "grid", "sampler"}
    (images,) = pieces["transformer"].example(2)
    with torch.inference_mode():
        warped, theta = pieces["transformer"].module(images)
        by_parts = pieces["localizer"].module(images)
        grid = pieces["grid"].module(by_parts)
        torch.testing.assert_close(pieces["sampler"].module(images, grid), warped)
        usual, _ = default_piece(pieces["transformer"]).module(images)
    torch.testing.assert_close(by_parts, theta)
    torch.testing.assert_close(usual, warped, rtol=1e-3, atol=1e-4)
    assert (theta - torch.eye(2, 3)).abs().max() > 0.1
    assert (warped - images).abs().mean() > 0.1


@pytest.mark.parametrize("name", ["transformer", "localizer", "grid", "sampler"])
def test_an_example_has_the_named_inputs(models: dict[Loc, Classifier], name: str) -> None:
    transformer = models[Loc.LSTN].transformer
    assert transformer is not None
    piece = take_apart(transformer)[name]
    assert len(piece.example(3)) == len(piece.inputs)
    assert all(len(tensor) == 3 for tensor in piece.example(3))


def test_the_default_network_computes_the_same(models: dict[Loc, Classifier], pixels: torch.Tensor) -> None:
    usual = default_of(models[Loc.LSTN], Contract(Loc.LSTN, "effnet-b0", HW, LABELS))
    with torch.inference_mode():
        for found, wanted in zip(usual(pixels), models[Loc.LSTN](pixels), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="no grid"):
        default_of(models[Loc.NONE], Contract(Loc.NONE, "effnet-b0", HW, LABELS))


def test_a_runner_runs_on_the_threads_it_is_given(pixels: torch.Tensor) -> None:
    before = torch.get_num_threads()
    try:
        run = runner(nn.Flatten(), (pixels,), compiled=False, threads=1)
        assert torch.get_num_threads() == 1
        answer = run()
    finally:
        torch.set_num_threads(before)
    assert isinstance(answer, torch.Tensor)
    assert answer.shape == (2, 40 * 40 * 3)
