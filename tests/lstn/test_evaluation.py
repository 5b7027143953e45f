import numpy as np
import pytest

from lstn.errors import ArtifactError
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.evaluation.measuring import score
from lstn.evaluation.scores import Scores
from lstn.images import Pixels

COUNT, SIDE = 23, 12
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, COUNT)


class Held:
    """Images in memory, as a split."""

    fingerprint = "held"

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return IMAGES[index], int(LABELS[index])

    def redrawn(self, epoch: int) -> "Held":
        return self


def answer(pixels: Pixels) -> np.ndarray:
    """Logits that no other image has."""
    rows = pixels.reshape(len(pixels), -1).astype(np.float32)
    return (rows @ np.random.default_rng(2).normal(size=(rows.shape[1], 3))).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_every_image_is_disturbed_by_its_own_number_whatever_the_batch(batch: int) -> None:
    wanted = (Disturbance(Kind.SHIFT, 0.3), Disturbance(Kind.ROTATE, 25))
    heard: list[int] = []
    sizes: list[int] = []

    def classify(pixels: Pixels) -> np.ndarray:
        sizes.append(len(pixels))
        return answer(pixels)

    plain, *others = score(classify, Held(), ("a", "b", "c"), wanted, batch=batch, advance=heard.append)
    assert sum(heard) == COUNT
    assert max(sizes) <= batch
    for found, seen in zip(
        (plain, *others),
        (IMAGES, *(np.stack([each.apply(IMAGES[i], i) for i in range(COUNT)]) for each in wanted)),
        strict=True,
    ):
        counts = np.zeros((3, 3), int)
        np.add.at(counts, (LABELS, answer(seen).argmax(1)), 1)
        np.testing.assert_array_equal(found.cells, Scores.of((), counts, 0).cells)


def test_the_first_images_without_an_answer_are_named() -> None:
    def classify(pixels: Pixels) -> np.ndarray:
        logits = answer(pixels)
        logits[(pixels == IMAGES[12]).all((1, 2, 3))] = np.inf
        return logits

    with pytest.raises(ArtifactError, match="first in images 10 to 14"):
        score(classify, Held(), ("a", "b", "c"), (), batch=5, advance=lambda count: None)
