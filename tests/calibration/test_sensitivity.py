"""The search for layers to keep, against a brute-force look at every set of layers."""

from itertools import combinations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_models import SIDE, exported_model, exported_once, undecided

from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.sensitivity import _fewest, fewest_to_keep
from lstn.contract import LOGITS, PIXELS, Loc
from lstn.errors import LstnError
from lstn.export.onnx.verify_onnx import sample_images
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.precision import Precision

EQUALLY, THRICE = float("inf"), float("-inf")
"""Moves all logits of an image alike: no noise, since it changes no answer; makes them larger: noise, and no other
answer."""

FREE = ("backbone.features.0", "backbone.features.3", "backbone.classifier.2")


class Answered:
    """Digits, labelled with what the float32 model answers, so that its accuracy is 100 %."""

    fingerprint = "answered"

    def __init__(self, model: onnx.ModelProto) -> None:
        self._images = sample_images("digits", (SIDE, SIDE), seed=0, count=60)
        self._labels = answers(model, self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self._images[index], int(self._labels[index])

    def redrawn(self, epoch: int) -> "Answered":
        return self


def answers(model: onnx.ModelProto, pixels: Pixels) -> np.ndarray:
    return OnnxSession(model.SerializeToString()).run({PIXELS: pixels}, [LOGITS])[0].argmax(1)


class Damage:
    """Lowers a layer by scaling its weights with noise of a known size, and counts how often it is asked to."""

    def __init__(self, model: onnx.ModelProto, sizes: dict[str, float]) -> None:
        self.model, self.sizes, self.asked = model, sizes, 0

    def __call__(self, kept: frozenset[str]) -> onnx.ModelProto:
        self.asked += 1
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        for weight in result.graph.initializer:
            layer, _, part = weight.name.rpartition(".")
            if layer in self.sizes and layer not in kept:
                values = numpy_helper.to_array(weight)
                if self.sizes[layer] == THRICE:
                    weight.CopyFrom(numpy_helper.from_array(3 * values, weight.name))
                    continue
                if part == "bias":
                    continue
                if self.sizes[layer] == EQUALLY:
                    values = values + np.float32(2)
                    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
                    continue
                noise = np.random.default_rng(1).standard_normal(values.shape).astype(np.float32)
                broken = values + self.sizes[layer] * values.std() * noise
                weight.CopyFrom(numpy_helper.from_array(broken.astype(np.float32), weight.name))
        return result


def search(sizes: dict[str, float], max_drop: float):  # noqa: ANN201 - of the function under test
    model = undecided(Loc.LSTN)
    split, damage = Answered(model), Damage(model, sizes)
    always = kept_layers(layer_names(model), ["localizer"])
    outcome = fewest_to_keep(
        model,
        Precision.FP16,
        damage,
        split,
        contract=exported_once(Loc.LSTN, "cnn").contract,
        always=always,
        max_drop=max_drop,
        count=60,
    )

    def drop(kept: frozenset[str]) -> float:
        lowered = damage(always | kept)
        return 100 * float((answers(lowered, split._images) != split._labels).mean())

    return outcome, always, drop


def test_nothing_more_is_kept_when_nothing_is_lost() -> None:
    outcome, always, _ = search(dict.fromkeys(FREE, 1e-6), 0.0)
    assert outcome.kept == always
    assert [step.kept for step in outcome.steps] == [()]


@pytest.mark.parametrize("guilty", FREE)
def test_the_one_layer_that_costs_is_found(guilty: str) -> None:
    outcome, always, drop = search(dict.fromkeys(FREE, 1e-6) | {guilty: 3.0}, 1.0)
    assert drop(frozenset()) > 1.0
    assert outcome.kept - always == {guilty}
    assert next(iter(outcome.noise)) == guilty
    assert outcome.drop == pytest.approx(drop(frozenset({guilty})))


def test_none_of_the_layers_kept_can_be_left_out() -> None:
    sizes = {FREE[0]: 0.6, FREE[1]: 0.5, FREE[2]: 1e-6}
    outcome, always, drop = search(sizes, 2.0)
    kept = outcome.kept - always
    assert drop(kept) <= 2.0
    for layer in kept:
        assert drop(kept - {layer}) > 2.0
    enough = [set(some) for size in range(3) for some in combinations(FREE, size) if drop(frozenset(some)) <= 2.0]
    assert len(kept) <= min(len(some) for some in enough) + 1


def test_a_noisy_layer_that_costs_nothing_is_given_back() -> None:
    sizes = {FREE[0]: 1e-6, FREE[1]: 0.5, FREE[2]: THRICE}
    outcome, always, drop = search(sizes, 1.0)
    assert drop(frozenset({FREE[2]})) > 1.0
    assert next(iter(outcome.noise)) == FREE[2]
    assert outcome.kept - always == {FREE[1]}


def test_what_all_classes_share_is_no_noise() -> None:
    """By how much each logit moves, the classifier would come first."""
    outcome, always, _ = search({FREE[0]: 1e-6, FREE[1]: 3.0, FREE[2]: EQUALLY}, 1.0)
    assert next(iter(outcome.noise)) == FREE[1]
    assert outcome.noise[FREE[2]] < 1e-6
    assert outcome.kept - always == {FREE[1]}


def test_every_step_says_what_it_measured() -> None:
    outcome, always, drop = search({FREE[0]: 0.6, FREE[1]: 0.5, FREE[2]: 0.01}, 2.0)
    assert len({frozenset(step.kept) for step in outcome.steps}) == len(outcome.steps)
    for step in outcome.steps:
        assert step.drop == pytest.approx(drop(frozenset(step.kept)))
    assert set(outcome.noise) == set(layer_names(exported_model(Loc.LSTN))) - always


def test_a_drop_that_cannot_be_kept_is_said() -> None:
    with pytest.raises(LstnError, match="no layer can be lowered to fp16 within 0 points"):
        search(dict.fromkeys(FREE, 5.0), 0.0)


@pytest.mark.parametrize("most", [1, 2, 3, 10, 120])
def test_doubling_and_halving_finds_the_smallest(most: int) -> None:
    for wanted in range(1, most + 1):
        asked: list[int] = []

        def suffices(number: int, wanted: int = wanted, asked: list[int] = asked) -> bool:
            asked.append(number)
            return number >= wanted

        assert _fewest(suffices, most) == wanted
        assert len(asked) <= 2 * most.bit_length()
        assert 0 not in asked
