import os
from pathlib import Path

import pytest

from lstn.cli.display.screen import results
from lstn.terminal import file_size, messages, note


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0.0 kB"), (99_999, "100.0 kB"), (100_000, "0.1 MB"), (16e6, "16.0 MB")]
)
def test_a_size_is_told_in_units_that_fit(tmp_path: Path, size: float, told: str) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", int(size))
    assert file_size(tmp_path / "file") == told


def test_a_path_between_colons_is_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    messages.cache_clear()
    note("training on folder:flags: loading PyTorch")
    results().print("folder:cat: 3", markup=False)
    said = capsys.readouterr()
    assert said.err == "training on folder:flags: loading PyTorch\n"
    assert said.out == "folder:cat: 3\n"
    messages.cache_clear()
