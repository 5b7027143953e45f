"""Every example runs by itself, says something, and is one that the documents name."""

import os
from pathlib import Path

import numpy as np
import pytest
from forked import forked
from PIL import Image

from lstn.data.dataset import open_data
from lstn.data.digits import DIGIT_SIZE

ROOT = Path(__file__).parents[1]
SAYS = {
    "classify_folder.py": "stop ",
    "compare_engines.py": "40 of 40 images get the same label",
    "serve_and_ask.py": ".png: parking ",
    "draw_streets.py": "0000.png,parking;stop",
    "train_on_own_images.py": "loaded stn + module:Sequential",
    "transformer_in_own_network.py": "warped (32, 3, 32, 32)",
}
OTHERS = {"own_images.py", "demo.py"}
"""What the examples share, and the demo, which `make demo` runs."""


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs_and_says_what_it_should(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code, out, err = forked(ROOT / "examples" / name, cwd=tmp_path, env=environment)
    assert code == 0, err
    assert SAYS[name] in out
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_pictures_are_the_first_test_digits() -> None:
    digits = open_data("digits", image_hw=(DIGIT_SIZE, DIGIT_SIZE)).test
    names = []
    for index in range(12):
        pixels, label = digits[index]
        names.append(f"{index:02d}-is-a-{label}.png")
        np.testing.assert_array_equal(np.asarray(Image.open(ROOT / "examples" / "images" / names[-1])), pixels)
    assert sorted(path.name for path in (ROOT / "examples" / "images").iterdir()) == names


def test_every_example_is_run_here_and_named_in_the_documents() -> None:
    files = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert files == {*SAYS, *OTHERS}
    page = (ROOT / "docs" / "how-to" / "python.md").read_text()
    assert [name for name in SAYS if name not in page] == []
