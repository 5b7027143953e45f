"""A table in a terminal of any width: no name and no number is cut."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lstn.report.table import Table, markdown_table, print_table
from lstn.report.web_page import table_section

NAME = "a-model-with-a-rather-long-name.onnx"


def printed(table: Table, width: int) -> list[str]:
    stream = io.StringIO()
    print_table(Console(file=stream, width=width), table)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [120, 80, 40, 20])
def test_every_name_and_number_is_whole_at_any_width(width: int) -> None:
    rows = ((NAME, "1", "12.345", "1"), ("b.onnx", "1", "0.001", "0.976  0.875 to 1.087"), ("", "", "", ""))
    lines = printed(Table("times", ("model", "batch", "p50 ms", "ratio"), rows), width)
    assert any(NAME in line for line in lines)
    text = " ".join(" ".join(lines).split())
    for cell in ("12.345", "0.001", "0.976 0.875 to 1.087", "p50 ms"):
        assert cell in text
    assert all(len(line) <= width or line == NAME for line in lines)


def test_a_table_without_rows_is_its_title_and_note() -> None:
    empty = Table("moves", ("model", "drift px"), (), note="None was found.")
    assert printed(empty, 40) == ["moves", "None was found.", ""]
    assert table_section(empty) == '<section><h2>moves</h2><p class="note">None was found.</p></section>'


def test_numbers_stand_below_their_headings_where_they_fit() -> None:
    rows = ((NAME, "1", "12.345"), ("b.onnx", "100", "0.001"))
    lines = printed(Table("", ("model", "batch", "p50 ms"), rows), 40)
    assert lines[:5] == ["model", "  batch  p50 ms", NAME, "      1  12.345", "b.onnx"]


def test_numbers_bring_their_headings_where_nothing_fits() -> None:
    rows = (("a", "1", "12.345", ""),)
    lines = printed(Table("", ("model", "a long heading", "another heading", "no figure"), rows), 30)
    assert lines[:2] == ["model", "a"]
    assert " ".join(" ".join(lines[2:]).split()) == "a long heading 1, another heading 12.345"


@given(
    st.lists(st.tuples(*[st.text(alphabet="ab[]\\ é", max_size=9)] * 3), min_size=1, max_size=4),
    st.integers(min_value=10, max_value=60),
)
def test_no_cell_is_lost(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = printed(Table("", ("x", "y", "z"), tuple(rows)), width)
    text = "".join("".join(lines).split())
    for row in rows:
        for cell in row:
            assert "".join(cell.split()) in text


def test_markdown_keeps_every_cell_in_its_column() -> None:
    drawn = markdown_table(("name", "a", "b"), [("x|y", 1, "two\nlines"), ("", 2.5, None)])
    assert drawn.splitlines() == [
        "| name | a | b |",
        "|---|---:|---:|",
        r"| x\|y | 1 | two lines |",
        "|  | 2.5 | None |",
    ]
    assert markdown_table(("a", "b"), [], words=2).splitlines() == ["| a | b |", "|---|---|"]
