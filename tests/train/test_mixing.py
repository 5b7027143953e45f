"""Mixed, erased and randomly changed images, against torchvision's own and a loop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from short_runs import assert_same_weights, options, run, weights_of
from torchvision.transforms import v2

from lstn.contract import Loc
from lstn.data.dataset import open_data
from lstn.errors import UsageError
from lstn.train.batches.augment import KINDS, Augmentation, kinds_of
from lstn.train.batches.loading import Images, batches
from lstn.train.batches.mixing import CUTMIX_ALPHA, MIXUP_ALPHA, Mixing
from lstn.train.objectives.label_loss import against_labels

CPU = torch.device("cpu")
MEAN = (0.2, 0.4, 0.6)
NO_POSES = torch.full((6, 2, 3), torch.nan)


def hand_made(images: int = 6, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(images) % 3


def drawn_as(seed: int, epoch: int, indices: list[int]) -> None:
    """Seed torch's generator as a mixture of this batch does, and leave out which kind it is."""
    key = np.random.SeedSequence([seed, epoch, *indices]).generate_state(1, np.uint64)
    torch.manual_seed(int(key[0] >> np.uint64(1)))
    torch.randint(1, (1,))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mixture_is_torchvisions(kind: str) -> None:
    pixels, labels = hand_made()
    mixed, targets = Mixing((kind,), classes=3, seed=4)(pixels, labels, list(range(6)), 2)
    own = {"mixup": v2.MixUp(alpha=MIXUP_ALPHA, num_classes=3), "cutmix": v2.CutMix(alpha=CUTMIX_ALPHA, num_classes=3)}
    drawn_as(4, 2, list(range(6)))
    wanted, shares = own[kind](pixels.permute(0, 3, 1, 2).float(), labels)
    assert torch.equal(targets, shares)
    assert (mixed.float() - wanted.permute(0, 2, 3, 1)).abs().max() <= 0.5
    assert mixed.is_contiguous()


@given(seed=st.integers(0, 50), epoch=st.integers(1, 9))
def test_labels_are_mixed_as_the_pixels_are(seed: int, epoch: int) -> None:
    """Of images of one colour each, that of class k is 100 k: a mixture's mean says how much it shows of each."""
    labels = torch.tensor([0, 1, 2, 1])
    pixels = (100 * labels)[:, None, None, None].expand(4, 32, 32, 3).to(torch.uint8)
    for kind in ("mixup", "cutmix"):
        mixed, targets = Mixing((kind,), classes=3, seed=seed)(pixels, labels, [3, 1, 2, 0], epoch)
        shown = mixed.double().mean((1, 2, 3)) / 100
        torch.testing.assert_close(shown, targets.double() @ torch.arange(3.0).double(), rtol=0, atol=6e-3)
        torch.testing.assert_close(targets.sum(1), torch.ones(4))


@given(seed=st.integers(0, 99), smoothing=st.floats(0, 0.9))
def test_the_loss_of_a_mixture_is_the_mixture_of_losses(seed: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, share = torch.randn(5, 3, generator=generator), torch.rand(5, 1, generator=generator)
    one, other = (torch.randint(3, (5,), generator=generator) for _ in range(2))
    weights = torch.rand(3, generator=generator) + 0.1
    targets = share * F.one_hot(one, 3) + (1 - share) * F.one_hot(other, 3)
    plain = against_labels(logits, targets, smoothing=smoothing)
    parts = [F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none") for labels in (one, other)]
    wanted = (share[:, 0] * parts[0] + (1 - share[:, 0]) * parts[1]).mean()
    assert float(plain) == pytest.approx(float(wanted), rel=1e-4)
    hard = F.one_hot(one, 3).float()
    assert float(against_labels(logits, hard, smoothing=smoothing, class_weights=weights)) == pytest.approx(
        float(against_labels(logits, one, smoothing=smoothing, class_weights=weights)), rel=1e-4
    )


@pytest.mark.parametrize("kind", ["mixup", "mixup,cutmix", "randaugment,erase,cutmix"])
def test_seed_epoch_and_batch_alone_decide_and_no_worker(kind: str, data: str) -> None:
    train = open_data(data, image_hw=(32, 32)).train
    mixes = tuple(each for each in kinds_of(kind) if each in ("mixup", "cutmix"))

    def read(epoch: int, workers: int) -> list[torch.Tensor]:
        augment = Augmentation(kind, image_hw=(32, 32), mirrors=False, seed=0)
        images = Images(train, augment, mixing=Mixing(mixes, classes=2, seed=0)).at(epoch)
        loader = batches(images, batch_size=10, workers=workers, shuffle_seed=5, device=CPU)
        before = torch.get_rng_state()
        found = list(loader)
        assert torch.equal(torch.get_rng_state(), before)
        return [tensor for batch in found for tensor in (batch.pixels, batch.targets) if tensor is not None]

    one = read(1, 0)
    assert all(torch.equal(a, b) for a, b in zip(one, read(1, 2), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, read(2, 0), strict=True))


def test_half_of_the_images_lose_a_rectangle_to_the_mean_colour() -> None:
    pixels = torch.full((400, 24, 24, 3), 7, dtype=torch.uint8)
    poses = torch.full((400, 2, 3), torch.nan)
    poses[0] = torch.eye(2, 3)
    erase = Augmentation("erase", image_hw=(24, 24), mirrors=True, seed=0, mean=MEAN)
    changed, moved = erase(pixels, poses, list(range(400)), 1)
    assert torch.equal(moved[0], poses[0])
    gone = (changed != 7).any(-1)
    assert 160 < int(gone.flatten(1).any(1).sum()) < 240
    colour = torch.tensor([round(255 * each) for each in MEAN], dtype=torch.uint8)
    assert (changed[gone] == colour).all()
    for each in gone[gone.flatten(1).any(1)]:
        rows, columns = each.any(1).sum(), each.any(0).sum()
        assert int(rows * columns) == int(each.sum()), "it is a rectangle"
        assert 0.01 <= int(each.sum()) / 24**2 <= 0.37


def test_random_changes_are_torchvisions() -> None:
    pixels, _ = hand_made()
    rand = Augmentation("randaugment", image_hw=(16, 16), mirrors=True, seed=3, mean=MEAN)
    changed, _ = rand(pixels, NO_POSES, list(range(6)), 2)
    own = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR, fill=[255 * each for each in MEAN])
    for index, (image, found) in enumerate(zip(pixels, changed, strict=True)):
        key = np.random.SeedSequence([3, 2, index]).generate_state(1, np.uint64)
        torch.manual_seed(int(key[0] >> np.uint64(1)))
        assert torch.equal(own(image.permute(2, 0, 1)).permute(1, 2, 0), found)


def test_names_are_in_the_order_in_which_images_are_changed() -> None:
    assert kinds_of("none") == ()
    assert kinds_of("mixup, erase,standard") == ("standard", "erase", "mixup")
    assert kinds_of(",".join(name for name in KINDS if name != "standard")) == (
        "affine", "randaugment", "erase", "mixup", "cutmix",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("mirror", "unknown augmentation 'mirror'"),
        ("", "unknown augmentation ''"),
        ("none,erase", "unknown augmentation 'none'"),
        ("erase,erase", "named twice"),
        ("affine,standard", "affine and standard both move images"),
    ],
)
def test_what_is_no_augmentation_is_refused(augment: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kinds_of(augment)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--augment", "mixup", "--supervise", "1"),
            "--supervise needs to know where objects are, which --augment mixup",
        ),
        (("--augment", "randaugment", "--task", "detect"), "--task detect needs to know where objects are"),
        (("--augment", "flip"), "unknown augmentation 'flip'"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_lstn: RunLstn
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_lstn("train", "--model", "cnn", *words)
    assert ran.code == 2
    assert said in ran.err


def test_a_run_that_stopped_ends_with_the_same_weights(data: str, tmp_path: Path) -> None:
    asked = options(
        data, epochs=2, loc=Loc.STN, augment="standard,randaugment,erase,mixup,cutmix", label_smoothing=0.1,
        balance="weights", equivariance=0.5,
    )  # fmt: skip
    run(asked, tmp_path / "whole")
    run(replace(asked, epochs=1), tmp_path / "parts")
    run(asked, tmp_path / "parts", resume=True)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


def test_a_batch_of_one_image_is_mixed_with_itself() -> None:
    pixels, labels = hand_made(images=1)
    mixed, targets = Mixing(("mixup",), classes=3, seed=0)(pixels, labels, [0], 1)
    assert torch.equal(mixed, pixels)
    assert targets.tolist() == [[1.0, 0.0, 0.0]]
