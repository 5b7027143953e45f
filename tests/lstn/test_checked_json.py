"""JSON from elsewhere is a value of the wanted type, or one line that names the field, what was expected and found."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import Loc
from lstn.errors import ArtifactError
from lstn.untrusted.checked_json import Count, Finite, Share, checked, parsed, read_bytes, read_text


@dataclass(frozen=True, slots=True)
class _Wanted:
    count: Count
    share: Share
    loc: Loc
    ranges: dict[str, tuple[Finite, Finite]]
    name: str = ""


GOOD: dict[str, Any] = {"count": 2, "share": 1, "loc": "lstn", "ranges": {"a": [0, 1.5]}}


def test_lists_become_tuples_and_words_enums() -> None:
    found = read_text(json.dumps(GOOD), _Wanted, source="x.json", what="thing")
    assert found == _Wanted(2, 1.0, Loc.LSTN, {"a": (0.0, 1.5)})
    assert type(found.share) is float


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 0}, "count: expected int >= 1, found 0"),
        ({"count": True}, "count: expected int, found True"),
        ({"count": 2.5}, "count: expected int, found 2.5"),
        ({"count": 2**64}, f"count: expected int <= {2**63 - 1}, found {2**64}"),
        ({"share": 1.5}, "share: expected float <= 1.0, found 1.5"),
        ({"share": "1"}, "share: expected float, found '1'"),
        ({"share": 10**400}, "share: number out of range, found 1000"),
        ({"loc": "lsnt"}, "loc: unknown value 'lsnt'"),
        ({"ranges": {"a": [1]}}, "ranges[...]: expected list of length 2"),
        ({"ranges": []}, "ranges: expected object, found []"),
        ({"name": None}, "name: expected str, found None"),
        ({"name": "x" * 9999, "share": None}, "share: expected float, found None"),
        ({"more": 1}, "'more' is unknown"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_text(json.dumps(GOOD | changes), _Wanted, source="x.json", what="thing", hint="cure", exactly=True)
    assert caught.value.message.startswith(f"x.json: damaged thing ({says}")
    assert len(caught.value.message) < 400
    assert caught.value.hint == "cure"


@pytest.mark.parametrize("name", ["count", "share", "loc", "ranges", "name"])
def test_what_is_missing_is_named(name: str) -> None:
    fields = {key: value for key, value in (GOOD | {"name": "a"}).items() if key != name}
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        checked(fields, _Wanted, required=("name",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 1}', "'a' stands twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "'c' stands twice"),
        ('{"a": NaN}', "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[" * 200_000, "nests too deep"),
        ('{"a":' * 200_000, "nests too deep"),
        ("1" * 10_000, "digits"),
        ("", "Expecting value"),
        (b"\xff\xfe\x00", "Expecting value|decode"),
    ],
)
def test_what_json_must_not_say_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parsed(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(list(GOOD)), inner),
    max_leaves=8,
)


@given(ANYTHING, st.sampled_from([*GOOD, ""]))
def test_anything_is_a_value_or_one_line(value: object, name: str) -> None:
    text = json.dumps(GOOD | {name: value} if name else value)
    try:
        read_text(text, _Wanted, source="evil.json", what="thing")
        said = "evil.json: damaged thing ("
    except ArtifactError as error:
        said = error.message
    assert said.startswith("evil.json: damaged thing (")
    assert len(said.splitlines()) == 1


def test_a_file_is_no_larger_than_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(bytes(1 << 20))
    assert len(read_bytes(path, most=1 << 20, what="a thing")) == 1 << 20
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ArtifactError, match=r"larger than 1 MiB, so it is not a thing$"):
        read_bytes(path, most=1 << 20, what="a thing")
    with pytest.raises(ArtifactError, match=r"gone.json: No such file"):
        read_bytes(tmp_path / "gone.json", most=1, what="a thing")
