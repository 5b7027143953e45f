"""Every example runs by itself, says something, and is one that the documents name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAYS = {
    "classify_folder.py": "stop ",
    "compare_engines.py": "40 of 40 images get the same label",
    "serve_and_ask.py": ".png: parking ",
    "train_on_own_images.py": "loaded stn + module:Sequential",
    "transformer_in_own_network.py": "warped (32, 3, 32, 32)",
}
OTHERS = {"own_images.py", "demo.py"}
"""What the examples share, and the demo, which `make demo` runs."""


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs_and_says_what_it_should(name: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / name],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert SAYS[name] in ran.stdout
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_run_here_and_named_in_the_documents() -> None:
    files = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert files == {*SAYS, *OTHERS}
    page = (ROOT / "docs" / "how-to" / "python.md").read_text()
    assert [name for name in SAYS if name not in page] == []
