"""How new backbones start: against what the words say, for every backbone."""

import math

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from lstn.contract import Contract, Loc
from lstn.nn.backbones import BACKBONES, backbone_named
from lstn.nn.classifier import Classifier
from lstn.nn.shapes import shapes_only
from lstn.nn.sources.starts import classifiers_of, scale_dropout, start_weights
from lstn.recipe import RECIPES
from lstn.train.choices.recipe_changes import RecipeChanges, recipe_for
from lstn.train.optimizer import dropout_share

SMALL = ("cnn", "effnet-b0", "paper-effnet-b0", "resnet-18", "densenet-121", "googlenet", "zfnet")


@pytest.mark.parametrize("name", SMALL)
def test_every_class_is_equally_likely_at_first(name: str) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[name].factory(7)
    start_weights(backbone, 0)
    logits = backbone.train()(torch.randn(4, 3, 64, 64))
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 5, 6]))
    assert float(loss.detach()) == pytest.approx(math.log(7), abs=1e-6)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_classifier_is_the_layer_with_as_many_outputs_as_classes(name: str) -> None:
    with shapes_only():
        backbone = BACKBONES[name].factory(7)
    assert [key for key, layer in backbone.named_modules() if getattr(layer, "out_features", 0) == 7] == list(
        classifiers_of(backbone)
    )


@pytest.mark.parametrize("name", ["cnn", "zfnet", "vgg-a-lrn"])
def test_without_batchnorm_the_signal_keeps_its_size(name: str) -> None:
    """He et al. 2015: with ReLU behind it a layer's weights have the variance 2 / fan-in."""
    torch.manual_seed(0)
    backbone = BACKBONES[name].factory(7)
    start_weights(backbone, 0)
    layers = [(key, each) for key, each in backbone.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    for key, layer in layers[:-1]:
        weight = layer.weight.detach()
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / weight[0].numel()), rel=0.1), key
        assert layer.bias is not None
        assert not layer.bias.any()


def test_with_batchnorm_only_the_classifier_changes() -> None:
    torch.manual_seed(0)
    backbone = BACKBONES["resnet-18"].factory(7)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    start_weights(backbone, 0)
    assert [key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])] == [
        "fc.weight",
        "fc.bias",
    ]


def test_a_backbone_starts_alike_whatever_stands_before_it() -> None:
    started = []
    for loc in (Loc.NONE, Loc.STN, Loc.LSTN):
        torch.manual_seed(3)
        model = Classifier(Contract(loc, "cnn", (32, 32), ("a", "b")))
        torch.randn(5)
        start_weights(model.backbone, 3)
        started.append(model.backbone.state_dict())
    for other in started[1:]:
        assert all(torch.equal(tensor, other[key]) for key, tensor in started[0].items())


@pytest.mark.parametrize(("images", "share"), [(50_000, 0.05), (1_000_000, 1.0), (9_000_000, 1.0)])
def test_short_trainings_use_a_share_of_the_published_dropout(images: int, share: float) -> None:
    with shapes_only():
        published, scaled = (BACKBONES["effnet-b0"].factory(7) for _ in range(2))
    scale_dropout(scaled, dropout_share(RECIPES["robust"], images))
    pairs = [
        (one.p, other.p)
        for one, other in zip(published.modules(), scaled.modules(), strict=True)
        if isinstance(one, nn.Dropout | StochasticDepth)
    ]
    assert len(pairs) > 10
    assert all(other == pytest.approx(share * one) for one, other in pairs)
    assert dropout_share(RECIPES["paper"], 10) == 1


def test_networks_without_batchnorm_have_rates_of_their_own() -> None:
    assert recipe_for("robust", "effnet-b0").lr == RECIPES["robust"].lr
    assert recipe_for("robust", "vgg-11").lr == pytest.approx(RECIPES["robust"].lr / 5)
    assert recipe_for("paper", "vgg-11") == RECIPES["paper"]
    with shapes_only():
        for name, entry in BACKBONES.items():
            norms = any(isinstance(each, nn.BatchNorm2d) for each in entry.factory(2).modules())
            assert (entry.rate == 1) == norms, name


def test_networks_of_wide_layers_take_larger_batches_of_small_images() -> None:
    usual = RECIPES["robust"].batch_size
    assert recipe_for("robust", "vgg-11", seen_hw=(96, 96)).batch_size == 2 * usual
    assert recipe_for("robust", "vgg-11", seen_hw=(96, 97)).batch_size == usual
    assert recipe_for("robust", "effnet-b0", seen_hw=(44, 44)).batch_size == usual
    assert recipe_for("robust", "vgg-11", RecipeChanges(batch_size=8), (44, 44)).batch_size == 8
    assert recipe_for("paper", "vgg-11", seen_hw=(44, 44)) == RECIPES["paper"]
    names = (*BACKBONES, "vgg16_bn", "alexnet", "resnet18", "mobilenet_v3_large", "convnext_tiny")
    wide = [name for name in names if backbone_named(name).wide]
    assert wide == [name for name in names if name.startswith("vgg")]
    with shapes_only():
        for name in wide:
            network = backbone_named(name).factory(10)
            linear = sorted(each.weight.numel() for each in network.modules() if isinstance(each, nn.Linear))
            assert sum(linear[-2:]) > sum(each.numel() for each in network.parameters()) / 2, name
