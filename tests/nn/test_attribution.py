"""Maps of checkpoints: on models trained within seconds, whose objects are known, and against loops."""

import numpy as np
import pytest
import torch
from short_runs import options, run
from small_models import SIDE, warping_model

from lstn.contract import At, Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.errors import UsageError
from lstn.explanation.explaining import Explanation, explain
from lstn.explanation.map_measures import centre_prior, deletion_insertion, energy_inside, points_at
from lstn.explanation.methods import Method
from lstn.explanation.occlusion import window_for
from lstn.images import Pixels
from lstn.nn.attribution.deconvnet import maps_of
from lstn.nn.attribution.exciting import NINE, WantedMaps, crops_of, feature_maps, start_search
from lstn.nn.attribution.explained_checkpoint import explainable
from lstn.nn.attribution.map_layers import last_map_layer, map_layer
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier

EVERY = list(Method)
HW = 32, 32


@pytest.fixture(scope="module", params=[Loc.NONE, Loc.LSTN])
def trained(request: pytest.FixtureRequest, data: str, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Tells a bright spot on the left from one on the right; there is nothing in the middle."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(options(data, loc=request.param, epochs=8), folder)
    return load_checkpoint(folder / "checkpoint.safetensors").model


def spots(data: str) -> list[tuple[Pixels, np.ndarray]]:
    """The test images, each with the pixels of its spot."""
    images = open_data(data, image_hw=HW).test
    return [(images[index][0], (images[index][0] == 255).all(2)) for index in range(len(images))]


def explained(model: Classifier, pixels: Pixels) -> Explanation:
    return explain(explainable(model, EVERY), pixels, EVERY, window_for(HW, 8, 4), batch=64)


def test_maps_point_at_the_object_and_the_answer_goes_with_them(trained: Classifier, data: str) -> None:
    model = explainable(trained, EVERY)
    found: dict[str, list[tuple[float, ...]]] = {}
    for number, (pixels, place) in enumerate(spots(data)):
        rng = np.random.default_rng(number)
        mine = explained(trained, pixels)
        heats = {each.shows: each.heat for each in mine.maps} | {"prior": centre_prior(HW), "random": rng.random(HW)}
        for name, heat in heats.items():
            curves = deletion_insertion(model.answer, pixels, heat, mine.label, fill=(124, 116, 104))
            measured = points_at(heat, place), energy_inside(heat, place), curves.deletion, curves.insertion
            found.setdefault(name, []).append(measured)
    means = {name: np.mean(rows, 0) for name, rows in found.items()}
    for name in ("moves the label", "gradients"):
        assert means[name][0] > means["prior"][0] + 0.8, name
        assert means[name][1] > means["prior"][1] + 0.15, name
        assert means[name][2] < means["random"][2] - 0.2, name
        assert means[name][3] > means["random"][3] + 0.03, name
    assert means["grad-cam"][0] > means["prior"][0] + 0.3, "as coarse as the last maps"
    assert means["grad-cam"][2] < means["random"][2] - 0.1


def test_maps_are_not_the_same_when_the_weights_are_shuffled(trained: Classifier, data: str) -> None:
    """Adebayo et al. 2018: what looks the same whatever the network knows explains nothing."""
    torch.manual_seed(0)
    shuffled = Classifier(trained.contract).eval()
    mixed = {
        name: weight.flatten()[torch.randperm(weight.numel())].reshape(weight.shape)
        for name, weight in trained.state_dict().items()
    }
    shuffled.load_state_dict(mixed)
    heats: list[dict[str, np.ndarray]] = []
    for model in (trained, shuffled):
        found = [explained(model, pixels).maps for pixels, _ in spots(data)[::2]]
        of_method = zip(*found, strict=True)
        heats.append({maps[0].shows: np.concatenate([each.heat.ravel() for each in maps]) for maps in of_method})
    before, after = heats
    assert before.keys() == after.keys()
    for name, heat in before.items():
        assert np.ptp(heat) > 0, name
        if np.ptp(after[name]) > 0:
            assert np.corrcoef(heat, after[name])[0, 1] < 0.8, name


def test_integrated_gradients_add_up_to_what_the_crop_changes() -> None:
    """Completeness (their section 3): without the absolute value, which is for the picture."""
    from captum.attr import IntegratedGradients

    model, _ = warping_model(Loc.STN)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    crop = crops_of(model, pixels[None])
    (heat,) = explainable(model, EVERY).crop_maps[Method.GRADIENTS](pixels, 3)
    signed = IntegratedGradients(model.classify).attribute(crop, target=3, n_steps=32)
    assert heat == pytest.approx(signed.abs().sum(1)[0].numpy(), rel=1e-3, abs=1e-6)
    with torch.no_grad():
        change = float(model.classify(crop)[0, 3] - model.classify(torch.zeros_like(crop))[0, 3])
    assert float(signed.sum()) == pytest.approx(change, abs=0.02 * abs(change) + 0.01)


@pytest.mark.parametrize("backbone", ["cnn", "vgg-11", "resnet-18", "densenet-121", "googlenet", "effnet-b0"])
def test_grad_cam_is_its_formula(backbone: str) -> None:
    """The ReLU of the maps, each weighted by the mean gradient of the label's logit."""
    model, _ = warping_model(Loc.NONE, backbone)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    _, layer = last_map_layer(model)
    kept: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _given, made: kept.append(made))
    logits = model.classify(crops_of(model, pixels[None]).requires_grad_())
    hook.remove()
    (slopes,) = torch.autograd.grad(logits[0, 1], kept[0])
    wanted = torch.relu((slopes.mean((2, 3), keepdim=True) * kept[0]).sum(1))[0].detach().numpy()
    (found,) = explainable(model, EVERY).crop_maps[Method.GRAD_CAM](pixels, 1)
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5 * max(1.0, float(wanted.max())))


@pytest.mark.parametrize(
    ("loc", "changes"),
    [
        (Loc.STN, {"crop": 24}),
        (Loc.LSTN, {"at": At.STEM}),
        (Loc.STN, {"theta": ThetaForm.TPS}),
        (Loc.STN, {"theta": ThetaForm.POLAR}),
        (Loc.STN, {"theta": ThetaForm.PROJECTIVE}),
        (Loc.STN, {"warps": 3, "crop": 24}),
    ],
    ids=str,
)
def test_every_kind_of_warp_is_explained(loc: Loc, changes: dict[str, object]) -> None:
    model, _ = warping_model(loc, **changes)  # type: ignore[arg-type]
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = explain(explainable(model, EVERY), pixels, EVERY, window_for((SIDE, SIDE), 12, 12), batch=16)
    assert [each.shows for each in found.maps] == ["moves the label", "moves the warp", "grad-cam", "gradients"]
    assert all(each.heat.shape == (SIDE, SIDE) and np.isfinite(each.heat).all() for each in found.maps)


def test_a_map_without_anything_says_so(trained: Classifier, data: str) -> None:
    """A network may know one class by the absence of the other, and then its last maps speak for nothing."""
    said = set()
    for pixels, _ in spots(data):
        cam = next(each for each in explained(trained, pixels).maps if each.shows == "grad-cam")
        assert cam.largest == ("" if cam.heat.any() else "nothing")
        said.add(cam.largest)
    assert "" in said


@pytest.mark.parametrize("warps", [1, 3])
def test_the_nine_images_of_each_map_are_those_that_excite_it_most(warps: int) -> None:
    model, _ = warping_model(Loc.STN, warps=warps)
    images = np.random.default_rng(2).integers(0, 256, (25, SIDE, SIDE, 3), dtype=np.uint8)
    found = start_search(model, WantedMaps.of("features.3"))
    for first in range(0, 25, 7):
        found.add(list(range(first, min(first + 7, 25))), images[first : first + 7])
    layer, (channels, height, width) = map_layer(model, "features.3")
    assert (channels, found.maps) == (32, list(range(32)))
    with torch.no_grad():
        crops = crops_of(model, images)
        maps = maps_of(model.classify, layer, crops).numpy().reshape(25, warps, channels, height, width)
    for channel in range(channels):
        strongest = maps[:, :, channel].reshape(25, -1).max(1)
        wanted = sorted(range(25), key=lambda image, strongest=strongest: -strongest[image])[:NINE]
        assert found.images[channel].tolist() == wanted
        for image, value, place in zip(wanted, found.values[channel], found.places[channel], strict=True):
            crop, row, column = np.unravel_index(int(place), (warps, height, width))
            assert maps[image, crop, channel, row, column] == pytest.approx(value, abs=1e-5)
    feature = feature_maps(found, images.__getitem__, batch=8, advance=lambda _: None)[4]
    patch = feature.patches[0]
    crop, row, column = np.unravel_index(int(found.places[4, 0]), (warps, height, width))
    down, across = found.seen((int(row), int(column)))
    crop_seen = crops.reshape(25, warps, 3, SIDE, SIDE)[patch.image, crop][:, down, across]
    shown = ((crop_seen - model.shift) / model.scale).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert (patch.pixels == shown).all()


def test_a_patch_is_what_its_place_sees() -> None:
    model, _ = warping_model(Loc.NONE)
    images = np.random.default_rng(3).integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)
    found = start_search(model, WantedMaps.of("features.0:5"))
    found.add(range(12), images)
    heard: list[int] = []
    (feature,) = feature_maps(found, images.__getitem__, batch=4, advance=heard.append)
    assert (feature.number, len(feature.patches), sum(heard)) == (5, NINE, NINE)
    for patch, place in zip(feature.patches, found.places[0], strict=True):
        row, column = divmod(int(place), SIDE)
        seen = images[patch.image][max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        assert (patch.pixels == seen).all()
        assert patch.signal.shape == seen.shape
    weight = model.backbone.features[0].weight[5].detach().permute(1, 2, 0).numpy()
    inner = next(patch for patch in feature.patches if patch.signal.shape == (5, 5, 3))
    assert inner.signal == pytest.approx(inner.value * weight, rel=1e-3, abs=1e-5), "the filter itself"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("features.9", "--features features.9: is not a layer of it"),
        ("classifier.2", "--features classifier.2: makes no feature maps"),
        ("features.3:32", "this layer has 32 feature maps"),
        ("features.3:x", "expected LAYER or LAYER:MAP"),
        ("features.3:", "expected LAYER or LAYER:MAP"),
        ("", "is not a layer of it"),
    ],
)
def test_a_layer_or_a_map_that_is_not_there_is_refused(text: str, said: str) -> None:
    model, _ = warping_model(Loc.NONE)
    with pytest.raises(UsageError, match=said) as found:
        start_search(model, WantedMaps.of(text))
    assert "features" in found.value.message + found.value.hint


def test_feature_maps_of_a_transformer_at_the_stem_are_refused() -> None:
    model, _ = warping_model(Loc.LSTN, at=At.STEM)
    with pytest.raises(UsageError, match="warps feature maps"):
        start_search(model, WantedMaps.of("features.3"))
