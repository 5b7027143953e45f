"""Small sets of images to train on, for a conftest.py to import."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two classes that a child could tell apart: a bright spot left or right. 48 images to train on, 16 to validate,
    16 to test."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        for label, column in (("left", 8), ("right", 24)):
            for index in range(count):
                pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
                row = rng.integers(6, 26)
                pixels[row - 4 : row + 4, column - 4 : column + 4] = 255
                path = root / split / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return f"folder:{root}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run may go; it isn't there yet."""
    return tmp_path / "run"


@pytest.fixture
def few(tmp_path: Path) -> str:
    """So few images that a run takes no time."""
    for part, count in {"train": 4, "val": 2, "test": 2}.items():
        for number in range(2 * count):
            path = tmp_path / "images" / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32, 3), 10 * number, np.uint8)).save(path)
    return f"folder:{tmp_path / 'images'}"


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer of the embedded digits, so that training on them takes seconds."""
    parts = {"train": range(650), "val": range(10_000, 10_100), "test": range(11_000, 11_100)}
    monkeypatch.setattr("lstn.data.digits._PART", parts)
