"""Transformers that aren't the paper's: shared layers, several looks, a later feature map, and the controls."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from short_runs import CPU, SILENT, assert_same_weights, options, run, weights_of
from small_models import warping_model
from torch import nn
from torch._dynamo.utils import counters

from lstn.contract import At, Contract, Loc, ThetaForm
from lstn.errors import DeviceError, UsageError
from lstn.nn.checkpoint import CHECKPOINT
from lstn.nn.classifier import Classifier
from lstn.nn.warping.localizers import shared_features, stn_features
from lstn.nn.warping.transformer import Transformer, compose
from lstn.train.loop import train_to_end
from lstn.train.runs.run_state import LAST

IDENTITY = torch.eye(2, 3)[None]


def pixels_of(side: int, count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def torch_warp(maps: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(maps, F.affine_grid(theta, list(maps.shape), align_corners=False), align_corners=False)


def matrix(theta: torch.Tensor) -> torch.Tensor:
    return torch.cat([theta, torch.tensor([[[0.0, 0, 1]]]).to(theta).expand(len(theta), 1, 3)], dim=1)


def test_composed_is_one_matrix_after_the_other() -> None:
    outer, inner = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(compose(outer, inner), (matrix(outer) @ matrix(inner))[:, :2])


def test_composed_warps_as_one_warp_after_the_other() -> None:
    """A zoom onto a quarter of a smooth image, and then a shift in it."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 64), torch.linspace(0, 2, 64), indexing="ij")
    image = torch.stack([rows.sin(), columns.cos(), rows * columns])[None]
    zoom = torch.tensor([[[0.4, 0.1, 0.2], [-0.1, 0.4, 0.1]]])
    shift = torch.tensor([[[1.0, 0, 0.1], [0, 1, -0.2]]])
    twice = torch_warp(torch_warp(image, zoom), shift)
    once = torch_warp(image, compose(zoom, shift))
    torch.testing.assert_close(once[..., 14:-14, 14:-14], twice[..., 14:-14, 14:-14], rtol=0, atol=2e-3)


class Follow(nn.Module):
    """Looks for the brightest column of what it sees, and says how far from the middle it is, in half sides."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        column = images.mean(dim=(1, 2)).argmax(dim=1)
        theta = IDENTITY.repeat(len(images), 1, 1)
        theta[:, 0, 2] = ((2 * column + 1) / images.shape[3] - 1) / 2  # half of the way
        return theta


def test_each_look_sees_what_the_last_one_chose() -> None:
    """A localizer that goes half of the way each time: after three looks an eighth is left."""
    images = torch.zeros(1, 1, 64, 64)
    images[..., 48] = 1
    far = (2 * 48 + 1) / 64 - 1
    for looks in (1, 2, 3):
        theta = Transformer(Follow(), (64, 64), looks).localize(images)
        left = far - float(theta[0, 0, 2])
        assert left == pytest.approx(far / 2**looks, abs=1.5 / 64)


def gradients(logits: torch.Tensor, model: Classifier) -> list[torch.Tensor]:
    """Of a loss to every weight, in float64: what differs is what is computed, and not how it is rounded."""
    return list(torch.autograd.grad(F.cross_entropy(logits, torch.tensor([0, 1, 2])), list(model.parameters())))


def test_three_looks_by_hand() -> None:
    """Also backwards: a look is learned from through what later looks saw of it."""
    model, _contract = warping_model(Loc.STN, iterations=3)
    pixels = pixels_of(48)
    images = model.double().normalise(pixels).double()
    localizer = model.transformer.localizer  # type: ignore[union-attr]
    theta = localizer(images)
    for _ in range(2):
        theta = (matrix(theta) @ matrix(localizer(torch_warp(images, theta))))[:, :2]
    wanted = model.backbone(torch_warp(images, theta))
    logits, found = model(pixels)
    torch.testing.assert_close(found, theta)
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(gradients(logits, model), gradients(wanted, model))


def test_at_the_stem_feature_maps_are_warped() -> None:
    """And what made them learns from both of their uses."""
    model, _contract = warping_model(Loc.STN, at=At.STEM)
    features, classifier = model.double().backbone.features, model.backbone.classifier
    pixels = pixels_of(48)
    maps = features[:3](model.normalise(pixels).double())
    theta = model.transformer.localizer(maps)  # type: ignore[union-attr]
    wanted = classifier(features[3:](torch_warp(maps, theta)))
    logits, found = model(pixels)
    assert model.transformer.localizer.features[0].in_channels == maps.shape[1] == 16  # type: ignore[union-attr]
    torch.testing.assert_close(found, theta)
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(gradients(logits, model), gradients(wanted, model))


def test_a_shared_localizer_looks_through_the_backbones_first_layers_and_the_image_is_warped() -> None:
    model, _contract = warping_model(Loc.SHARED)
    pixels = pixels_of(48)
    images = model.normalise(pixels)
    with torch.no_grad():
        theta = model.transformer.localizer(model.backbone.features[:3](images))  # type: ignore[union-attr]
        logits, found = model(pixels)
        torch.testing.assert_close(found, theta)
        torch.testing.assert_close(logits, model.backbone(torch_warp(images, theta)), rtol=1e-3, atol=1e-4)


def test_behind_shared_layers_stands_the_second_half_of_an_stn() -> None:
    half, stn = shared_features(8), stn_features(3)
    assert [str(layer) for layer in half] == [str(layer) for layer in stn[3:]]


def test_shared_layers_learn_from_both_uses() -> None:
    """Their gradient is that of the classifier's use and of the localizer's."""
    model, _contract = warping_model(Loc.SHARED)
    pixels, labels = pixels_of(48), torch.tensor([0, 1, 2])
    first = model.backbone.features[0].weight

    def gradient(frames: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(model.classify(model.transformer.warp(frames, theta)), labels)  # type: ignore[union-attr]
        return torch.autograd.grad(loss, first)[0]

    images = model.normalise(pixels)
    theta = model.transformer.localize(images, model.look)  # type: ignore[union-attr]
    whole = gradient(images, theta)
    by_classifier = gradient(images, theta.detach())
    assert (whole - by_classifier).abs().max() > 1e-4 * whole.abs().max()


@pytest.mark.parametrize("at", [At.INPUT, At.STEM])
@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN, Loc.SHARED])
@pytest.mark.parametrize("backbone", ["cnn", "resnet-18"])
def test_a_new_model_of_any_kind_warps_by_the_identity(backbone: str, loc: Loc, at: At) -> None:
    model = Classifier(Contract(loc, backbone, (96, 96), ("a", "b"), iterations=2, at=at)).eval()
    logits, theta = model(pixels_of(96))
    torch.testing.assert_close(theta, IDENTITY.expand(3, 2, 3))
    plain = model.backbone(model.normalise(pixels_of(96)))
    torch.testing.assert_close(logits, plain, rtol=1e-3, atol=1e-4)


def test_the_backbone_starts_alike_whatever_the_localizer() -> None:
    def start(loc: Loc, at: At = At.INPUT) -> dict[str, torch.Tensor]:
        torch.manual_seed(7)
        return Classifier(Contract(loc, "cnn", (48, 48), ("a", "b"), at=at)).backbone.state_dict()

    wanted = start(Loc.NONE)
    for found in (*(start(loc) for loc in Loc), start(Loc.LSTN, At.STEM)):
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_dead_drops_what_it_warped() -> None:
    """The bug of the paper's code: whatever theta is, the backbone sees the image."""
    model, _contract = warping_model(Loc.DEAD)
    pixels = pixels_of(48)
    with torch.no_grad():
        logits, theta = model(pixels)
        assert (theta - IDENTITY).abs().max() > 0.1
        assert torch.equal(logits, model.backbone(model.normalise(pixels)))
    assert not any(weight.requires_grad for weight in model.transformer.parameters())  # type: ignore[union-attr]
    lstn, _contract = warping_model(Loc.LSTN)
    assert str(model.transformer.localizer) == str(lstn.transformer.localizer)  # type: ignore[union-attr]


def test_identity_has_nothing_to_learn() -> None:
    model = Classifier(Contract(Loc.IDENTITY, "cnn", (48, 48), ("a", "b"))).eval()
    assert not model.transformer.state_dict()  # type: ignore[union-attr]
    pixels = pixels_of(48)
    with torch.no_grad():
        logits, theta = model(pixels)
        assert torch.equal(theta, IDENTITY.expand(3, 2, 3))
        torch.testing.assert_close(logits, model.backbone(model.normalise(pixels)), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize(
    "changes",
    [
        {"loc": Loc.SHARED},
        {"loc": Loc.STN, "iterations": 2},
        {"loc": Loc.LSTN, "at": At.STEM, "image_size": 48},
        {"loc": Loc.IDENTITY},
        {"loc": Loc.DEAD},
    ],
    ids=["shared", "iterations", "stem", "identity", "dead"],
)
def test_each_trains_and_its_checkpoint_is_read_back(changes: dict[str, object], tmp_path: Path) -> None:
    result = run(options("digits", epochs=1, **changes), tmp_path / "run")
    transformer = result.model.transformer
    assert transformer is not None
    for name in ("iterations", "at"):
        if name in changes:
            assert getattr(Contract.from_json(_contract_of(result.checkpoint), source="test"), name) == changes[name]
    if changes["loc"] is Loc.DEAD:
        assert result.history[0]["transformer"]["gradient_share"] == 0
    elif changes["loc"] is Loc.IDENTITY:
        assert "transformer" not in result.history[0]
    else:
        assert result.history[0]["transformer"]["spread_px"] > 0
        assert any(weight.any() for weight in transformer.localizer.get_submodule("head.3").weight)


@pytest.mark.parametrize("changes", [{"iterations": 2}, {"at": At.STEM}, {"theta": ThetaForm.CROP}])
@pytest.mark.parametrize("loc", [Loc.NONE, Loc.IDENTITY])
def test_without_a_localizer_there_is_nothing_to_place(loc: Loc, changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"loc {loc.value} has no localizer"):
        run(options("digits", loc=loc, **changes), tmp_path / "run")


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("changes", [{}, {"loc": Loc.SHARED, "at": At.STEM, "iterations": 2, "image_size": 48}])
def test_compiled_it_trains_the_same(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tracer and without the code generator, which takes a minute; twice, for the last batch is smaller."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    given = options("digits", epochs=2, batch_size=100, **changes)
    torch.compiler.reset()
    counters.clear()
    train_to_end(given, tmp_path / "one", device=CPU, workers=0, watcher=SILENT, resume=False, compiled=True)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    run(given, tmp_path / "other")
    for name in (LAST, CHECKPOINT):
        assert_same_weights(weights_of(tmp_path / "one", name), weights_of(tmp_path / "other", name))


def test_without_a_compiler_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DeviceError, match=r"--compile needs a C\+\+ compiler"):
        train_to_end(
            options("digits"), tmp_path / "run", device=CPU, workers=0, watcher=SILENT, resume=False, compiled=True
        )
    assert not (tmp_path / "run").exists()


def test_maps_too_small_for_a_localizer_are_refused() -> None:
    with pytest.raises(UsageError, match="feature maps of resnet-18 of 8 x 8 pixels are too small for localizer lstn"):
        Classifier(Contract(Loc.LSTN, "resnet-18", (32, 32), ("a", "b"), at=At.STEM))


def _contract_of(checkpoint: Path) -> str:
    from lstn.contract import METADATA_KEY
    from lstn.nn.checkpoint import read_tensors

    return read_tensors(checkpoint)[1][METADATA_KEY]
