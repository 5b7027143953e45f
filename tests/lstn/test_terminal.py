import os
from pathlib import Path

import pytest

from lstn.terminal import file_size


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0.0 kB"), (99_999, "100.0 kB"), (100_000, "0.1 MB"), (16e6, "16.0 MB")]
)
def test_a_size_is_told_in_units_that_fit(tmp_path: Path, size: float, told: str) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", int(size))
    assert file_size(tmp_path / "file") == told
