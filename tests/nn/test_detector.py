"""Detectors: regions that lie apart, one sampler for all crops, and maps that are shared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from lstn.contract import At, Contract, Loc, Task, ThetaForm
from lstn.errors import UsageError
from lstn.nn.checkpoint import load_checkpoint, save_checkpoint
from lstn.nn.detector import Detector
from lstn.nn.region_localizer import ANCHORS, RATIOS, SIZES, RegionLocalizer, anchors_of
from lstn.nn.sources.stems import late_cut
from lstn.nn.turned_boxes import SCALES, moved_boxes, thetas_of, upright, with_context

IMAGE = Contract(
    Loc.GLANCE,
    "cnn",
    (64, 96),
    ("a", "b", "c"),
    warps=6,
    view_hw=(32, 48),
    crop_hw=(32, 32),
    task=Task.DETECT,
)
MAP = replace(IMAGE, loc=Loc.SHARED, at=At.MAP, view_hw=None, crop_hw=(7, 7))


def pixels(count: int, contract: Contract = IMAGE) -> torch.Tensor:
    random = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, *contract.image_hw, 3), dtype=torch.uint8, generator=random)


def detector(contract: Contract) -> Detector:
    torch.manual_seed(0)
    return Detector(contract).eval()


@pytest.mark.parametrize("contract", [IMAGE, MAP, replace(IMAGE, theta=ThetaForm.CROP)])
@torch.no_grad()
def test_logits_and_thetas_have_the_shapes_of_the_contract(contract: Contract) -> None:
    logits, theta = detector(contract)(pixels(3))
    assert logits.shape == (3, *contract.logits_shape) == (3, 6, 4)
    assert theta.shape == (3, *contract.theta_shape) == (3, 6, 2, 3)


def test_what_no_checkpoint_holds_is_what_it_was() -> None:
    """With other anchors, units or context every trained detector would answer something else, and no file would say
    so. Whoever changes one has to put it into the contract, where older files then have these values."""
    assert SIZES == (0.1, 0.2, 0.4, 0.8)
    assert RATIOS == (0.5, 1.0, 2.0)
    assert SCALES == (0.1, 0.1, 0.2, 0.2, 0.2)
    box = torch.tensor([10.0, 20.0, 195.0, 390.0, 0.5])
    torch.testing.assert_close(with_context(box), torch.tensor([10.0, 20.0, 227.0, 454.0, 0.5]))
    _, _, wide, high, _ = anchors_of((1, 1), (100, 200))[2].tolist()  # the smallest, twice as high as wide
    assert (wide, high) == (pytest.approx(10 / 2**0.5), pytest.approx(10 * 2**0.5))


@torch.no_grad()
def test_upright_boxes_stay_upright() -> None:
    _, theta = detector(replace(IMAGE, theta=ThetaForm.CROP))(pixels(2))
    assert not theta[..., 0, 1].any()
    assert not theta[..., 1, 0].any()


@torch.no_grad()
def test_an_image_is_answered_alike_alone_and_among_others() -> None:
    model, images = detector(IMAGE), pixels(4)
    logits, theta = model(images)
    for index in range(4):
        alone = model(images[index : index + 1])
        torch.testing.assert_close(alone[0][0], logits[index], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone[1][0], theta[index], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_crop_of_a_map_is_what_roi_align_reads() -> None:
    model = detector(MAP)
    frames = model.frames(model.normalise(pixels(1)))
    boxes = torch.tensor([[[40.0, 30.0, 30.0, 20.0, 0.0], [60.0, 40.0, 24.0, 36.0, 0.0]]])
    found = model.transformer.warp(frames, thetas_of(boxes, MAP.image_hw))
    scale = frames.shape[2] / MAP.image_hw[0]
    wanted = roi_align(frames, [upright(boxes[0])], 7, scale, sampling_ratio=1, aligned=True)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet-18", "effnet-b0", "densenet-121", "vgg-11", "googlenet", "alexnet"])
@torch.no_grad()
def test_maps_end_at_a_sixteenth_and_the_two_halves_are_the_backbone(name: str) -> None:
    model = detector(replace(MAP, backbone=name, image_hw=(96, 96), crop_hw=(6, 6)))
    assert min(model.transformer.frame_hw) >= 6
    images = model.normalise(pixels(1, model.contract))
    cut = late_cut(model.backbone, (96, 96))
    maps = cut.first(model.backbone, images)
    assert maps.shape[2:] == model.transformer.frame_hw
    torch.testing.assert_close(cut.rest(model.backbone, maps), model.backbone(images), atol=1e-4, rtol=1e-4)


def test_anchors_have_the_sizes_and_ratios_around_each_place() -> None:
    found = anchors_of((3, 4), (60, 80)).reshape(ANCHORS, 3, 4, 5)
    assert len(SIZES) * len(RATIOS) == ANCHORS
    np.testing.assert_allclose(found[0, :, 0, 1], [10, 30, 50])
    np.testing.assert_allclose(found[5, 1, :, 0], [10, 30, 50, 70])
    for place, (size, ratio) in enumerate((size, ratio) for size in SIZES for ratio in RATIOS):
        width, height = found[place, 1, 2, 2:4].tolist()
        assert width * height == pytest.approx((size * 60) ** 2, rel=1e-5)
        assert height / width == pytest.approx(ratio, rel=1e-5)


def localizer(count: int) -> RegionLocalizer:
    return RegionLocalizer(Loc.SHARED, (8, 5, 7), (50, 70), view_hw=None, count=count, numbers=5)


def brute_force_best(scores: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """Peaks first: places whose best anchor no neighbour exceeds; then the others; each by its score."""
    best = scores.max(axis=0)
    height, width = best.shape
    ranked = []
    for row in range(height):
        for column in range(width):
            near = best[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            ranked.append((best[row, column] < near.max(), -best[row, column], row, column))
    return [(int(scores[:, row, column].argmax()), row, column) for _, _, row, column in sorted(ranked)[:count]]


@pytest.mark.parametrize("count", [2, 9, 35])
def test_the_best_regions_are_peaks_first(count: int) -> None:
    made, random = localizer(count), torch.Generator().manual_seed(count)
    scores = torch.randn(2, ANCHORS, 5, 7, generator=random)
    numbers = torch.randn(2, ANCHORS, 5, 5, 7, generator=random)
    found = made.best(scores, numbers)
    anchors = made.anchors.reshape(ANCHORS, 5, 7, 5)
    for image in range(2):
        for place, (kind, row, column) in enumerate(brute_force_best(scores[image].numpy(), count)):
            wanted = moved_boxes(anchors[kind, row, column], numbers[image, kind, :, row, column])
            torch.testing.assert_close(found[image, place], wanted)


def test_two_objects_beside_many_good_places_both_get_a_region() -> None:
    made = localizer(2)
    scores = torch.zeros(1, ANCHORS, 5, 7)
    scores[0, 4, 0:2, 0:3] = torch.tensor([[8.0, 9.0, 8.5], [8.2, 8.8, 8.4]])  # a bright object
    scores[0, 4, 3, 5] = 1.0  # and a faint one
    found = made.best(scores, torch.zeros(1, ANCHORS, 5, 5, 7))
    assert found[0, :, :2].tolist() == [[15.0, 5.0], [55.0, 35.0]]


def test_more_regions_than_places_are_refused() -> None:
    with pytest.raises(UsageError, match="36 regions of 5 x 7 places") as told:
        localizer(36)
    assert "at most 35" in str(told.value.hint)


def test_a_detector_comes_back_from_its_checkpoint(tmp_path: Path) -> None:
    for contract in (IMAGE, MAP):
        model = detector(contract)
        save_checkpoint(model, tmp_path / "d.safetensors")
        read = load_checkpoint(tmp_path / "d.safetensors")
        assert read.contract == contract
        with torch.no_grad():
            assert all(map(torch.equal, read.model(pixels(2)), model(pixels(2))))
        with pytest.raises(UsageError, match="detects"):
            read.classifier_for("this")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loc": Loc.NONE}, "finds no regions"),
        ({"loc": Loc.DEAD}, "finds no regions"),
        ({"warps": 1}, "1 region"),
        ({"theta": ThetaForm.TPS}, "can't be tps"),
        ({"theta": ThetaForm.SIMILARITY}, "can't be similarity"),
        ({"iterations": 2}, "looks once"),
        ({"at": At.STEM, "view_hw": None, "crop_hw": None}, "at stem"),
        ({"at": At.MAP}, "glance at map"),
        ({"loc": Loc.SHARED, "view_hw": None}, "shared at input"),
        ({"task": Task.CLASSIFY, "at": At.MAP}, "is for detectors"),
        ({"task": Task.CLASSIFY, "warps": 17}, "17 warps"),
    ],
)
def test_detectors_that_can_not_be_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as told:
        replace(IMAGE, **change).check()  # type: ignore[arg-type]
    assert told.value.hint


def test_contracts_of_version_4_from_before_detectors_classify() -> None:
    text = replace(IMAGE, task=Task.CLASSIFY).to_json().replace(', "task": "classify"', "")
    assert '"task"' not in text
    assert Contract.from_json(text, source="x").task is Task.CLASSIFY
    assert Contract.from_json(IMAGE.to_json(), source="x") == IMAGE
