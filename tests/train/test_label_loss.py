"""The loss of logits, against torch's own and against the equations of Hinton et al. (2015)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lstn.train.objectives.label_loss import TEMPERATURE, against_labels, against_teacher

SEEDS = st.integers(0, 99)


def logits_and_labels(seed: int, images: int = 7, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(images, classes, generator=generator), torch.randint(classes, (images,), generator=generator)


@given(seed=SEEDS, smoothing=st.floats(0, 0.9))
def test_smoothing_is_cross_entropy_with_mixed_targets(seed: int, smoothing: float) -> None:
    """Szegedy et al. 2016, section 7: (1 - e) of the label, and e / K of each class."""
    logits, labels = logits_and_labels(seed)
    targets = (1 - smoothing) * F.one_hot(labels, 5) + smoothing / 5
    wanted = -(targets * torch.log_softmax(logits, 1)).sum(1).mean()
    assert float(against_labels(logits, labels, smoothing=smoothing)) == pytest.approx(float(wanted), rel=1e-5)


@given(seed=SEEDS)
def test_weights_are_torchs_but_for_the_mean(seed: int) -> None:
    """torch divides by the weights of a batch, so that batches would not add up."""
    logits, labels = logits_and_labels(seed)
    weights = torch.rand(5) + 0.1
    found = against_labels(logits, labels, class_weights=weights)
    wanted = F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


@given(seed=SEEDS)
def test_the_teachers_loss_is_the_divergence_at_its_temperature(seed: int) -> None:
    student, _ = logits_and_labels(seed)
    teacher, _ = logits_and_labels(seed + 1000)
    found = float(against_teacher(student, teacher))
    each = [np.exp(logits.double().numpy() / TEMPERATURE) for logits in (teacher, student)]
    p, q = (values / values.sum(1, keepdims=True) for values in each)
    wanted = TEMPERATURE**2 * np.mean(np.sum(p * np.log(p / q), axis=1))
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert float(against_teacher(teacher, teacher)) == pytest.approx(0, abs=1e-5)


def test_its_gradient_is_that_of_the_paper() -> None:
    """Equation 2: T squared times the mean of (q - p) / T."""
    student, _ = logits_and_labels(1)
    teacher, _ = logits_and_labels(2)
    against_teacher(student.requires_grad_(), teacher).backward()  # type: ignore[no-untyped-call]
    q, p = (torch.softmax(logits.detach() / TEMPERATURE, 1) for logits in (student, teacher))
    assert student.grad is not None
    torch.testing.assert_close(student.grad, TEMPERATURE * (q - p) / len(student))
