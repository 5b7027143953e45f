"""`lstn.fit`: training of a network that a program brings along."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_network import SIDE, SmallNetwork
from PIL import Image

import lstn
from lstn.contract import Contract, Loc
from lstn.errors import DataError
from lstn.nn import Classifier, load_checkpoint
from lstn.nn.backbones import backbone_named
from lstn.nn.checkpoint import CHECKPOINT
from lstn.recipe import RECIPES
from lstn.train.runs.run_state import LAST, read_options

CLASSES = ("blue", "green", "red")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index, name in enumerate(CLASSES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            picture = random.integers(0, 100, (SIDE, SIDE + 8, 3), dtype=np.uint8)
            picture[..., 2 - index] += 100
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def model(**options: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier.around(SmallNetwork(3), labels=CLASSES, image_hw=(SIDE, SIDE), **options)


def test_it_learns_keeps_the_best_epoch_and_goes_on(photos: Path, tmp_path: Path) -> None:
    own, heard = model(loc="stn"), []
    result = lstn.fit(own, photos, tmp_path / "run", epochs=3, device="cpu", on_epoch=heard.append)
    assert result.model is own
    assert not own.training
    assert result.test_accuracy == 1.0
    assert [epoch["epoch"] for epoch in heard] == [1, 2, 3]
    assert heard[-1]["train_loss"] < heard[0]["train_loss"]
    kept = load_checkpoint(tmp_path / "run" / CHECKPOINT, backbone=SmallNetwork(3))
    assert kept.training.data == f"folder:{photos}"
    assert own.record == kept.training
    for name, tensor in kept.model.state_dict().items():
        assert torch.equal(tensor, own.state_dict()[name])
    again = lstn.fit(own, photos, tmp_path / "run", epochs=4, device="cpu", resume=True)
    assert len(again.history) == 4


def test_a_run_that_goes_on_ends_like_one_that_never_stopped(photos: Path, tmp_path: Path) -> None:
    whole, halves = model(), model()
    constant = RECIPES["paper"]
    lstn.fit(whole, photos, tmp_path / "a", epochs=2, recipe=constant, device="cpu")
    lstn.fit(halves, photos, tmp_path / "b", epochs=1, recipe=constant, device="cpu")
    lstn.fit(halves, photos, tmp_path / "b", epochs=2, device="cpu", resume=True)
    for mine, theirs in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_images_need_not_be_square(photos: Path, tmp_path: Path) -> None:
    class Wide(SmallNetwork):
        def __init__(self) -> None:
            super().__init__(3)
            self.last = torch.nn.Linear(8 * 14 * 18, 3)

    own = Classifier.around(Wide(), labels=CLASSES, image_hw=(SIDE, SIDE + 8))
    result = lstn.fit(own, f"folder:{photos}", tmp_path / "run", epochs=1, device="cpu")
    assert result.val[0][0].shape == (SIDE, SIDE + 8, 3)


def test_a_recipe_by_name_has_the_rate_of_the_models_backbone(photos: Path, tmp_path: Path) -> None:
    """As `lstn train` has. A recipe of the caller's own is kept as it is."""
    named = Classifier(Contract(Loc.STN, "cnn", (SIDE, SIDE), CLASSES))
    lstn.fit(named, photos, tmp_path / "named", epochs=1, device="cpu")
    lstn.fit(named, photos, tmp_path / "own", epochs=1, device="cpu", recipe=RECIPES["robust"])
    kept = [read_options(tmp_path / run / LAST).recipe.lr for run in ("named", "own")]
    assert kept == [RECIPES["robust"].lr * backbone_named("cnn").rate, RECIPES["robust"].lr]
    assert kept[0] != kept[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"seed": -1}, "seed -1"),
        ({"augment": "mirror"}, "unknown augmentation 'mirror'"),
        ({"recipe": "fast"}, "there is no recipe 'fast'"),
        ({"resume": True}, "there is no run to go on with"),
        ({"device": "tpu"}, "tpu"),
        ({"data": "folder:/nowhere"}, "no such folder"),
    ],
)
def test_what_cannot_be_trained_is_refused(options: dict[str, Any], says: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(lstn.LstnError, match=says):
        lstn.fit(model(), **{"data": photos, "folder": tmp_path / "run", **options})
    assert not (tmp_path / "run").exists()


def test_a_data_set_of_other_classes_is_refused(photos: Path, tmp_path: Path) -> None:
    other = Classifier.around(SmallNetwork(3), labels=("red", "green", "blue"), image_hw=(SIDE, SIDE))
    with pytest.raises(DataError, match="the model has 3 classes, 'red' first"):
        lstn.fit(other, photos, tmp_path / "run")


def test_a_run_in_the_folder_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    lstn.fit(model(), photos, tmp_path / "run", epochs=1, device="cpu")
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    with pytest.raises(lstn.UsageError, match="there is a run already"):
        lstn.fit(model(), photos, tmp_path / "run", epochs=1)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
