"""Several warps of an image: each as a single one would be, and a backbone that sees all of their crops."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import warping_model

from lstn.contract import MAX_WARPS, At, Contract, Loc, ThetaForm, theta_shape
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.measured_follow import MovedPictures
from lstn.evaluation.measured_pose import pose_error
from lstn.nn.classifier import Classifier
from lstn.nn.warping.forms import first_theta
from lstn.nn.warping.transformer import Transformer
from lstn.warps.drawn_warp import draw_warp, outline_px
from lstn.warps.warp import crop_image, drift_px, landmarks_px, sampling_of

SIDE = 48
TWO = Contract(Loc.GLANCE, "cnn", (SIDE, SIDE), ("a", "b", "c"), view_hw=(24, 24), warps=2)


@given(
    form=st.sampled_from(ThetaForm),
    warps=st.integers(2, 5),
    frame_hw=st.tuples(st.integers(6, 40), st.integers(6, 40)),
    shrunk=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 1000),
)
def test_each_warp_is_as_it_would_be_alone(
    form: ThetaForm, warps: int, frame_hw: tuple[int, int], shrunk: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    crop_hw = (max(1, frame_hw[0] // shrunk), max(1, frame_hw[1] // shrunk))
    transformer = Transformer(torch.nn.Identity(), frame_hw, 1, crop_hw, form)
    images = torch.rand(2, 3, *frame_hw, generator=generator)
    away = 0.2 * torch.randn(2, warps, *theta_shape(form), generator=generator)
    theta = first_theta(form, warps) + away
    together = transformer.warp(images, theta)
    alone = [transformer.warp(images, theta[:, number]) for number in range(warps)]
    wanted = torch.stack([alone[number][image] for image in range(2) for number in range(warps)])
    torch.testing.assert_close(together, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("backbone", "at"), [("cnn", At.INPUT), ("resnet-18", At.INPUT), ("vgg-11", At.INPUT), ("vgg-11", At.STEM)]
)
def test_the_last_layer_sees_what_was_found_in_every_crop(backbone: str, at: At) -> None:
    model = warping_model(Loc.STN, backbone, warps=2, at=at)[0].double()
    pixels = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8)
    last = [module for module in model.backbone.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.normal_()
        logits, theta = model(pixels)
        assert theta.shape == (3, 2, 2, 3)
        found: list[torch.Tensor] = []
        hook = last.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        for image in range(3):
            frames = model.frames(model.normalise(pixels[image : image + 1]))
            for number in range(2):
                warped = model.transformer.warp(frames, theta[image : image + 1, number])
                with pytest.raises(RuntimeError):  # half of what the last layer takes; the hook has seen it
                    model.classify(warped)
        hook.remove()
        joined = torch.stack([torch.cat([found[2 * image][0], found[2 * image + 1][0]]) for image in range(3)])
        torch.testing.assert_close(logits, torch.nn.functional.linear(joined, last.weight, last.bias))


@pytest.mark.parametrize("form", ThetaForm)
@pytest.mark.parametrize("warps", [2, 3, 4, 7, MAX_WARPS])
def test_several_begin_as_tiles_that_cover_the_image(form: ThetaForm, warps: int) -> None:
    theta = first_theta(form, warps).numpy()
    corners = landmarks_px(theta, (100, 100))
    assert corners.min() >= -1e-4
    assert corners.max() <= 100 + 1e-4
    assert len({tuple(each.round(3).ravel()) for each in corners}) == warps
    low, high = corners.min(1), corners.max(1)
    x, y = np.meshgrid(np.arange(5, 100, 10), np.arange(5, 100, 10))
    inside = [(low[n] <= [px, py]).all() and (high[n] >= [px, py]).all() for px, py in zip(x.flat, y.flat, strict=True)
              for n in range(warps)]  # fmt: skip
    in_one = np.array(inside).reshape(-1, warps).any(1)
    # Two lie beside each other, and the last row of three has one tile: the rest is for training to find.
    assert in_one.mean() >= (1.0 if warps in (4, MAX_WARPS) and form is not ThetaForm.CROP else 0.6)


def test_one_warp_begins_at_the_identity() -> None:
    for form in set(ThetaForm) - {ThetaForm.CROP, ThetaForm.TPS}:
        theta = first_theta(form, 1)[0]
        torch.testing.assert_close(theta, torch.eye(3)[: theta.shape[0]])


def test_a_contract_says_how_many() -> None:
    assert json.loads(TWO.to_json())["version"] == 4
    assert Contract.from_json(TWO.to_json(), source="x") == TWO
    assert TWO.theta_shape == (2, 2, 3)
    older = json.dumps({name: each for name, each in json.loads(TWO.to_json()).items() if name != "warps"})
    assert Contract.from_json(older, source="x") == replace(TWO, warps=1)
    many = TWO.to_json().replace('"warps": 2', f'"warps": {MAX_WARPS + 1}')
    with pytest.raises(ArtifactError, match="damaged contract"):
        Contract.from_json(many, source="x")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"loc": Loc.NONE, "view_hw": None}, "loc none chooses no warps"),
        ({"loc": Loc.IDENTITY, "view_hw": None}, "loc identity chooses no warps"),
        ({"iterations": 2}, "2 warps and 2 iterations"),
    ],
)
def test_what_has_no_several_warps_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        replace(TWO, **changes).check()  # type: ignore[arg-type]


def test_drift_is_that_of_the_warp_that_moved_most() -> None:
    theta = np.stack([first_theta(ThetaForm.AFFINE, 3).numpy()] * 2)
    moved = theta.copy()
    moved[1, 2, 0, 2] += 0.1  # x, by 0.1 of 50 px
    moved[1, 0, 1, 2] -= 0.02
    np.testing.assert_allclose(drift_px(moved, theta, (100, 100)), [0.0, 5.0], atol=1e-5)


def test_follow_is_the_mean_of_what_each_warp_follows() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    pictures = MovedPictures(pixels, TWO)
    weights = rng.normal(size=(2, 6)) / 32**2

    def one(number: int, seen: np.ndarray) -> np.ndarray:
        means = seen.reshape(len(seen), -1).astype(float) @ rng_vector / 255
        return (np.array([1, 0, 0, 0, 1, 0]) + np.outer(means, weights[number])).reshape(-1, 2, 3).astype(np.float32)

    rng_vector = rng.normal(size=32 * 32 * 3)
    both = pictures.follow(lambda seen: np.stack([one(0, seen), one(1, seen)], axis=1), batch=4)
    apart = [pictures.follow(lambda seen, number=number: one(number, seen), batch=4) for number in range(2)]
    for kind in ("rotation", "scale", "shift"):
        slopes = [each[kind]["value"] for each in apart]
        assert both[kind]["value"] == pytest.approx(np.mean(slopes), abs=1e-9)


def test_no_single_pose_is_asked_of_several_warps() -> None:
    theta = np.stack([first_theta(ThetaForm.AFFINE, 2).numpy()] * 3)
    poses = np.tile(np.eye(2, 3, dtype=np.float32), (3, 1, 1))
    assert pose_error(theta, poses, [0, 1, 0], (32, 32)) is None


def test_a_picture_shows_each_outline_and_each_crop() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    theta = first_theta(ThetaForm.AFFINE, 2).numpy()
    sampling = sampling_of(TWO)
    both = crop_image(pixels, theta, sampling)
    np.testing.assert_array_equal(both, np.hstack([crop_image(pixels, each, sampling) for each in theta]))
    picture = np.asarray(draw_warp(pixels, theta, sampling, side=96))
    assert picture.shape == (96, 3 * 96 + 16, 3)
    for each, start in zip(theta, (104, 208), strict=True):
        alone = np.asarray(draw_warp(pixels, each, sampling, side=96))
        np.testing.assert_array_equal(picture[:, start : start + 96], alone[:, 104:])
        x, y = outline_px(each, (SIDE, SIDE))[0, 0].clip(0, SIDE - 1) * 2  # the upper left corner is orange
        assert tuple(picture[round(float(y)), round(float(x)) + 3]) == (255, 149, 0)


def test_models_of_one_warp_are_as_they_were() -> None:
    torch.manual_seed(0)
    model = Classifier(replace(TWO, warps=1))
    head = model.transformer.localizer.head[-1]  # type: ignore[union-attr, index]
    assert head.bias.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert model(torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8))[1].shape == (2, 2, 3)
