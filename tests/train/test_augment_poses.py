"""Poses move with the images that augmentation changes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lstn.data.poses import pose_from_box
from lstn.images import Pixels
from lstn.train.batches.augment import Augment, Augmentation
from lstn.warps.warp import warp

HW = (48, 64)
SEED, EPOCH = 3, 2


def pictures(count: int) -> tuple[Pixels, torch.Tensor]:
    """Blocks of random grey levels, 4 x 3 of them in a box 16 x 12 in the middle third, turned; and their poses."""
    rng = np.random.default_rng(0)
    pixels, poses = np.zeros((count, *HW, 3), np.uint8), torch.empty(count, 2, 3)
    for number in range(count):
        centre, degrees = (32 + rng.uniform(-8, 8), 24 + rng.uniform(-4, 4)), rng.uniform(-180, 180)
        pose = pose_from_box(centre, (16, 12), degrees, HW)
        poses[number] = torch.from_numpy(pose.theta)
        small = np.repeat(rng.integers(60, 256, (3, 4, 1), np.uint8), 3, 2)
        block = np.asarray(Image.fromarray(small).resize((HW[1], HW[0]), Image.Resampling.NEAREST))
        square = np.vstack([pose.theta.astype(np.float64), [0, 0, 1]])
        pixels[number] = warp(block, np.linalg.inv(square)[:2].astype(np.float32), (0, 0, 0))
    return pixels, poses


def shown(pixels: Pixels, theta: np.ndarray) -> np.ndarray:
    crop = Image.fromarray(warp(pixels, theta, (0, 0, 0))).convert("L")
    return np.asarray(crop.resize((4, 3), Image.Resampling.BOX)).astype(float)


@pytest.mark.parametrize(("kind", "mirrors"), [("affine", False), ("standard", False), ("standard", True)])
def test_the_crop_of_a_changed_image_is_that_of_the_image(kind: Augment, mirrors: bool) -> None:
    """Of a mirrored image it shows the mirrored object, upright and not mirrored back."""
    pixels, poses = pictures(60)
    augment = Augmentation(kind, image_hw=HW, mirrors=mirrors, seed=SEED)
    changed, moved = augment(torch.from_numpy(pixels), poses, list(range(60)), EPOCH)
    assert moved.dtype == torch.float32
    turned = 0
    for before, after, pose, theta in zip(pixels, changed.numpy(), poses.numpy(), moved.numpy(), strict=True):
        want, found = shown(before, pose), shown(after, theta)
        assert np.linalg.det(theta[:, :2]) > 0
        straight, flipped = (float(np.corrcoef(each.ravel(), found.ravel())[0, 1]) for each in (want, want[:, ::-1]))
        assert max(straight, flipped) > 0.9
        turned += flipped > straight
    assert (15 < turned < 45) if mirrors else turned == 0


@pytest.mark.parametrize("kind", ["affine", "standard"])
def test_images_are_changed_as_torchvisions_own_transforms_do(kind: Augment) -> None:
    pixels, poses = pictures(12)
    changed, _ = Augmentation(kind, image_hw=HW, mirrors=True, seed=SEED)(
        torch.from_numpy(pixels), poses, list(range(12)), EPOCH
    )
    affine = v2.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR)
    crop = v2.RandomCrop(HW, padding=[8, 6], padding_mode="reflect")
    whole = affine if kind == "affine" else v2.Compose([crop, v2.RandomHorizontalFlip()])
    for number in range(12):
        key = np.random.SeedSequence([SEED, EPOCH, number]).generate_state(1, np.uint64)
        torch.manual_seed(int(key[0] >> np.uint64(1)))
        assert torch.equal(changed[number], whole(torch.from_numpy(pixels[number]).permute(2, 0, 1)).permute(1, 2, 0))


@pytest.mark.parametrize("kind", ["none", "affine", "standard"])
def test_an_unknown_pose_stays_unknown(kind: Augment) -> None:
    pixels, poses = pictures(4)
    poses[1] = torch.nan
    _, moved = Augmentation(kind, image_hw=HW, mirrors=True, seed=SEED)(
        torch.from_numpy(pixels), poses, [5, 6, 7, 8], 1
    )
    assert moved.isfinite().all(2).all(1).tolist() == [True, False, True, True]


def test_affine_shows_no_border() -> None:
    """A localizer would follow one instead of what is in the picture. Every pixel is of the picture's own colours."""
    pixels = np.full((200, *HW, 3), 200, np.uint8)
    pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1] = 255, 255, 255, 255
    unposed = torch.full((200, 2, 3), torch.nan)
    changed, _ = Augmentation("affine", image_hw=HW, mirrors=False, seed=SEED)(
        torch.from_numpy(pixels), unposed, list(range(200)), EPOCH
    )
    assert int(changed.min()) >= 199
    assert not torch.equal(changed, torch.from_numpy(pixels))
