from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_machine import make_machine
from PIL import Image
from playground import photo
from serving import Server, serving, written
from tiny import Tiny
from tiny_fixtures import built_plan, make_tiny, plan, run_lstn, tiny

__all__ = ["built_plan", "make_machine", "make_tiny", "plan", "run_lstn", "tiny"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return written(tmp_path_factory.mktemp("served") / "model.onnx")


@pytest.fixture(scope="module")
def server(model: Tiny) -> Iterator[Server]:
    with serving("--engine", model.path, "--max-queue", 40, "--max-wait-ms", 0) as running:
        yield running
        assert running.stop() == (0, "")  # nothing was written about what anyone sent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folders of ten small images of noise each, in one."""
    random = np.random.default_rng(0)
    for index in range(20):
        path = tmp_path / "images" / ("a" if index % 2 else "b") / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture for the playground, in a file."""
    path = tmp_path / "photo.png"
    photo().save(path)
    return path
