"""The loss of a model that tags, against torch's own operator and loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from objects_in_memory import ObjectsInMemory
from short_runs import CPU, options

from lstn.contract import Contract, Loc, Task
from lstn.data.objects import Objects
from lstn.data.splits import spaced
from lstn.nn.classifier import Classifier
from lstn.tagging.tag_scores import TagScores
from lstn.train.batches.loading import NOBODY, ImageBatch, Images
from lstn.train.computing.distributed import ALONE
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.classifier_objective import forward, of_theta
from lstn.train.objectives.tagger_objective import TaggerObjective, fitted_thresholds, labels_in
from lstn.train.watch.probe import Probe

LABELS = ("a", "b", "c", "d")
SIDE = 32


def batch_of(rows: list[list[int]]) -> ImageBatch:
    most = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
    labels = torch.full((len(rows), most), NOBODY)
    for place, each in enumerate(rows):
        labels[place, : len(each)] = torch.tensor(each, dtype=torch.int64)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (len(rows), SIDE, SIDE, 3), np.uint8))
    return ImageBatch(pixels, labels[:, 0], objects=(labels, torch.full((len(rows), most, 2, 3), torch.nan)))


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=8))
def test_an_image_has_the_labels_of_its_objects_once_each(rows: list[list[int]]) -> None:
    found = labels_in(batch_of(rows), len(LABELS))
    assert found.tolist() == [[float(label in each) for label in range(len(LABELS))] for each in rows]


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(Contract(Loc.STN, "cnn", (SIDE, SIDE), LABELS, task=Task.TAG))


@pytest.mark.parametrize("in_frame", [0.0, 0.5])
def test_a_step_is_down_the_binary_cross_entropy(model: Classifier, in_frame: float) -> None:
    asked = options("folder:x", task=Task.TAG, loc=Loc.STN, image_size=SIDE, in_frame=in_frame)
    batch, objective = batch_of([[0, 2], [], [3, 3, 1], [1]]), TaggerObjective()
    torch.nn.init.normal_(model.transformer.localizer.head[-1].weight, std=0.1)  # type: ignore[union-attr,arg-type]
    model.eval()
    found = objective.loss(objective.network(model, asked, compiled=False), batch, asked, 4, ALONE)
    logits, theta = model(batch.pixels)
    wanted = F.binary_cross_entropy_with_logits(logits, labels_in(batch, len(LABELS)))
    torch.testing.assert_close(found.told, wanted)
    torch.testing.assert_close(found.loss, wanted + of_theta(asked.recipe, batch, theta, None))
    right = ((logits > 0) == labels_in(batch, len(LABELS)).bool()).double().mean()
    torch.testing.assert_close(found.right, right)


def labelled_split(count: int = 50) -> ObjectsInMemory:
    random = np.random.default_rng(1)
    known = [np.flatnonzero(random.random(len(LABELS)) < 0.4) for _ in range(count)]
    pixels = random.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return ObjectsInMemory(
        pixels, tuple(Objects(each, np.full((len(each), 2, 3), np.nan, np.float32)) for each in known)
    )


def truth_in(split: ObjectsInMemory) -> torch.Tensor:
    return torch.tensor([[label in each.labels for label in range(len(LABELS))] for each in split.known])


@torch.no_grad()
def test_the_transformer_is_watched_by_the_labels_that_are_right(model: Classifier) -> None:
    split, transformer = labelled_split(), model.transformer
    assert transformer is not None
    torch.nn.init.normal_(transformer.localizer.head[-1].weight, std=0.3)  # type: ignore[index,union-attr,arg-type]
    torch.nn.init.normal_(model.backbone.classifier[-1].weight, std=3.0)  # type: ignore[index,union-attr,arg-type]
    seen = Probe(split, model.contract, training_images=300, batch_size=8).examine(model)
    chosen = spaced(len(split), seen["images"])
    truth, images = truth_in(split)[chosen], model.normalise(torch.from_numpy(split.pixels[chosen]))
    theta = transformer.localize(images)
    identity = torch.eye(2, 3).expand_as(theta)
    for name, used in (("accuracy", theta), ("accuracy_identity", identity)):
        right = (model.classify(transformer.warp(images, used)) >= 0) == truth
        assert seen[name] == pytest.approx(float(right.double().mean()), abs=0.01)  # type: ignore[literal-required]
    assert seen["pose"] is None
    assert 0 < (seen["gradient_share"] or 0) < 1


def test_a_split_is_measured_as_torch_does(model: Classifier) -> None:
    split = labelled_split()
    images, at = Images(split, with_objects=True), Workplace("runs", CPU, 0, ALONE)  # type: ignore[arg-type]
    found = TaggerObjective().measure(model, images, 16, at)
    with torch.no_grad():
        logits = forward(model.eval(), torch.from_numpy(split.pixels), "fp32")
    truth = truth_in(split)
    assert found.loss == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, truth.float())), rel=1e-5)
    assert isinstance(found.scores, TagScores)
    assert found.accuracy == found.scores.mean_average_precision
    assert [each.images for each in found.scores.labels] == truth.sum(0).tolist()
    assert [each.given for each in found.scores.labels] == (logits >= 0).sum(0).tolist()
    assert len(fitted_thresholds(model, images, 16, at)) == len(LABELS)
