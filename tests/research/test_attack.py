"""Attacks: against foolbox, closed forms and random search, and what every honest attack must do."""

import foolbox
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spotted import SIDE, spots, trained_model
from torch import Tensor, nn

from lstn.contract import Contract, Loc
from lstn.nn.checkpoint_answers import answering_of
from lstn.nn.classifier import Classifier
from lstn.research.attack.ascent import STEP_SHARE, ascend_pixels
from lstn.research.attack.attack_report import AttackReport, masking_signs
from lstn.research.attack.attacking import AttackRequest, attack_all, jobs_of
from lstn.research.attack.balls import BallNorm, in_whole_levels, size_of, somewhere, steepest, within
from lstn.research.attack.label_attacks import LabelAttack, attack_labels, log_odds, logits_of
from lstn.research.attack.warp_attacks import drift_of, mislead_by_warp, move_warp, theta_of
from lstn.warps.warp import drift_px

COUNT = 12
PIXELS, LABELS = spots(COUNT, seed=7)
BOUNDS = {BallNorm.LINF: (4.0, 32.0, 128.0, 255.0), BallNorm.L2: (100.0, 1500.0, 4000.0, 14000.0)}


def right(pixels: Tensor, model: Classifier | None = None) -> int:
    return int((logits_of(model or trained_model(), pixels).argmax(1) == LABELS).sum())


def attacked(kind: LabelAttack, norm: BallNorm, bound: float, **options: int) -> Tensor:
    return attack_labels(trained_model(), PIXELS, LABELS, kind, norm, bound, **options)


class Logits(nn.Module):
    """What foolbox attacks: pixels (N, H, W, 3) -> logits, so small that its cross entropy has a slope."""

    def forward(self, pixels: Tensor) -> Tensor:
        return logits_of(trained_model(), pixels) / 20


def test_the_model_under_attack_is_right_to_begin_with() -> None:
    assert right(PIXELS) == COUNT


@pytest.mark.parametrize(
    ("norm", "steps", "share", "theirs"),
    [
        (BallNorm.LINF, 1, 1.0, foolbox.attacks.LinfFastGradientAttack(random_start=False)),
        (BallNorm.L2, 1, 1.0, foolbox.attacks.L2FastGradientAttack(random_start=False)),
        (BallNorm.LINF, 7, STEP_SHARE, foolbox.attacks.LinfPGD(rel_stepsize=STEP_SHARE, steps=7, random_start=False)),
        (BallNorm.L2, 7, STEP_SHARE, foolbox.attacks.L2PGD(rel_stepsize=STEP_SHARE, steps=7, random_start=False)),
    ],
)
def test_it_goes_where_foolbox_goes(norm: BallNorm, steps: int, share: float, theirs: foolbox.Attack) -> None:
    bound = BOUNDS[norm][1]

    def climbed(place: Tensor) -> Tensor:
        return log_odds(logits_of(trained_model(), place), LABELS)

    radius = torch.full((COUNT,), bound)
    *_, ours = ascend_pixels(climbed, PIXELS, norm, radius, steps=steps, step_share=share)
    network = foolbox.PyTorchModel(Logits().eval(), bounds=(0, 255))
    found, _, _ = theirs(network, PIXELS, LABELS, epsilons=bound)
    assert (ours - PIXELS).abs().max() > 1
    # Where a gradient is as good as 0, rounding decides which way a step of its sign goes.
    apart = (ours - found).abs() > 2e-3
    assert int(apart.sum()) <= (1e-4 * apart.numel() if norm is BallNorm.LINF else 0)


@given(st.sampled_from(list(BallNorm)), st.floats(0.3, 3000), st.integers(0, 99), st.booleans())
def test_changes_stay_in_their_ball_and_in_whole_levels(norm: BallNorm, bound: float, seed: int, edge: bool) -> None:
    drawn = torch.Generator().manual_seed(seed)
    start = torch.randint(0, 256, (3, 4, 5, 3), generator=drawn).float()
    radius = torch.tensor([bound, bound / 3, 0.0])
    change = somewhere(start, norm, radius, drawn, on_edge=edge)
    assert (size_of(change, norm) <= radius * 1.0001).all()
    if edge:
        torch.testing.assert_close(size_of(change, norm), radius)
    far = within(change * 7, norm, radius)
    assert (size_of(far, norm) <= radius * 1.0001).all()
    whole = in_whole_levels((start + far).clamp(0, 255), start, norm, radius)
    assert torch.equal(whole, whole.round())
    assert ((whole >= 0) & (whole <= 255)).all()
    assert (size_of(whole - start, norm) <= radius * 1.0001).all()


@pytest.mark.parametrize("norm", list(BallNorm))
def test_accuracy_falls_to_chance_and_below_as_the_bound_grows(norm: BallNorm) -> None:
    left = [right(attacked(LabelAttack.PGD, norm, bound, steps=10)) for bound in BOUNDS[norm]]
    assert left == sorted(left, reverse=True)
    assert left[0] > COUNT / 2 >= left[-1]
    assert left[-1] == 0


@pytest.mark.parametrize("norm", list(BallNorm))
def test_more_steps_and_more_starts_never_help_the_model(norm: BallNorm) -> None:
    """For every picture, not only on average: its most wrong answer gets no less wrong."""
    bound = BOUNDS[norm][1] * 1.5

    def margins(**options: int) -> Tensor:
        logits = logits_of(trained_model(), attacked(LabelAttack.PGD, norm, bound, **options))
        own = logits.gather(1, LABELS[:, None])[:, 0]
        return logits.sum(1) - own - own  # of two labels, the other one's lead

    by_steps = torch.stack([margins(steps=steps) for steps in (1, 2, 4, 8, 16)])
    by_starts = torch.stack([margins(steps=3, starts=starts) for starts in (1, 2, 4)])
    for found in (by_steps, by_starts):
        assert (found[1:] >= found[:-1] - 1e-5).all()
    assert (by_steps[-1] > by_steps[0]).any()


@pytest.mark.parametrize("norm", list(BallNorm))
def test_noise_of_equal_size_is_weaker(norm: BallNorm) -> None:
    bound = BOUNDS[norm][2]
    noise, found = attacked(LabelAttack.NOISE, norm, bound), attacked(LabelAttack.PGD, norm, bound, steps=10)
    assert float(size_of(noise - PIXELS, norm).mean()) > 0.5 * bound
    assert right(noise) > right(found)


def test_the_odds_grow_where_the_cross_entropy_does_however_sure_the_model_is() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    entropy = nn.functional.cross_entropy(logits, labels, reduction="none")
    odds = log_odds(logits, labels)
    torch.testing.assert_close(nn.functional.softplus(odds), entropy)
    (one,), (other,) = (torch.autograd.grad(each.sum(), logits) for each in (entropy, odds))
    torch.testing.assert_close(steepest(one, BallNorm.L2), steepest(other, BallNorm.L2))
    sure = torch.tensor([[300.0, 0, 0, 0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(log_odds(sure, labels[:1]).sum(), sure)
    torch.testing.assert_close(size_of(steepest(gradient * 1e-30, BallNorm.L2), BallNorm.L2), torch.ones(1))
    assert (steepest(torch.zeros(2, 3), BallNorm.L2) == 0).all()


def test_the_gradient_is_that_of_differences() -> None:
    """Not masked: along the gradient the odds grow as it says, through sampler and localizer."""
    place = PIXELS.clone().requires_grad_(True)

    def climbed(pixels: Tensor) -> Tensor:
        return log_odds(logits_of(trained_model(), pixels), LABELS)

    (gradient,) = torch.autograd.grad(climbed(place).sum(), place)
    length = gradient.flatten(1).norm(dim=1)
    step = 0.5 * gradient / length[:, None, None, None]
    with torch.no_grad():
        slope = climbed(PIXELS + step) - climbed(PIXELS - step)
    torch.testing.assert_close(slope, length, rtol=0.1, atol=1e-4)


class Coarse(nn.Module):
    """Rounds what it sees, by which no gradient passes: a model that only looks robust."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images * 2).round() / 2)


def report_of(model: Classifier, request: AttackRequest) -> AttackReport:
    class Held:
        fingerprint = "held"

        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return PIXELS[index].byte().numpy(), int(LABELS[index])

        def redrawn(self, epoch: int) -> "Held":
            return self

    outcomes = attack_all(model, {"model": answering_of(model)}, Held(), range(COUNT), request)
    return AttackReport("model", model.contract, "spots", "test", COUNT, request.steps, *outcomes)


def test_masked_gradients_are_named_and_others_are_not() -> None:
    request = AttackRequest(linf=(32.0, 150.0), l2=(4.0,), steps=5, starts=3)
    report = report_of(trained_model(), request)
    assert masking_signs(report) == []
    assert [(each.norm, each.bound) for each in report.labels][1::4] == [("linf", 32), ("linf", 150), ("l2", 4)]
    plain = trained_model(Loc.NONE)
    masked = Classifier.around(Coarse(plain.backbone), labels=("left", "right"), image_hw=(SIDE, SIDE), loc=Loc.NONE)
    found = report_of(masked.eval(), AttackRequest(linf=(200.0,), steps=5, starts=8))
    assert found.warp is found.crop is None
    assert masking_signs(found) == ["linf 200: every picture can become gray, and 100.0 % are still right"]


class Sideways(nn.Module):
    """A localizer that shifts the crop by w . image, and does nothing else."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, view: Tensor) -> Tensor:
        shift = (view * self.weight).sum((1, 2, 3))
        theta = torch.eye(2, 3).repeat(len(view), 1, 1)
        return theta + torch.nn.functional.pad(shift[:, None, None], (2, 0, 0, 1))


def test_the_smallest_change_that_moves_a_crop_is_that_of_the_closed_form() -> None:
    """Of a linear localizer: reach over the sum of the weights' sizes, rounded up to a whole level."""
    model = Classifier.around(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2)), labels=("a", "b"),
                              image_hw=(SIDE, SIDE), loc=Loc.LSTN).eval().requires_grad_(False)  # fmt: skip
    weight = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 3e-4
    model.transformer.localizer = Sideways(weight)
    gray = torch.full((4, SIDE, SIDE, 3), 128.0)
    per_level = float((weight.abs() * model.scale).sum()) * SIDE / 2
    for reach in (0.5, 2.0, 5.0):
        found = move_warp(model, gray, reach, steps=8)
        assert found.size.tolist() == [np.ceil(reach / per_level)] * 4
    assert move_warp(model, gray, 70 * per_level, steps=8).size.isinf().all()


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (16, 2), (2, 2, 3), (3, 16, 2), (2, 3, 3)])
def test_drift_is_that_of_numpy_for_every_kind_of_theta(shape: tuple[int, ...]) -> None:
    drawn = torch.Generator().manual_seed(0)
    one, other = (torch.rand(5, *shape, generator=drawn) + 0.5 for _ in range(2))
    wanted = drift_px(one.numpy(), other.numpy(), (20, 40))
    np.testing.assert_allclose(drift_of(one, other, (20, 40)), wanted, rtol=1e-4)


def test_several_crops_of_an_image_are_attacked_together() -> None:
    torch.manual_seed(0)
    contract = Contract(Loc.GLANCE, "cnn", (SIDE, SIDE), ("a", "b"), warps=2)
    model = Classifier(contract).eval().requires_grad_(False)
    torch.nn.init.normal_(model.transformer.localizer.head[-1].weight, 0, 0.5)
    found = move_warp(model, PIXELS[:2], 0.1, steps=3)
    drift = drift_of(theta_of(model, found.pixels), theta_of(model, PIXELS[:2]), (SIDE, SIDE))
    assert found.size.isfinite().all()
    assert (drift >= 0.0999).all()
    assert mislead_by_warp(model, PIXELS[:2], most_px=4, steps=2)[0].shape == (2,)


def test_the_pixels_that_move_a_crop_do_so_in_whole_levels() -> None:
    model, locate = trained_model(), answering_of(trained_model()).locate
    assert locate is not None
    found = move_warp(model, PIXELS, 1.0, most=200, steps=10)
    moved = found.size.isfinite()
    assert moved.any()
    whole = found.pixels.byte().numpy()
    assert (found.pixels == torch.from_numpy(whole)).all()
    drift = drift_px(locate(whole), locate(PIXELS.byte().numpy()), (SIDE, SIDE))
    assert (drift[moved.numpy()] >= 0.999).all()
    change = (found.pixels - PIXELS).abs().flatten(1).amax(1)
    assert torch.equal(change[moved], found.size[moved])
    assert (change[~moved] == 0).all()
    drawn = torch.Generator().manual_seed(3)
    noise = (PIXELS + somewhere(PIXELS, BallNorm.LINF, change, drawn, on_edge=True)).clamp(0, 255)
    with torch.no_grad():
        by_noise = drift_of(theta_of(model, noise), theta_of(model, PIXELS), (SIDE, SIDE))
    assert float(by_noise[moved].mean()) < 0.7


def test_no_random_move_of_the_crop_misleads_sooner() -> None:
    model = trained_model()
    found, by_chance = mislead_by_warp(model, PIXELS, most_px=SIDE / 2, steps=20)
    misled = found.isfinite()
    assert int(misled.sum()) >= COUNT // 2
    assert int(by_chance.sum()) < int(misled.sum())
    assert not by_chance[~misled].any()
    transformer = model.transformer
    with torch.no_grad():
        frames = model.normalise(PIXELS)
        theta = transformer.localize(frames)
        labels = model.classify(transformer.warp(frames, theta)).argmax(1)
        sooner = torch.full((COUNT,), torch.inf)
        drawn = torch.Generator().manual_seed(5)
        for _ in range(400):
            other = theta + torch.randn(theta.shape, generator=drawn) * 0.3
            drift = drift_of(other, theta, (SIDE, SIDE))
            wrong = model.classify(transformer.warp(frames, other)).argmax(1) != labels
            sooner = torch.where(wrong, torch.minimum(sooner, drift), sooner)
    assert (found <= sooner).all()


def test_the_strongest_attack_of_a_bound_comes_last() -> None:
    names = [job.name for job in jobs_of(AttackRequest(linf=(1.0,), l2=(0.5,), starts=4))]
    assert names == ["noise", "FGSM", "PGD", "PGD, 4 starts"] * 2
    assert [job.shown_bound for job in jobs_of(AttackRequest(linf=(), l2=(0.5,)))] == [0.5] * 4
