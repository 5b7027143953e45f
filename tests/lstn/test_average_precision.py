"""Average precision, against pycocotools by its own way in, and against cases done by hand."""

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from lstn.data.objects import Objects, no_objects
from lstn.data.poses import pose_from_box
from lstn.detection.average_precision import AveragePrecision, average_precision
from lstn.detection.suppression import Detection
from lstn.errors import MissingExtra
from lstn.warps.warp import Theta

LABELS = ("bus", "car", "ship")
HW = (300, 400)


def theta(x: float, y: float, wide: float, high: float, degrees: float = 0.0) -> Theta:
    return pose_from_box((x, y), (wide, high), degrees, HW).theta


def there(*rows: tuple[int, Theta]) -> Objects:
    if not rows:
        return no_objects()
    return Objects(np.array([label for label, _ in rows], np.int64), np.stack([each for _, each in rows]))


def judged(truths: list[Objects], found: list[list[Detection]], *, turned: bool = False) -> AveragePrecision:
    return average_precision(truths, found, LABELS, HW, turned=turned)


@pytest.mark.parametrize("turned", [False, True])
def test_perfect_answers_are_perfect(turned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    bus, car = theta(100, 100, 20, 20), theta(200, 150, 120, 100, 30)
    found = [[Detection("bus", 0.9, bus), Detection("car", 0.8, car)], []]
    scores = judged([there((0, bus), (1, car)), there()], found, turned=turned)
    assert (scores.ap, scores.ap50, scores.ap75) == pytest.approx((1, 1, 1))
    assert (scores.small, scores.medium, scores.large) == (pytest.approx(1), None, pytest.approx(1))
    assert [(each.label, each.objects, each.ap) for each in scores.classes] == [
        ("bus", 1, pytest.approx(1)),
        ("car", 1, pytest.approx(1)),
        ("ship", 0, None),
    ]
    assert scores.curve == pytest.approx((1.0,) * 101)
    assert capsys.readouterr().out == ""


def test_precision_is_that_of_a_case_done_by_hand() -> None:
    """Two buses in two images; found are a hit, a miss and a hit: precision 1 up to recall 1/2, then 2/3."""
    one, other = theta(100, 100, 60, 60), theta(250, 100, 60, 60)
    found = [
        [Detection("bus", 0.9, one), Detection("bus", 0.8, theta(350, 250, 60, 60))],
        [Detection("bus", 0.7, other)],
    ]
    scores = judged([there((0, one)), there((0, other))], found)
    expected = (51 * 1 + 50 * 2 / 3) / 101  # at recalls of 0.00 to 0.50, and of 0.51 to 1.00
    assert scores.ap50 == pytest.approx(expected)
    assert scores.ap == pytest.approx(expected)
    assert scores.curve[50] == pytest.approx(1)
    assert scores.curve[51] == pytest.approx(2 / 3)


def test_the_overlap_that_is_wanted_decides() -> None:
    """A box moved by a quarter of its side overlaps 0.6: right at 0.50, 0.55 and 0.60, wrong at the other seven."""
    scores = judged([there((0, theta(100, 100, 80, 80)))], [[Detection("bus", 0.9, theta(120, 100, 79.9, 80))]])
    assert (scores.ap50, scores.ap75) == pytest.approx((1, 0))
    assert scores.ap == pytest.approx(2 / 10)  # 0.5991
    twice = [[Detection("bus", 0.9, theta(100, 100, 80, 80)), Detection("bus", 0.95, theta(100, 101, 80, 80))]]
    assert judged([there((0, theta(100, 100, 80, 80)))], twice).ap50 == pytest.approx(
        1
    )  # the second answer costs nothing after it


def test_turned_objects_are_told_apart_by_their_angle_alone() -> None:
    """The upright boxes around two diagonal bars are one, so only the turned figure sees that the answer is wrong."""
    right, wrong = theta(150, 150, 160, 20, 45), theta(150, 150, 160, 20, -45)
    for answer, upright, turned in ((right, 1, 1), (wrong, 1, 0)):
        found = [[Detection("car", 0.9, answer)]]
        assert judged([there((1, right))], found).ap50 == pytest.approx(upright)
        assert judged([there((1, right))], found, turned=True).ap50 == pytest.approx(turned)


def test_size_is_the_area_in_the_picture() -> None:
    """A diagonal bar of 160 x 5 pixels: 800 in area, which is small; the box around it is large."""
    bar = theta(150, 150, 160, 5, 45)
    found = [[Detection("car", 0.9, bar)]]
    assert judged([there((1, bar))], found, turned=True).small == pytest.approx(1)
    assert judged([there((1, bar))], found).large == pytest.approx(1)


def test_nothing_found_and_nothing_there() -> None:
    bus = theta(100, 100, 60, 60)
    nothing = judged([there(), there()], [[], []])
    assert (nothing.ap, nothing.ap50, nothing.small, nothing.curve) == (None, None, None, ())
    assert judged([there((0, bus))], [[]]).ap == 0
    for turned in (False, True):
        stray = judged([there(), there((0, bus))], [[Detection("bus", 0.9, bus)], []], turned=turned)
        assert stray.ap == 0
        other = judged([there((0, bus))], [[Detection("car", 0.9, bus)]], turned=turned)
        assert (other.ap, other.classes[1].ap) == (0, None)


def crowd(seed: int) -> tuple[list[Objects], list[list[Detection]]]:
    """Upright boxes in 30 images, and answers: most of them near one, some repeated, some of another class."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(30):
        rows = [
            (int(rng.integers(3)), theta(*rng.uniform((60, 60, 10, 10), (340, 240, 120, 120))))
            for _ in range(rng.integers(0, 6))
        ]
        truths.append(there(*rows))
        answers = []
        for label, each in rows * 2:
            moved = each + rng.normal(0, 0.04, (2, 3)).astype(np.float32) * np.array([[0.3, 0, 1], [0, 0.3, 1]])
            guess = LABELS[label if rng.random() < 0.8 else rng.integers(3)]
            answers.append(Detection(guess, float(rng.random()), moved.astype(np.float32)))
        found.append(answers)
    return truths, found


@pytest.mark.parametrize("seed", range(3))
def test_upright_figures_are_those_of_pycocotools(seed: int, tmp_path: Path) -> None:
    """By files of boxes and `loadRes`, as its users go: all twelve figures that `summarize` has are computed there."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, found = crowd(seed)
    half = np.array([HW[1], HW[0]]) / 2

    def box(each: Theta) -> list[float]:
        centre, sides = (each[:, 2] + 1) * half, 2 * np.abs(np.diag(each[:, :2])) * half
        return [*(centre - sides / 2).tolist(), *sides.tolist()]

    with redirect_stdout(io.StringIO()):
        official = COCO()
        official.dataset = {
            "images": [{"id": number} for number in range(30)],
            "categories": [{"id": 7 + number, "name": name} for number, name in enumerate(LABELS)],
            "annotations": [
                {"id": 1 + 100 * image + row, "image_id": image, "category_id": 7 + int(label), "iscrowd": 0}
                | {"bbox": box(each), "area": box(each)[2] * box(each)[3]}
                for image, objects in enumerate(truths)
                for row, (label, each) in enumerate(zip(objects.labels, objects.thetas, strict=True))
            ],
        }
        official.createIndex()
        results = official.loadRes(
            [
                {"image_id": image, "category_id": 7 + LABELS.index(one.label), "bbox": box(one.theta)}
                | {"score": one.score}
                for image, answers in enumerate(found)
                for one in answers
            ]
        )
        judge = COCOeval(official, results, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ours = judged(truths, found)
    six = [ours.ap, ours.ap50, ours.ap75, ours.small, ours.medium, ours.large]
    assert six == pytest.approx(judge.stats[:6], abs=1e-9)
    assert 0.05 < (ours.ap or 0) < 0.95
    turned = judged(truths, found, turned=True)  # of upright boxes the same, but for sizes by their own areas
    assert [turned.ap, turned.ap50, turned.ap75] == pytest.approx(six[:3], abs=1e-9)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.delitem(sys.modules, "pycocotools.coco", raising=False)
    with pytest.raises(MissingExtra, match="pycocotools is") as raised:
        judged([there()], [[]])
    assert "[detect]" in raised.value.hint
