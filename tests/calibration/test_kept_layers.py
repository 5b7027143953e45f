import pytest
from small_models import exported_model

from lstn.calibration.kept_layers import kept_layers, layer_names, lowered_nodes
from lstn.contract import Loc
from lstn.errors import ArtifactError, UsageError
from lstn.formats.node_names import ModelPart, part_of

HEAD_LAYERS = {"localizer.head.1", "localizer.head.3"}


def test_layers_are_those_with_weights_in_order() -> None:
    names = layer_names(exported_model(Loc.STN))
    assert names[:2] == ("localizer.features.0", "localizer.features.3")
    assert names[-3:] == ("backbone.features.0", "backbone.features.3", "backbone.classifier.2")


def test_the_head_is_kept_whatever_is_asked_for() -> None:
    model = exported_model(Loc.LSTN)
    assert kept_layers(layer_names(model), []) == HEAD_LAYERS
    assert kept_layers(layer_names(model), ["head"]) == HEAD_LAYERS
    assert kept_layers(layer_names(model), ["backbone.features.0"]) == {*HEAD_LAYERS, "backbone.features.0"}
    whole = kept_layers(layer_names(model), ["localizer"])
    assert whole == {name for name in layer_names(model) if part_of(name) is ModelPart.LOCALIZER}


def test_a_module_stands_for_its_layers_and_not_for_what_begins_alike() -> None:
    model = exported_model(Loc.NONE, "resnet-18")
    kept = kept_layers(layer_names(model), ["backbone.layer1"])
    assert kept == {f"backbone.layer1.{block}.conv{number}" for block in (0, 1) for number in (1, 2)}
    with pytest.raises(UsageError):
        kept_layers(layer_names(model), ["backbone.layer"])


def test_a_model_without_a_localizer_keeps_none() -> None:
    assert kept_layers(layer_names(exported_model(Loc.NONE)), ["localizer"]) == frozenset()


def test_an_unknown_layer_is_refused_with_what_comes_near() -> None:
    with pytest.raises(UsageError, match=r"'backbone\.features\.1'") as caught:
        kept_layers(layer_names(exported_model(Loc.LSTN)), ["backbone.features.1"])
    assert "backbone.features.0" in caught.value.hint


def test_a_kept_part_is_kept_whole_and_a_kept_layer_takes_nothing_with_it() -> None:
    model = exported_model(Loc.LSTN)
    parts = {part_of(name) for name in lowered_nodes(model, kept_layers(layer_names(model), ["localizer"]))}
    assert parts == {ModelPart.BACKBONE}
    lowered = lowered_nodes(model, kept_layers(layer_names(model), ["localizer", "backbone.features.0"]))
    assert "backbone.features.0/Conv" not in lowered
    assert {"backbone.features.1/Relu", "backbone.features.3/Conv"} <= set(lowered)
    with_localizer = lowered_nodes(model, kept_layers(layer_names(model), ["head"]))
    assert "localizer.features.0/Conv" in with_localizer
    assert not [name for name in with_localizer if name.startswith("localizer.head") or name == "localizer/Reshape"]


def test_a_model_with_other_names_is_refused() -> None:
    model = exported_model(Loc.LSTN)
    model.graph.node[5].name = "node_Conv_5"
    with pytest.raises(ArtifactError, match="where they belong"):
        layer_names(model)
