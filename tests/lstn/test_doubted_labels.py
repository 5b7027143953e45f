"""Labels that a model doubts: against the definition as a loop, and labels that were changed on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.evaluation.answer import softmax
from lstn.evaluation.doubted_labels import doubted_labels


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 6))
def test_the_definition_as_a_loop(seed: int, images: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 3, (images, classes)).astype(np.float32), random.integers(0, classes, images)
    shares = softmax(logits).astype(np.float64)
    wanted = {}
    for index in range(images):
        best, label = -1.0, -1
        for each in range(classes):
            own = [shares[other, each] for other in range(images) if labels[other] == each]
            if own and shares[index, each] >= np.mean(own) and shares[index, each] > best:
                best, label = shares[index, each], each
        if label not in (-1, labels[index]):
            wanted[index] = label
    found = doubted_labels(logits, labels)
    assert {each.image: each.answer for each in found} == wanted
    doubt = [each.probability - each.of_label for each in found]
    assert doubt == sorted(doubt, reverse=True)
    for each in found:
        assert each.probability == pytest.approx(shares[each.image, each.answer])
        assert each.of_label == pytest.approx(shares[each.image, labels[each.image]])


def test_changed_labels_lead_the_list() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, 500)
    logits = random.normal(0, 1, (500, 5)).astype(np.float32)
    logits[np.arange(500), truth] += 4
    labels = truth.copy()
    changed = random.choice(500, 20, replace=False)
    labels[changed] = (truth[changed] + 1) % 5
    found = [each.image for each in doubted_labels(logits, labels)]
    assert len(found) >= 12
    assert set(found[:12]) <= set(changed.tolist())
