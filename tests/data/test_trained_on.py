"""Which images of a folder are tested by default: none that the model was trained on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_scenes import photos as backgrounds

from lstn.data.dataset import DataSet, open_data
from lstn.data.trained_on import data_and_seed, split_to_test
from lstn.errors import UsageError
from lstn.formats.training_record import Training

HW = (8, 8)
SEED = 7


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("left", "right"):
        for index in range(10):
            path = tmp_path / "photos" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*HW, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def opened(folder: Path, seed: int = SEED) -> DataSet:
    return open_data(f"folder:{folder}", image_hw=HW, seed=seed, labels=("left", "right"))


def record_of(folder: Path) -> Training:
    return Training(f"folder:{folder}", SEED, 1, 0.5, images=opened(folder).train.fingerprint)


def test_of_its_own_folder_the_test_images_alone_whatever_it_is_called(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = record_of(photos)
    photos.rename(photos.with_name("moved"))
    moved = photos.with_name("moved")
    assert split_to_test(record, opened(moved), f"folder:{moved}") == "test"
    assert f"2 images are tested, the test images of folder:{moved}" in capsys.readouterr().err


def test_of_a_folder_whose_images_stood_in_scenes_the_test_images_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenes divide their objects as a folder is divided, by the same seed."""
    record = replace(record_of(photos), data=f"scenes:{photos},{tmp_path / 'roads'}", images="of the scenes")
    assert split_to_test(record, opened(photos), f"folder:{photos}") == "test"
    assert f"2 images are tested, the test images of folder:{photos}" in capsys.readouterr().err


def test_of_another_folder_all_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = record_of(photos)
    new = photos.with_name("new")
    shutil.copytree(photos, new)
    Image.new("RGB", HW, (1, 2, 3)).save(new / "left" / "0.png")
    assert split_to_test(record, opened(new), f"folder:{new}") == "all"
    told = capsys.readouterr().err
    assert f"20 images are tested, all of folder:{new}; the model was trained on folder:{photos}" in told


@pytest.mark.parametrize("change", ["an image more", "another seed"])
def test_its_own_folder_divided_otherwise_is_told(
    photos: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    """Test images were then trained on, which must not pass for a clean test."""
    record, seed = record_of(photos), SEED
    if change == "another seed":
        seed = SEED + 1
    else:
        Image.new("RGB", HW, (1, 2, 3)).save(photos / "left" / "new.png")
    assert split_to_test(record, opened(photos, seed), f"folder:{photos}") == "test"
    assert "warning:" in (told := capsys.readouterr().err)
    assert "may have been trained on" in told


def test_a_record_without_a_fingerprint_is_known_by_its_name(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = replace(record_of(photos), images="")
    assert split_to_test(record, opened(photos), f"folder:{photos}") == "test"
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("seed", "warned"), [(SEED, False), (SEED + 1, True)])
def test_scenes_of_its_own_objects_divided_otherwise_are_told(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int, warned: bool
) -> None:
    spec = f"scenes:{photos},{backgrounds(tmp_path / 'roads', 3, seed=9)}"
    one, other = (open_data(spec, image_hw=HW, seed=each, labels=("left", "right")) for each in (SEED, seed))
    record = Training(spec, SEED, 1, 0.5, images=one.train.fingerprint)
    assert split_to_test(record, other, spec) == "test"
    assert ("2 test images may have been trained on" in capsys.readouterr().err) == warned
    assert split_to_test(record, other, "scenes:another,one") == "test"
    assert split_to_test(None, other, spec) == "test"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("record", [None, Training("", 0, 0, 0.0)])
def test_without_a_record_all_images_with_a_warning(
    photos: Path, capsys: pytest.CaptureFixture[str], record: Training | None
) -> None:
    assert split_to_test(record, opened(photos), f"folder:{photos}") == "all"
    assert "if the model was trained on some of them, add --split test" in capsys.readouterr().err


def test_what_is_divided_already_is_tested_as_it_is(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val", "test"):
        shutil.copytree(photos, photos.with_name("divided") / split)
    divided = photos.with_name("divided")
    assert split_to_test(record_of(photos), opened(divided), f"folder:{divided}") == "test"
    assert split_to_test(None, open_data("digits", image_hw=HW), "digits") == "test"
    assert "are tested" not in capsys.readouterr().err


def test_what_is_typed_comes_first() -> None:
    record, file = Training("folder:/photos", SEED, 1, 0.5), Path("model.onnx")
    assert data_and_seed(file, record, None, None) == ("folder:/photos", SEED)
    assert data_and_seed(file, record, "digits", None) == ("digits", SEED)
    assert data_and_seed(file, record, None, 3) == ("folder:/photos", 3)
    assert data_and_seed(file, None, "digits", None) == ("digits", None)
    for nothing in (None, Training("", 0, 0, 0.0)):
        with pytest.raises(UsageError, match=r"model\.onnx doesn't say what it was trained on"):
            data_and_seed(file, nothing, None, 3)
