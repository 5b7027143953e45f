"""A transformer that is alive, and every way to lose one, each done on purpose."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command import RunLstn
from small_models import warping_model

from lstn.contract import AFFINE_FORMS, Contract, Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.data.splits import spaced
from lstn.evaluation.measured_follow import measure_follow
from lstn.health.follow import brief
from lstn.health.liveness import judged
from lstn.nn.classifier import Classifier
from lstn.nn.warping.transformer import Transformer
from lstn.train.watch.probe import FEWEST, FEWEST_MOVED, GRADIENT_IMAGES, MOST, Probe, outside_share

HW = (48, 48)
CONTRACT = Contract(Loc.LSTN, "cnn", HW, tuple("0123456789"))


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe(open_data("digits", image_hw=HW).val, CONTRACT, training_images=1200, batch_size=16)


@pytest.fixture
def model(probe: Probe) -> Classifier:
    """Its theta depends on the image and is far from the identity; its classifier is solved for what that samples."""
    made = warping_model(Loc.LSTN)[0]
    *features, classifier = made.backbone.classifier  # type: ignore[misc, union-attr]
    with torch.no_grad():
        theta = made.transformer.localizer(made.normalise(probe.pixels))  # type: ignore[union-attr]
        grid = F.affine_grid(theta, [len(theta), 3, *HW], align_corners=False)
        found = made.backbone.features(F.grid_sample(made.normalise(probe.pixels), grid, align_corners=False))  # type: ignore
        for layer in features:
            found = layer(found)
        solved = torch.linalg.lstsq(found, F.one_hot(probe.labels, 10).float()).solution
        classifier.weight.copy_(solved.T)
        classifier.bias.zero_()
    return made


def last_of(model: Classifier) -> torch.nn.Linear:
    assert model.transformer is not None
    last = model.transformer.localizer.head[-1]  # type: ignore[index, union-attr]
    assert isinstance(last, torch.nn.Linear)
    return last


@torch.no_grad()
def test_the_figures_are_those_of_a_plain_loop_over_the_images(probe: Probe, model: Classifier) -> None:
    seen = probe.examine(model)
    assert seen["images"] == len(probe.pixels) == 40
    images = model.normalise(probe.pixels)
    theta = model.transformer.localizer(images)  # type: ignore[union-attr]
    ends = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    corners = [[24 * (theta[n] @ end) for end in ends] for n in range(40)]
    home = [24 * end[:2] for end in ends]
    moved = [float((corners[n][c] - home[c]).norm()) for n in range(40) for c in range(4)]
    middle = [sum(corners[n][c] for n in range(40)) / 40 for c in range(4)]
    squares = [float((corners[n][c] - middle[c]).square().sum()) for n in range(40) for c in range(4)]
    assert seen["displacement_px"] == seen["moved_px"] == pytest.approx(np.mean(moved), rel=1e-4)
    assert seen["spread_px"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)
    grid = F.affine_grid(theta, [40, 3, *HW], align_corners=False)
    assert seen["outside_share"] == pytest.approx(float((grid.abs() > 1).any(-1).float().mean()), abs=1e-4)
    assert 0 < seen["outside_share"] < 1
    for name, used in (("accuracy", theta), ("accuracy_identity", None), ("accuracy_swapped", theta.roll(20, 0))):
        warped = (
            images
            if used is None
            else F.grid_sample(
                images, F.affine_grid(used, list(images.shape), align_corners=False), align_corners=False
            )
        )
        right = sum(int(model.backbone(warped[n : n + 1]).argmax()) == int(probe.labels[n]) for n in range(40))
        assert seen[name] == pytest.approx(right / 40), name  # type: ignore[literal-required]
    assert len({seen["accuracy"], seen["accuracy_identity"], seen["accuracy_swapped"]}) == 3


def test_follow_is_that_of_the_localizer_alone(probe: Probe, model: Classifier) -> None:
    seen = probe.examine(model)["follow"]
    wanted = measure_follow(
        lambda pixels: model(torch.from_numpy(pixels))[1].detach().numpy(), _FirstMoved(probe), CONTRACT, batch=5
    )
    assert wanted is not None
    assert seen is not None
    assert seen["images"] == FEWEST_MOVED
    for kind in ("rotation", "scale", "shift"):
        assert seen[kind]["value"] == pytest.approx(wanted[kind]["value"], abs=1e-3), kind  # type: ignore[literal-required]


class _FirstMoved:
    """The images of a probe that are moved, as a split."""

    fingerprint = "moved"

    def __init__(self, probe: Probe) -> None:
        self.pixels = probe.pixels[spaced(len(probe.pixels), FEWEST_MOVED)].numpy()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.pixels[index], 0

    def redrawn(self, epoch: int) -> "_FirstMoved":
        return self


def test_the_gradient_is_the_one_that_training_would_see(probe: Probe, model: Classifier) -> None:
    seen = probe.examine(model)
    logits, _ = model.eval()(probe.pixels[:GRADIENT_IMAGES])
    F.cross_entropy(logits, probe.labels[:GRADIENT_IMAGES]).backward()  # type: ignore[no-untyped-call]
    norms = {
        name: torch.stack([w.grad.norm() for w in part.parameters() if w.grad is not None]).norm()
        for name, part in (("localizer", model.transformer), ("all", model))
    }  # type: ignore[union-attr]
    assert seen["gradient_share"] == pytest.approx(float(norms["localizer"] / norms["all"]), rel=1e-4)


def test_nobody_notices_being_looked_at(probe: Probe, model: Classifier) -> None:
    model(probe.pixels)[0].sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [None if weight.grad is None else weight.grad.clone() for weight in model.parameters()]
    random = torch.get_rng_state()
    probe.examine(model)
    probe.thetas(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for weight, gradient in zip(model.parameters(), gradients, strict=True):
        assert (weight.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(weight.grad, gradient)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(("training_images", "wanted"), [(10, FEWEST), (60 * FEWEST, 2 * FEWEST), (10**9, MOST)])
def test_it_looks_at_a_bounded_number_of_images(training_images: int, wanted: int) -> None:
    val = open_data("digits", image_hw=(8, 8)).val
    found = Probe(val, CONTRACT, training_images=training_images, batch_size=16)
    assert len(found.pixels) == wanted <= MOST
    assert len(set(found.labels.tolist())) >= 9


def thrown_away(model: Classifier) -> None:
    """The paper's own notebooks: `self.stn(x)` without assignment."""
    assert model.transformer is not None
    transformer = model.transformer
    transformer.forward = lambda images, look: (images, transformer.localizer(images))  # type: ignore[method-assign]


def never_moved(model: Classifier) -> None:
    last = last_of(model)
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])


def died(model: Classifier) -> None:
    model.transformer.localizer.head[1].bias.data.fill_(-1e6)  # type: ignore[union-attr, index]


def hardly_moved(model: Classifier) -> None:
    last_of(model).weight.data *= 1e-3


def exploded(model: Classifier) -> None:
    last_of(model).weight.data *= 1e4


def blew_up(model: Classifier) -> None:
    last_of(model).bias.data.fill_(torch.inf)


def left_the_frame(model: Classifier) -> None:
    last_of(model).bias.data[2] += 4


def saturated(model: Classifier) -> None:
    last_of(model).register_full_backward_hook(lambda _m, given, _o: tuple(g * 0 for g in given))
    for weight in model.transformer.parameters():  # type: ignore[union-attr]
        weight.register_hook(lambda gradient: gradient * 1e-6)


@pytest.mark.parametrize(
    ("spoil", "state", "says", "cure"),
    [
        (thrown_away, "dead", "0.0e+00 of the gradient reaches the localizer", "lower --loc-lr-scale"),
        (saturated, "dead", "of the gradient reaches the localizer", "lower --loc-lr-scale"),
        (never_moved, "dead", "still where it began", "higher --loc-lr-scale"),
        (died, "dead", "theta is the same for every image", "--loc stn"),
        (hardly_moved, "idle", "the same for every image, to 0.0", "higher --loc-lr-scale"),
        (exploded, "runaway", "outside of the frame", "lower --loc-lr-scale"),
        (blew_up, "runaway", "100% of what it samples is outside", "bounded theta"),
        (left_the_frame, "runaway", "100% of what it samples is outside", "bounded theta"),
        (lambda model: None, "not following", "follows rotation", "--equivariance 10"),
    ],
)
def test_every_way_to_lose_a_transformer_is_told(
    probe: Probe, model: Classifier, spoil: Callable[[Classifier], None], state: str, says: str, cure: str
) -> None:
    spoil(model)
    found = judged(probe.examine(model), CONTRACT, epoch=3, steps=300)
    assert found["state"] == state
    assert says in found["warning"]
    assert cure in found["cure"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


LOOKS = [(theta, 1) for theta in ThetaForm] + [(theta, 3) for theta in (*AFFINE_FORMS, ThetaForm.PROJECTIVE)]


@pytest.mark.parametrize(("theta", "iterations"), LOOKS)
@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN])
def test_a_localizer_that_never_learned_is_where_its_form_begins(loc: Loc, theta: ThetaForm, iterations: int) -> None:
    """That is no identity for a crop: it begins at 0.9 of the image."""
    contract = Contract(loc, "cnn", HW, tuple("0123456789"), theta=theta, iterations=iterations)
    torch.manual_seed(0)
    fresh = Classifier(contract)
    probe = Probe(open_data("digits", image_hw=HW).val, contract, training_images=32, batch_size=16)
    found = judged(probe.examine(fresh), contract, epoch=9, steps=999)
    assert (found["state"], found["warning"]) == ("dead", "theta is still where it began, for every image")
    assert found["cure"] == "start a new run with a higher --loc-lr-scale"
    assert found["moved_px"] < 1e-3
    if theta is ThetaForm.CROP:
        assert found["displacement_px"] == pytest.approx((1 - 0.9**iterations) * np.hypot(24, 24), rel=1e-4)
    with torch.no_grad():  # the first number shifts, turns or scales it, for all images alike
        last_of(fresh).bias[0] -= 0.5
    found = judged(probe.examine(fresh), contract, epoch=9, steps=999)
    assert found["warning"] == "theta is the same for every image"
    # Of a spline it moves one of 16 points, by half of the 48 pixels' half.
    assert found["moved_px"] > 1 or (theta is ThetaForm.TPS and found["moved_px"] == pytest.approx(0.5 * 24 / 16))


def test_a_point_that_is_no_number_is_outside() -> None:
    theta = np.array([[[1, 0, 0], [0, 1, 0]], [[np.nan, 0, 0], [0, 1, 0]]], np.float32)
    assert outside_share(theta, Contract(Loc.STN, "cnn", (8, 8), ("a",))) == 0.5


SMALL = (
    "--model",
    "cnn",
    "--image-size",
    "32",
    "--name",
    "a",
    "--recipe",
    "paper",
    "--patience",
    99,
    "--batch-size",
    2,
)


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_a_folder")
@pytest.mark.parametrize(
    ("options", "state", "says", "first"),
    [
        (("--loc-lr-scale", 0), "dead", "theta is still where it began, for every image", 9),
        (("--loc-lr-scale", 0, "--theta", "crop"), "dead", "theta is still where it began, for every image", 9),
        (("--loc-lr-scale", 300), "runaway", "is outside of the frame", 1),
    ],
)
def test_a_run_says_it_in_its_log_its_metrics_and_to_the_doctor(
    options: tuple[object, ...], state: str, says: str, first: int, data: str, run_lstn: RunLstn
) -> None:
    ran = run_lstn("train", "--loc", "stn", "--data", data, "--epochs", 10, *SMALL, *options)
    rows = [json.loads(line) for line in Path("runs/a/metrics.jsonl").read_text().splitlines()][:-1]
    told = [line for line in ran.err.splitlines() if line.startswith("warning: the transformer")]
    doctor = run_lstn("doctor", "runs/a").out
    assert rows[-1]["transformer"]["state"] == state
    assert says in rows[-1]["transformer"]["warning"]
    assert f"transformer: {state}" in doctor
    assert says in doctor
    assert len(told) == 1  # once, and not in every epoch
    assert says in told[0]
    assert [bool(row["transformer"]["warning"]) for row in rows] == [row["epoch"] >= first for row in rows]
    lines = ran.err.splitlines()
    assert lines[lines.index(told[0]) - 1].startswith(f"epoch   {first}/10")
    assert f"likely cure: {rows[-1]['transformer']['cure']}" in ran.err
    assert "likely cure: " in doctor


@pytest.mark.usefixtures("in_a_folder")
def test_every_epoch_says_what_the_window_follows(data: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--loc", "lstn", "--data", data, "--epochs", 2, *SMALL, "--loc-lr-scale", 3)
    rows = [json.loads(line) for line in Path("runs/a/metrics.jsonl").read_text().splitlines()][:-1]
    epochs = [line for line in ran.err.splitlines() if line.startswith("epoch ")]
    assert len(epochs) == len(rows) == 2
    for line, row in zip(epochs, rows, strict=True):
        assert f"  follows {brief(row['transformer']['follow'])}" in line
    assert "follow of known moves, 0 to 1: rotation" in run_lstn("doctor", "runs/a").out


@pytest.mark.usefixtures("in_a_folder")
def test_the_papers_bug_is_found_as_soon_as_anything_could_have_moved(
    data: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transformer, "forward", lambda self, images, look: (images, self.localizer(images)))
    ran = run_lstn("train", "--loc", "lstn", "--data", data, "--epochs", 9, *SMALL)
    assert ran.code == 0
    told = [line for line in ran.err.splitlines() if line.startswith(("epoch", "warning: the transformer"))]
    assert told[-1] == "warning: the transformer is dead: 0.0e+00 of the gradient reaches the localizer"
    assert len(told) == 10
