import os
import subprocess
import sys
from pathlib import Path

import pytest

from lstn.cli.display.screen import results
from lstn.terminal import file_size, messages, note, printable


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0.0 kB"), (99_999, "100.0 kB"), (100_000, "0.1 MB"), (16e6, "16.0 MB")]
)
def test_a_size_is_told_in_units_that_fit(tmp_path: Path, size: float, told: str) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", int(size))
    assert file_size(tmp_path / "file") == told


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ascii", "A,B,... ####  -3.5 deg gr\\xfcn \\u732b \\udcff"),
        ("latin-1", "A,B,... ####  -3.5° grün \\u732b \\udcff"),
        ("utf-8", "A,B,… ████  -3.5° grün 猫 \\udcff"),
    ],
)
def test_signs_that_the_encoding_lacks_are_said_in_others(encoding: str, said: str) -> None:
    code = "from lstn.terminal import speak_plainly; speak_plainly(); print('A,B,… ████  -3.5° grün 猫 \\udcff')"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=True
    )
    assert ran.stdout.decode(encoding) == f"{said}\n"


def test_what_hides_or_turns_text_is_escaped_and_what_joins_letters_stays() -> None:
    devanagari, family = "क्\u200dष", "👩\u200d👩\u200d👧"
    assert printable(devanagari) == devanagari
    assert printable(family) == family
    assert printable("a\u202eb\u200bc\u2066d\x1b[0m\ud800") == r"a\u202eb\u200bc\u2066d\x1b[0m\ud800"


def test_a_path_between_colons_is_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    messages.cache_clear()
    note("training on folder:flags: loading PyTorch")
    results().print("folder:cat: 3", markup=False)
    said = capsys.readouterr()
    assert said.err == "training on folder:flags: loading PyTorch\n"
    assert said.out == "folder:cat: 3\n"
    messages.cache_clear()
