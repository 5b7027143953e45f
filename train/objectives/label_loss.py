"""The loss of a classifier's logits: against the labels, and against a teacher's logits."""

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE, TEACHERS_SHARE = 4.0, 0.9
"""By what a student's and a teacher's logits are divided, and the share of the loss that is the teacher's. Hinton et
al. (2015, section 2) found a considerably lower weight of the labels best."""


def against_labels(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy in nats, a scalar.

    logits:        (N, K) float32
    labels:        (N,) int64, or of mixed images (N, K) float32
    smoothing:     share of each label that goes to all K classes alike
    class_weights: (K,) float32, by which an image of each class counts; the mean is over N, so that batches add up
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    each = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    counts = class_weights[labels] if labels.ndim == 1 else labels @ class_weights
    return (counts * each).mean()


def against_teacher(logits: Tensor, teachers: Tensor) -> Tensor:
    """Return T squared times the divergence KL(teacher, student) of softmax(logits / T), a scalar: both (N, K) float32.

    The square keeps the gradient as large as the labels', whatever T is (Hinton et al. 2015, section 2.1).
    """
    student, wanted = F.log_softmax(logits / TEMPERATURE, 1), F.log_softmax(teachers / TEMPERATURE, 1)
    return TEMPERATURE**2 * F.kl_div(student, wanted, reduction="batchmean", log_target=True)
