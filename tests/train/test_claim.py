"""A run's folder is made whole, once, and whatever kills leave isn't in the way of the next."""

import threading
from pathlib import Path

import pytest
from short_runs import options, run

from lstn.errors import LstnError, UsageError
from lstn.train.runs.run_folder import claimed
from lstn.train.runs.run_state import LAST

LEFT = f".{LAST}.0123abcd.tmp"


def test_of_runs_that_start_together_one_has_the_folder(tmp_path: Path) -> None:
    """All are in the middle of it when the first is through."""
    together, claims, refused = threading.Barrier(8), [], []

    def start(number: int) -> None:
        try:
            with claimed(tmp_path / "runs" / "a") as folder:
                (folder / LAST).write_text(str(number))
                together.wait()
            claims.append(number)
        except LstnError as error:
            refused.append(error)

    (tmp_path / "runs").mkdir()
    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(claims) == 1
    assert len(refused) == 7
    assert all(f"{tmp_path / 'runs' / 'a'} exists" in str(error) for error in refused)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
    assert (tmp_path / "runs" / "a" / LAST).read_text() == str(claims[0])


@pytest.mark.parametrize("taken_by", [LAST, "thesis.tex"])
def test_a_folder_that_is_taken_is_left_as_it_is(taken_by: str, tmp_path: Path) -> None:
    """Also what looks temporary: the run may be at it."""
    (tmp_path / "a").mkdir()
    for name in (taken_by, LEFT):
        (tmp_path / "a" / name).touch()
    with pytest.raises(UsageError, match="a exists") as caught, claimed(tmp_path / "a"):
        pass
    assert ("lstn train --resume" in caught.value.hint) == (taken_by == LAST)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {taken_by, LEFT}


def test_what_kills_left_is_removed(tmp_path: Path) -> None:
    """Of this run alone: another may be at its own."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LEFT).touch()
    for name in (".a.0123abcd.tmp", ".b.0123abcd.tmp", ".a.b.0123abcd.tmp", ".a.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LAST).touch()
    with claimed(tmp_path / "a") as folder:
        (folder / LAST).write_text("state")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [LAST]
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".b.0123abcd.tmp", ".a.b.0123abcd.tmp", ".a.tmp"}


def test_a_claim_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "runs" / "a") as folder:
        (folder / LAST).write_text(str(1 // 0))
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(LstnError, match=r"cannot make .*: Not a directory"), claimed(tmp_path / "file" / "a"):
        pass
    with pytest.raises(UsageError, match="file exists"), claimed(tmp_path / "file"):
        pass


def test_a_resume_removes_what_a_kill_left(data: str, tmp_path: Path) -> None:
    run(options(data, epochs=1), tmp_path / "a")
    (tmp_path / "a" / LEFT).touch()
    run(options(data, epochs=1), tmp_path / "a", resume=True)
    assert not (tmp_path / "a" / LEFT).exists()
