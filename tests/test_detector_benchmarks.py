"""Helpers of the benchmarks of detectors, against torchvision's own operators and lstn's own scenes."""

from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from benchmarks.detectors import page_of, scenes_in, write_scenes
from benchmarks.regions import recall, shares
from benchmarks.support.faster_rcnn import _detections, _example, _share_of_rate, faster_rcnn
from lstn.data.object_sets import open_objects
from lstn.data.objects import objects_of
from lstn.warps.quadrilaterals import upright_boxes


def boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 50, (count, 2))
    return np.concatenate([low, low + random.uniform(1, 50, (count, 2))], axis=1)


def test_shares_are_torchvisions_and_recall_counts_objects() -> None:
    one, other = boxes(20, 0), boxes(30, 1)
    wanted = box_iou(torch.tensor(one), torch.tensor(other)).numpy()
    np.testing.assert_allclose(shares(one, other), wanted, atol=1e-12)
    hit = sum(row.max() >= 0.5 for row in wanted)
    assert recall([one, one], [other, other[:0]]) == pytest.approx(hit / 40)
    assert recall([one], [one]) == 1


def test_scenes_in_a_folder_are_those_that_were_drawn(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", Namespace(side=64, scenes=48), seed=3)
    drawn, read = open_objects("scenes-digits", image_hw=(64, 64), seed=3), scenes_in(tmp_path, 64)
    assert (len(read.train), len(read.val), len(read.test)) == (48, 12, 12)
    for number in range(8):
        np.testing.assert_array_equal(read.test[number][0], drawn.test[number][0])
        ours, theirs = objects_of(read.test, number), objects_of(drawn.test, number)
        assert [read.labels[label] for label in ours.labels] == [drawn.labels[label] for label in theirs.labels]
        np.testing.assert_allclose(ours.thetas, theirs.thetas, atol=1e-3)


def test_torchvision_gets_and_answers_upright_boxes() -> None:
    split = open_objects("scenes-digits", image_hw=(64, 64), seed=0).val
    image, target = _example(split, 1)
    wanted = upright_boxes(objects_of(split, 1).thetas, (64, 64)).clip(0, 64)
    np.testing.assert_allclose(target["boxes"].numpy(), wanted, atol=1e-4)
    assert image.shape == (3, 64, 64)
    labels = tuple("0123456789")
    answer = target | {"scores": torch.linspace(0.9, 0.5, len(wanted))}
    found = _detections(answer, labels, (64, 64))
    assert [each.label for each in found] == [labels[label] for label in objects_of(split, 1).labels]
    np.testing.assert_allclose(upright_boxes(np.stack([each.theta for each in found]), (64, 64)), wanted, atol=1e-3)


def test_the_network_sees_pictures_at_their_own_size() -> None:
    torch.manual_seed(0)
    model = faster_rcnn("resnet18", 3, 64).eval()
    sizes = [each.shape[-2:] for each in model.transform([torch.zeros(3, 64, 64)])[0].tensors]
    assert sizes == [(64, 64)]
    with torch.no_grad():
        (answer,) = model([torch.rand(3, 64, 64)])
    assert set(answer) == {"boxes", "labels", "scores"}


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [_share_of_rate(step, 100) for step in range(100)]
    assert rates[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(one >= other for one, other in pairwise(rates[4:]))
    assert rates[-1] < 0.01


def test_a_page_tells_means_and_ratios() -> None:
    def run(kind: str, seed: int, ap: float, **more: object) -> dict[str, object]:
        forms = {"checkpoint": ap, "ONNX Runtime": ap - 0.0001, "int8": ap - 0.004}
        scores = {
            form: {boxes: {"ap": of, "ap50": 0.9} for boxes in ("upright", "turned")} for form, of in forms.items()
        }
        return {"kind": kind, "seed": seed, "scores": scores, **more}

    times = {"PyTorch": [[10.0, 20.0], [10.0, 40.0]]}
    theirs = run("Faster R-CNN, Adam", 0, 0.3, times=None, obstacle="no such operator")
    theirs["scores"] = {"checkpoint": run("", 0, 0.3)["scores"]["checkpoint"]}  # type: ignore[index]
    told = page_of(
        {
            "side": 64,
            "scenes": 1000,
            "epochs": 1,
            "backbone": "resnet-18",
            "cpu": "a CPU",
            "libraries": {"torch": "2"},
            "runs": [run("image", 0, 0.4, times=times), run("image", 1, 0.5, times=times), theirs],
        }
    )
    assert "| image | 2 | 45.0 (40.0 to 50.0) | 90.0 (90.0 to 90.0) |" in told
    assert "| 0.01 (0.01 to 0.01) | 0.40 (0.40 to 0.40) |" in told
    assert "| image | 10.0 | 30.0 | 0.38 |" in told
    assert "could not be exported: no such operator" in told
    assert "1 epoch, backbone" in " ".join(told.split())
