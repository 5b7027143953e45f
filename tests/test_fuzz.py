"""Readers of what others send: the corpora of `benchmarks/fuzz.py`, and damaged copies of them, without atheris."""

import random
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks.fuzz import CORPORA, TARGETS, added
from benchmarks.support.fuzzing import request_targets, targets
from lstn.errors import ArtifactError
from lstn.formats import onnx_file

DAMAGED = 150


def corpus_of(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPORA / name).iterdir())] + TARGETS[name].begin()


def damaged(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Turn bits over, cut, double, or put a piece of another file in."""
    for _ in range(chance.randint(1, 3)):
        start, stop = sorted(chance.choices(range(len(data) + 1), k=2))
        piece = data[start:stop]
        replaced = (b"", piece * 2, bytes(byte ^ 1 << chance.randrange(8) for byte in piece[:8]), other[start:stop])
        data = data[:start] + chance.choice(replaced) + data[stop:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_found_is_read_or_refused(name: str) -> None:
    files = corpus_of(name)
    assert len(files) > 3, "there is a corpus"
    for data in files:
        TARGETS[name].read(data)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_copies_are_read_or_refused(name: str) -> None:
    chance, files = random.Random(name), corpus_of(name)
    for _ in range(DAMAGED):
        data = damaged(chance, chance.choice(files), chance.choice(files))
        try:
            TARGETS[name].read(data)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} after {data!r}") from error


@pytest.mark.parametrize("name", targets.READERS)
def test_what_it_begins_with_is_good(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "refusing", nullcontext)
    for data in TARGETS[name].begin():
        TARGETS[name].read(data)


def test_the_cases_of_a_further_run_are_added() -> None:
    before = {"runs": 1, "cases": 500, "seconds": 3, "lines": 9, "features": 20, "corpus": 5, "faults": ["FAULT-a"]}
    after = {"runs": 1, "cases": 300, "seconds": 2, "lines": 7, "features": 21, "corpus": 6, "faults": []}
    both = {"runs": 2, "cases": 800, "seconds": 5, "lines": 9, "features": 21, "corpus": 6, "faults": ["FAULT-a"]}
    assert added(before, after) == both


@pytest.mark.parametrize("words", ["", "two\nlines"])
def test_a_refusal_is_one_line(words: str) -> None:
    with pytest.raises(AssertionError), targets.refusing():
        raise ArtifactError(words)
    with targets.refusing():
        raise ArtifactError("one line")


def test_a_reader_that_fails_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    contract, sidecar = TARGETS["contract"].begin()[0], TARGETS["sidecar"].begin()[0]
    monkeypatch.setattr(targets.Contract, "check", lambda _: {}["x"])
    for name, data in (("contract", contract), ("sidecar", sidecar)):
        with pytest.raises(KeyError):
            TARGETS[name].read(data)


def test_weights_elsewhere_that_the_reader_misses_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_EXTERNAL", 99)
    with pytest.raises(AssertionError, match="external data"):
        TARGETS["onnx"].read(TARGETS["onnx"].begin()[1])


def test_a_server_that_fails_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {name: TARGETS[name].begin()[0] for name in request_targets.REQUESTS}

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    for name in good:
        TARGETS[name].read(good[name])
    monkeypatch.setattr("lstn.runtime.serving.models.served_model.only_input", broken)
    monkeypatch.setattr(request_targets, "only_input", broken)
    for name, error in (("json", ZeroDivisionError), ("http", AssertionError), ("grpc", AssertionError)):
        with pytest.raises(error):
            TARGETS[name].read(good[name])


def test_a_target_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import fuzz

    with pytest.raises(SystemExit):
        fuzz.main(["nothing", "--out", str(tmp_path / "fuzz.json")])
    assert "unknown target nothing" in capsys.readouterr().err
