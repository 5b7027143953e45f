import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from lstn.evaluation.answer import Guess
from lstn.runtime.inference.result_rows import ResultRow
from lstn.runtime.inference.row_text import csv_rows, json_rows, table_rows

THETA = np.array([[1, 0, 0.125], [0, 1, -0.25]], np.float32)
NASTY = ["=1+1", "+1", "-1", "@x", "a,b", 'say "hi"', "two\nlines", "tab\there", "\x1b[31mred", "\u202egnp.exe", "猫"]


def rows() -> list[ResultRow]:
    return [
        ResultRow(Path("a.png"), (Guess("cat", 0.75), Guess("dog", 0.25)), THETA),
        ResultRow(Path("b.png"), error="not an image"),
        ResultRow(Path("c.png"), (Guess("dog", 0.5), Guess("cat", 0.5))),
    ]


def as_json(*batches: list[ResultRow]) -> str:
    stream = io.StringIO()
    with json_rows(stream) as write:
        for batch in batches:
            write(batch)
    return stream.getvalue()


def as_csv(batch: list[ResultRow], top: int = 1) -> str:
    stream = io.StringIO()
    with csv_rows(stream, top=top) as write:
        write(batch)
    return stream.getvalue()


def as_table(batch: list[ResultRow], width: int = 80, labels: tuple[str, ...] = ("cat", "dog")) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False)
    with table_rows(console, labels=labels, paths=[row.path for row in batch]) as write:
        write(batch)
    return stream.getvalue()


def test_json_parses_back_whatever_the_batches() -> None:
    expected = [
        {
            "path": "a.png",
            "label": "cat",
            "probability": 0.75,
            "top": [{"label": "cat", "probability": 0.75}, {"label": "dog", "probability": 0.25}],
            "theta": [[1, 0, 0.125], [0, 1, -0.25]],
        },
        {"path": "b.png", "error": "not an image"},
        {
            "path": "c.png",
            "label": "dog",
            "probability": 0.5,
            "top": [{"label": "dog", "probability": 0.5}, {"label": "cat", "probability": 0.5}],
        },
    ]
    assert json.loads(as_json(rows())) == json.loads(as_json(rows()[:1], rows()[1:])) == expected
    assert len(as_json(rows()).splitlines()) == 5  # a row on each line, for grep
    assert json.loads(as_json()) == []


def test_what_was_rejected_has_no_label_in_any_format() -> None:
    row = ResultRow(Path("a.png"), (Guess("cat", 0.4), Guess("dog", 0.3)), rejected=True)
    (fields,) = json.loads(as_json([row]))
    assert (fields["label"], fields["probability"], fields["top"][0]["label"]) == (None, 0.4, "cat")
    assert as_csv([row], top=2).splitlines()[1] == "a.png,,0.400000,,0.300000,"
    assert as_table([row]).rstrip() == "a.png  rejected: cat 40.0 %"


def test_json_has_every_warp_of_an_image() -> None:
    both = np.stack([THETA, THETA / 3])
    (row,) = json.loads(as_json([ResultRow(Path("a.png"), (Guess("cat", 0.75),), both)]))
    assert row["theta"][0] == [[1, 0, 0.125], [0, 1, -0.25]]
    assert row["theta"][1] == [[0.333333, 0, 0.041667], [0, 0.333333, -0.083333]]


def test_csv_parses_back_with_a_column_for_each_rank() -> None:
    header, *lines = csv.reader(io.StringIO(as_csv(rows(), top=2)))
    assert header == ["path", "label", "probability", "label_2", "probability_2", "error"]
    assert lines == [
        ["a.png", "cat", "0.750000", "dog", "0.250000", ""],
        ["b.png", "", "", "", "", "not an image"],
        ["c.png", "dog", "0.500000", "cat", "0.500000", ""],
    ]


@pytest.mark.parametrize("name", NASTY)
def test_json_keeps_nasty_names_exactly_and_in_ascii(name: str) -> None:
    text = as_json([ResultRow(Path(name), (Guess(name, 1.0),))])
    assert text.isascii()
    (row,) = json.loads(text)
    assert (row["path"], row["label"]) == (name, name)


@pytest.mark.parametrize("name", NASTY)
def test_csv_and_tables_are_safe_to_open_and_to_print(name: str) -> None:
    nasty = [ResultRow(Path(name), (Guess(name, 1.0),)), ResultRow(Path(name), error=name)]
    text = as_csv(nasty)
    header, *lines = csv.reader(io.StringIO(text))
    assert len(text.splitlines()) == 3
    assert all(len(line) == len(header) for line in lines)
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line)
    for output in (text, as_table(nasty)):
        assert output.replace("\n", "").isprintable()


def test_a_path_like_a_formula_stays_a_path() -> None:
    assert as_csv([ResultRow(Path("=1+1.png"), error="x")]).splitlines()[1] == "./=1+1.png,,,x"


def test_a_name_that_is_no_utf8_can_be_written() -> None:
    path = Path("\udcff.png")
    assert json.loads(as_json([ResultRow(path, error="x")]))[0]["path"] == "\udcff.png"
    as_csv([ResultRow(path, error="x")]).encode()
    as_table([ResultRow(path, error="x")]).encode()


def test_a_table_shows_further_guesses_below() -> None:
    assert as_table(rows()).splitlines() == [
        "a.png  cat        75.0 %  ████████",
        "       dog        25.0 %  ██",
        "b.png  not an image",
        "c.png  dog        50.0 %  █████",
        "       cat        50.0 %  █████",
    ]


@given(
    st.integers(34, 200),
    st.text(min_size=1, max_size=80).filter(lambda text: "/" not in text and "\0" not in text),
    st.text(min_size=1, max_size=80),
)
def test_no_line_of_guesses_is_wider_than_the_terminal(width: int, path: str, label: str) -> None:
    text = as_table([ResultRow(Path(path), (Guess(label, 1.0),))], width, (label, "other"))
    assert len(text.splitlines()) == 1
    assert cell_len(text.rstrip("\n")) <= width


def test_a_long_path_is_cut_from_the_left() -> None:
    assert as_table([ResultRow(Path("folder/" * 20 + "name.png"), (Guess("cat", 1.0),))], 60).startswith("…")
    assert "/name.png  cat" in as_table([ResultRow(Path("folder/" * 20 + "name.png"), (Guess("cat", 1.0),))], 60)
