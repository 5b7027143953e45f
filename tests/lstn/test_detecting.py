"""A pass over scenes: who knows them is perfect, and who doesn't is not; refusals; tables and pages."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from lstn.contract import Contract, Loc
from lstn.data.object_sets import open_objects
from lstn.data.objects import objects_of
from lstn.data.splits import Split
from lstn.detection.detecting import (
    DetectionEvaluation,
    DetectionScores,
    class_precision_table,
    detect_all,
    detection_page,
    detection_report,
    precision_table,
    score_detections,
)
from lstn.errors import ArtifactError
from lstn.evaluation.answer import Answers, Logits
from lstn.images import Pixels
from lstn.warps.warp import Theta

HW = (160, 160)
REGIONS, CLASSES = 8, 10


def scenes() -> Split:
    return open_objects("scenes-digits", image_hw=HW).test


def knowing(images: Split, change: Callable[[Logits, Theta], None] = lambda logits, theta: None) -> Answers:
    """Return what answers the objects that are there, and then regions that it says are empty."""
    shown = {images[index][0].tobytes(): index for index in range(10)}

    def answer(pixels: Pixels) -> tuple[Logits, Theta | None]:
        logits = np.zeros((len(pixels), REGIONS, CLASSES + 1), np.float32)
        theta = np.tile(np.eye(2, 3, dtype=np.float32), (len(pixels), REGIONS, 1, 1))
        logits[:, :, -1] = 20
        for row, image in enumerate(pixels):
            known = objects_of(images, shown[image.tobytes()])
            theta[row, : len(known)] = known.thetas
            logits[row, np.arange(len(known)), known.labels] = 30 + np.arange(len(known))
            change(logits[row], theta[row])
        return logits, theta

    return answer


def scored(answers: Answers, images: Split) -> DetectionScores:
    heard: list[int] = []
    labels = tuple("0123456789")
    found = detect_all(answers, images, labels, batch=4, advance=heard.append, chosen=range(10))
    assert heard == [4, 4, 2]
    return score_detections(found, labels, HW)


def test_whoever_knows_all_is_perfect() -> None:
    images = scenes()
    scores = scored(knowing(images), images)
    assert scores.images == 10
    assert scores.objects == sum(len(objects_of(images, index)) for index in range(10))
    assert scores.objects > 10
    for each in (scores.upright, scores.turned):
        assert (each.ap, each.ap50) == pytest.approx((1, 1))
    assert sum(each.objects for each in scores.turned.classes) == scores.objects


def test_whoever_ignores_turns_loses_turned_precision_first() -> None:
    images = scenes()

    def upright(logits: Logits, theta: Theta) -> None:
        sides = np.sqrt(np.abs(np.linalg.det(theta[:, :, :2])))
        theta[:, :, :2] = sides[:, None, None] * np.eye(2, dtype=np.float32)

    scores = scored(knowing(images, upright), images)
    assert 0 < (scores.turned.ap or 0) < 0.9

    def wrong(logits: Logits, theta: Theta) -> None:
        logits[:, :-1] = np.roll(logits[:, :-1], 1, axis=1)

    assert (scored(knowing(images, wrong), images).upright.ap or 0) < 0.1


def test_answers_that_cannot_be_used_are_refused() -> None:
    images = scenes()

    def lost(logits: Logits, theta: Theta) -> None:
        theta[3] = np.nan

    with pytest.raises(ArtifactError, match="not finite, first in images 0 to 3"):
        scored(knowing(images, lost), images)
    answers = knowing(images)
    for part, says in (
        (lambda logits, theta: (logits[:, 0], theta[:, 0]), r"logits \(4, 11\) and theta \(4, 2, 3\); expected"),
        (lambda logits, theta: (logits, None), "theta None; expected"),
        (lambda logits, theta: (logits[:, :, 1:], theta), r"expected \(N, K, 11\)"),
        (lambda logits, theta: (logits, theta[:, 1:]), r"theta \(4, 7, 2, 3\)"),
    ):
        with pytest.raises(ArtifactError, match=says):
            scored(lambda pixels, part=part: part(*answers(pixels)), images)  # type: ignore[misc]


def test_tables_page_and_report_say_the_figures() -> None:
    images = scenes()
    labels = tuple("0123456789")
    contract = Contract(loc=Loc.LSTN, backbone="small-cnn", image_hw=HW, labels=labels)
    found = detect_all(knowing(images), images, labels, batch=4, advance=lambda done: None, chosen=range(3))
    evaluation = DetectionEvaluation("m.onnx", "scenes-digits", "test", contract, score_detections(found, labels, HW))
    table = precision_table(evaluation)
    assert [row[:3] for row in table.rows] == [("upright", "100.0", "100.0"), ("turned", "100.0", "100.0")]
    assert "objects in 3 test images of scenes-digits" in table.note
    assert "160 x 160; large: more than 96 x 96" in table.note
    classes = class_precision_table(evaluation.scores)
    shown = {label for each, _ in found for label in each.labels.tolist()}
    assert {row[0] for row in classes.rows} == {str(label) for label in shown}
    assert f"no object of {10 - len(shown)} class" in classes.note
    assert class_precision_table(evaluation.scores, 1).title == "The 1 worst class"
    report = json.loads(json.dumps(detection_report(evaluation)))
    assert report["upright"]["ap50"] == pytest.approx(1)
    assert (report["file"], report["objects"], report["image_hw"]) == ("m.onnx", evaluation.scores.objects, [160, 160])
    page = detection_page(evaluation)
    assert page.count("<svg") == 2
    assert "Precision of turned boxes" in page
    blind = score_detections([(truth, ()) for truth, _ in found], labels, HW)
    assert "0.0" in precision_table(DetectionEvaluation("m", "d", "test", contract, blind)).rows[0]
