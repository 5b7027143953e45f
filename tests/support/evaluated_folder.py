"""A labelled folder for `lstn evaluate`, already divided, for a conftest.py to import."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SIDE

LABELS = ("ant", "bee", "cat", "dog")
IMAGES = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Random images of random classes: a model that guesses is right in some."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in LABELS:
            for index in range(IMAGES // 4):
                path = tmp_path / "data" / split / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (SIDE, SIDE, 3)) * rng.uniform(0.2, 1, 3)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "data"
