"""Training of detectors: they learn, and a run that was stopped ends as one that wasn't."""

import json
from pathlib import Path

import pytest
import torch
from coloured_squares import coloured_squares
from command import RunLstn
from short_runs import assert_same_weights, options, run, weights_of, without_time

import lstn
from lstn.contract import At, Contract, Loc, Task, ThetaForm
from lstn.data.object_sets import open_objects
from lstn.data.objects import objects_of
from lstn.detection.detecting import LEAST_SCORE, DetectionScores, score_detections
from lstn.detection.suppression import detections
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.detector import Detector
from lstn.nn.turned_boxes import thetas_of, upright_around
from lstn.train.batches.augment import Augmentation
from lstn.train.batches.loading import NOBODY, Images
from lstn.train.choices.asked_run import ChosenNetwork, Course, NetworkSizes
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges
from lstn.train.objectives.detector_objective import DetectorNetwork
from lstn.train.runs.run_state import LAST, read_options

SMALL = {"task": Task.DETECT, "loc": Loc.GLANCE, "image_size": 64, "crop": 16, "warps": 6, "loc_lr_scale": 1.0}
ON_MAP = SMALL | {"loc": Loc.SHARED, "at": At.MAP, "crop": 5}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{coloured_squares(tmp_path_factory.mktemp('squares') / 'set')}"


@pytest.mark.parametrize("kind", [SMALL, ON_MAP], ids=["image", "map"])
def test_a_detector_learns_to_find_squares(kind: dict[str, object], squares: str, tmp_path: Path) -> None:
    asked = options(squares, **kind, theta=ThetaForm.CROP, epochs=6, lr=0.003, cosine=True)
    result = run(asked, tmp_path / "run")
    assert isinstance(result.scores, DetectionScores)
    assert result.scores.images == 32
    assert result.test_accuracy > 0.5
    assert result.test_accuracy == result.scores.upright.ap50
    # The checkpoint, asked image by image, comes to the same.
    model = load_checkpoint(tmp_path / "run" / CHECKPOINT).model
    test = open_objects(squares, image_hw=(64, 64)).test
    found = []
    for index in range(len(test)):
        with torch.no_grad():
            logits, theta = (each[0].numpy() for each in model(torch.from_numpy(test[index][0].copy())[None]))
        found.append((objects_of(test, index), detections(logits, theta, result.contract.labels, least=LEAST_SCORE)))
    again = score_detections(found, result.contract.labels, (64, 64))
    assert again.upright.ap50 == pytest.approx(result.test_accuracy, abs=0.01)


def test_a_stopped_run_ends_as_one_that_was_not(squares: str, tmp_path: Path) -> None:
    asked = options(squares, **SMALL, epochs=2)
    whole = run(asked, tmp_path / "whole")
    run(options(squares, **SMALL, epochs=1), tmp_path / "a")
    resumed = run(asked, tmp_path / "a", resume=True)
    assert without_time(resumed.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "a"), weights_of(tmp_path / "whole"))


def test_a_detector_is_trained_from_python(squares: str, tmp_path: Path) -> None:
    contract = Contract(
        Loc.SHARED, "cnn", (64, 64), ("red", "blue"), at=At.MAP, crop_hw=(5, 5), warps=4, task=Task.DETECT
    )
    torch.manual_seed(0)
    model = Detector(contract)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    result = lstn.fit(model, squares, tmp_path / "run", epochs=1, device="cpu")
    assert result.model is model
    assert read_options(tmp_path / "run" / LAST).recipe.loc_lr_scale == 1  # as `lstn train --task detect` has
    with pytest.raises(lstn.UsageError, match="--supervise is for models that classify"):
        lstn.fit(model, squares, tmp_path / "other", epochs=1, device="cpu", supervise=1.0)
    assert any(not torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    read = load_checkpoint(result.checkpoint)
    assert read.contract == contract
    assert all(map(torch.equal, read.model.state_dict().values(), model.state_dict().values()))


def test_upright_boxes_are_taught_around_turned_objects() -> None:
    """A detector of upright boxes is shown the boxes around objects, by which it is measured."""
    contract = Contract(
        Loc.GLANCE, "cnn", (64, 64), ("red",), theta=ThetaForm.CROP, warps=4, crop_hw=(16, 16), task=Task.DETECT
    )
    torch.manual_seed(0)
    network = DetectorNetwork(Detector(contract), "fp32").eval()
    turned = torch.tensor([[[32.0, 32, 40, 10, 0.7]]])
    pixels, labels = torch.zeros(1, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.int64)
    found = []
    for boxes in (turned, upright_around(turned), turned * torch.tensor([1.0, 1, 1, 1, 0])):
        torch.manual_seed(0)
        losses, *_ = network.answered(pixels, labels, thetas_of(boxes, (64, 64)))
        found.append([float(each.detach()) for each in losses])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] != pytest.approx(found[2], rel=1e-2)


def test_an_image_with_fewer_objects_is_taught_nothing_by_those_that_are_not_there() -> None:
    torch.manual_seed(0)
    kind = {"warps": 4, "crop_hw": (16, 16), "task": Task.DETECT}
    network = DetectorNetwork(Detector(Contract(Loc.GLANCE, "cnn", (64, 64), ("red",), **kind)), "fp32").eval()
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    box, anything = torch.tensor([20.0, 20, 14, 14, 0]), torch.tensor([40.0, 40, 20, 20, 1])
    found = []
    for other in (anything, box * 2):
        torch.manual_seed(1)
        labels = torch.tensor([[0, NOBODY]])
        losses, *_ = network.answered(pixels, labels, thetas_of(torch.stack([box, other])[None], (64, 64)))
        found.append([float(each.detach()) for each in losses])
    assert found[0] == found[1]


def test_an_image_with_very_many_objects_takes_no_more_than_twice_the_regions() -> None:
    seen = []
    kind = {"warps": 4, "crop_hw": (16, 16), "task": Task.DETECT}
    network = DetectorNetwork(Detector(Contract(Loc.GLANCE, "cnn", (64, 64), ("red",), **kind)), "fp32").eval()
    look_into = network.model.look_into
    network._look_into = lambda frames, boxes: (seen.append(boxes.shape[1]), look_into(frames, boxes))[1]
    thetas = thetas_of(torch.rand(2, 50, 5) * 20 + 10, (64, 64))
    network(torch.zeros(2, 64, 64, 3, dtype=torch.uint8), torch.zeros(2, 50, dtype=torch.int64), thetas)
    assert seen == [8]


def test_a_batch_has_the_objects_of_its_images(squares: str) -> None:
    train = open_objects(squares, image_hw=(64, 64)).train
    batch = Images(train, with_objects=True)._batch([3, 1, 4])
    assert batch.objects is not None
    labels, thetas = batch.objects
    for row, index in enumerate((3, 1, 4)):
        known = objects_of(train, index)
        there = labels[row] != NOBODY
        assert labels[row][there].tolist() == known.labels.tolist()
        assert torch.equal(thetas[row][there], torch.from_numpy(known.thetas))
        assert torch.equal(thetas[row][~there], torch.eye(2, 3).expand(int((~there).sum()), 2, 3))


@pytest.mark.parametrize("kind", ["affine", "standard"])
def test_objects_move_along_with_their_image(kind: str, squares: str) -> None:
    """Each object's crop shows its own colour before and after: most of its pixels are of the class."""
    train = open_objects(squares, image_hw=(64, 64)).train
    augment = Augmentation(kind, image_hw=(64, 64), mirrors=True, seed=0)
    batch = Images(train, augment, with_objects=True).at(1)._batch(list(range(24)))
    assert batch.objects is not None
    labels, thetas = batch.objects
    whole = Images(train, with_objects=True)._batch(list(range(24)))
    assert not torch.equal(batch.pixels, whole.pixels)
    images = batch.pixels.permute(0, 3, 1, 2).float()
    for row in range(24):
        for label, theta in zip(labels[row].tolist(), thetas[row], strict=True):
            if label == NOBODY or theta[:, 2].abs().max() > 0.6:  # one at the border may be cut off
                continue
            middle = theta * torch.tensor([0.3, 0.3, 1.0])
            grid = torch.nn.functional.affine_grid(middle[None], [1, 3, 4, 4], align_corners=False)
            red, _, blue = torch.nn.functional.grid_sample(images[row : row + 1], grid, align_corners=False)[0].mean(
                (1, 2)
            )
            covered = max(red, blue) < 160 or (red > blue) != (label == 0)
            assert not covered or len(labels[row][labels[row] != NOBODY]) > 1  # the other one may lie upon it


@pytest.mark.parametrize(
    ("at", "side", "crop"), [(At.MAP, 64, (4, 4)), (At.MAP, 320, (14, 14)), (At.INPUT, 48, (48, 48))]
)
def test_a_detectors_usual_crop_fits_its_image(at: At, side: int, crop: tuple[int, int]) -> None:
    loc = Loc.SHARED if at is At.MAP else Loc.LSTN
    sizes = NetworkSizes(image=(side, side))
    network = ChosenNetwork(task=Task.DETECT, loc=loc, model="resnet-18", at=at, sizes=sizes)
    course = Course(data="scenes-digits", augment="none", epochs=1, precision="fp32")
    chosen = choose_options("robust", RecipeChanges(), network, course)
    assert (chosen.crop, chosen.warps, chosen.recipe.loc_lr_scale) == (crop, 16, 1.0)
    Detector(chosen.contract(("a", "b")))


def test_the_command_says_what_it_measures_and_leaves_pictures(
    squares: str, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--task", "detect", "--loc", "glance", "--model", "cnn", "--data", squares, "--image-size", 64]
    ran = run_lstn(*words, "--crop", 16, "--epochs", 1, "--warps", 4, "--workers", 0, "--name", "a")
    assert ran.code == 0, ran.err
    assert "validation AP50" in ran.err
    assert "regions right" in ran.err
    assert "test AP50" in ran.out
    assert {"curves.png", "detections.png", "test.json"} <= {path.name for path in Path("runs/a").iterdir()}
    assert json.loads(Path("runs/a/test.json").read_text())["images"] == 32


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "digits"], "'digits' is not a data set for detection"),
        (["--loc", "none"], "finds no regions"),
        (["--at", "map"], "a detector of loc lstn at map"),
        (["--equivariance", "1"], "--equivariance is for models that classify"),
        (["--supervise", "1"], "--supervise is for models that classify"),
        (["--theta", "tps"], "a detector's boxes can't be tps"),
        (["--warps", "1"], "1 region"),
        (["--image-size", "32", "--crop", "16", "--warps", "300"], "300 regions of"),
    ],
)
def test_what_a_detector_can_not_be_is_one_line(words: list[str], said: str, squares: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--task", "detect", "--model", "cnn", "--data", squares, *words)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) <= 8
    assert "Traceback" not in ran.err
