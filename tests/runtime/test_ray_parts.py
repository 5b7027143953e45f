import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import MakeTiny, Tiny
from tiny_detector import tiny_detector
from tiny_reader import tiny_reader
from tiny_tagger import TAGS, tiny_tagger

from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import sha256_of
from lstn.imports import require
from lstn.runtime.ray import result_parts as parts_module
from lstn.runtime.ray.result_parts import Fields, ResultRun, key_of, open_parts, run_of

RUN = ResultRun("a" * 64, "b" * 64, 1, "json")
PARQUET = ResultRun("a" * 64, "b" * 64, 1, "parquet")
DETECTOR = ResultRun("a" * 64, "b" * 64, 100, "parquet", 0.3)


def row(name: str) -> Fields:
    guess = {"label": "ant", "probability": 0.25}
    return {"path": name, **guess, "top": [guess], "theta": [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]}


def broken(name: str) -> Fields:
    return {"path": name, "error": "not an image"}


def names_in(folder: Path) -> list[str]:
    return [json.loads(line)["path"] for part in sorted(folder.glob("*.jsonl")) for line in part.open()]


@pytest.mark.parametrize("run", [RUN, PARQUET])
def test_what_is_done_is_known_again(tmp_path: Path, run: ResultRun) -> None:
    with open_parts(tmp_path / "rows", run) as parts:
        assert parts.add([row("/a"), broken("/b")]) == 2
        assert parts.add([row("/a"), row("/c")]) == 1
    with open_parts(tmp_path / "rows", run) as parts:
        assert parts.done == {key_of(name) for name in ("/a", "/b", "/c")}
        assert parts.failed == 1
        assert parts.add([row("/b"), row("/d"), row("/d")]) == 1
    suffix = {"json": "jsonl", "parquet": "parquet"}[run.format]
    found = sorted(path.name for path in (tmp_path / "rows").iterdir())
    assert found == [f"part-000000.{suffix}", f"part-000001.{suffix}", "run.json"]


def test_parquet_holds_what_json_holds(tmp_path: Path) -> None:
    rows = [row("/a"), {key: value for key, value in row("/b").items() if key != "theta"}, broken("/c\udcff")]
    with open_parts(tmp_path, PARQUET) as parts:
        parts.add(rows)
    table = require("pyarrow.parquet", extra="ray").read_table(tmp_path / "part-000000.parquet")
    found = [{name: value for name, value in each.items() if value is not None} for each in table.to_pylist()]
    assert found == [rows[0], rows[1], broken("/c\\udcff")]
    with open_parts(tmp_path, PARQUET) as parts:
        assert key_of("/c\udcff") in parts.done


def test_rows_of_several_warps_lie_one_below_another_in_parquet(tmp_path: Path) -> None:
    warps = [[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], [[0.5, 0.0, -0.5], [0.0, 0.5, 0.25]]]
    with open_parts(tmp_path, PARQUET) as parts:
        parts.add([row("/a") | {"theta": warps}])
    table = require("pyarrow.parquet", extra="ray").read_table(tmp_path / "part-000000.parquet")
    assert table.to_pylist()[0]["theta"] == [*warps[0], *warps[1]]


def test_texts_lie_in_parquet_as_in_json(tmp_path: Path) -> None:
    guess = {"text": "12", "probability": 0.5}
    symbol = {"label": "1", "score": 0.75, "box": [0.0, 0.0, 0.5, 1.0], "theta": [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]}
    rows = [{"path": "/a", **guess, "top": [guess], "symbols": [symbol]}, broken("/b")]
    with open_parts(tmp_path, ResultRun("a" * 64, "b" * 64, 1, "parquet", texts=True)) as parts:
        parts.add(rows)
    table = require("pyarrow.parquet", extra="ray").read_table(tmp_path / "part-000000.parquet")
    assert table.column_names == ["path", "text", "probability", "top", "symbols", "error"]
    assert [{name: value for name, value in each.items() if value is not None} for each in table.to_pylist()] == rows


def test_a_readers_run_says_that_it_has_texts(tmp_path: Path) -> None:
    reader = tiny_reader(tmp_path / "reader.onnx")
    found = run_of(reader.path, top=None, format_="json", reject_below=0.5)
    assert (found.top, found.score, found.reject_below, found.texts) == (1, None, 0.5, True)
    with pytest.raises(UsageError, match="--score is for models that detect, and this one reads"):
        run_of(reader.path, top=None, format_="json", score=0.5)


def test_labels_lie_in_parquet_as_in_json(tmp_path: Path) -> None:
    theta = [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]
    guess = {"label": "ant", "probability": 0.75}
    rows = [{"path": "/a", "labels": [guess, guess], "theta": theta}, {"path": "/b", "labels": []}, broken("/c")]
    with open_parts(tmp_path, ResultRun("a" * 64, "b" * 64, 4, "parquet", tags=True)) as parts:
        parts.add(rows)
    table = require("pyarrow.parquet", extra="ray").read_table(tmp_path / "part-000000.parquet")
    assert table.column_names == ["path", "labels", "theta", "error"]
    assert [{name: value for name, value in each.items() if value is not None} for each in table.to_pylist()] == rows


def test_the_run_of_a_model_that_tags_has_room_for_all_labels(tmp_path: Path) -> None:
    tagger = tiny_tagger(tmp_path / "tagger.onnx")
    found = run_of(tagger.path, top=None, format_="json")
    assert (found.top, found.score, found.tags) == (len(TAGS), None, True)
    asked = run_of(tagger.path, top=2, format_="json", score=0.25)
    assert (asked.top, asked.score) == (2, 0.25)
    with pytest.raises(UsageError, match="--reject-below is for models that classify, and this one tags"):
        run_of(tagger.path, top=None, format_="json", reject_below=0.5)


def test_objects_lie_in_parquet_as_in_json(tmp_path: Path) -> None:
    """Rows without an object too, and a part with nothing but errors: all parts have the same columns."""
    found = {"label": "bus", "score": 0.75, "box": [0.1, 0.2, 0.3, 0.4], "theta": [[0.1, 0.0, 0.5], [0.0, 0.1, 0.25]]}
    rows = [{"path": "/a", "objects": [found, found | {"score": 0.5}]}, {"path": "/b", "objects": []}, broken("/c")]
    for part in (rows, [broken("/d")]):
        with open_parts(tmp_path, DETECTOR) as parts:
            parts.add(part)
    parquet = require("pyarrow.parquet", extra="ray")
    first, second = (parquet.read_table(tmp_path / f"part-00000{number}.parquet") for number in range(2))
    assert first.schema == second.schema
    assert first.column_names == ["path", "objects", "error"]
    told = [{name: value for name, value in row.items() if value is not None} for row in first.to_pylist()]
    assert told == rows
    with open_parts(tmp_path, DETECTOR) as parts:
        assert (len(parts.done), parts.failed) == (4, 2)


def test_a_part_is_full_or_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PART_ROWS", 3)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with open_parts(tmp_path, RUN) as parts:
        parts.add([row("/a"), row("/b")])
        assert names_in(tmp_path) == []
        parts.add([row("/c")])
        assert names_in(tmp_path) == ["/a", "/b", "/c"]
        parts.add([row("/d")])
        now[0] = parts_module.PART_S
        parts.add([])
        assert names_in(tmp_path) == ["/a", "/b", "/c", "/d"]


def test_an_error_keeps_the_rows_that_came_before_it(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_parts(tmp_path, RUN) as parts:
            parts.add([row("/a")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names_in(tmp_path) == ["/a"]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (ResultRun("c" * 64, "b" * 64, 1, "json"), "engine_sha256 aaa"),
        (ResultRun("a" * 64, "c" * 64, 1, "json"), "onnx_sha256 bbb"),
        (ResultRun("a" * 64, "b" * 64, 2, "json"), "top 1, not 2"),
        (PARQUET, "format json, not parquet"),
        (ResultRun("a" * 64, "b" * 64, 1, "json", 0.3), "score None, not 0.3"),
        (ResultRun("a" * 64, "b" * 64, 1, "json", None, 0.3), "reject_below None, not 0.3"),
    ],
)
def test_two_models_or_options_never_share_a_folder(tmp_path: Path, other: ResultRun, told: str) -> None:
    with open_parts(tmp_path, RUN) as parts:
        parts.add([row("/a")])
    with pytest.raises(UsageError) as caught, open_parts(tmp_path, other):
        pass
    assert told in caught.value.message


def test_a_run_without_a_row_claims_nothing(tmp_path: Path) -> None:
    with open_parts(tmp_path, RUN):
        pass
    with open_parts(tmp_path, PARQUET) as parts:
        parts.add([row("/a")])
    assert json.loads((tmp_path / "run.json").read_text())["format"] == "parquet"


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        open_parts(tmp_path, RUN),
        pytest.raises(UsageError, match=f"process {os.getpid()} on .* writes there now"),
        open_parts(tmp_path, RUN),
    ):
        pass
    with open_parts(tmp_path, RUN):
        pass


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="other files"), open_parts(tmp_path, RUN):
        pass
    with pytest.raises(LstnError, match="--out"), open_parts(tmp_path / "holiday.jpg", RUN):
        pass


@pytest.mark.parametrize("run", [RUN, PARQUET])
@pytest.mark.parametrize("name", ["part-000000", "part-zero", "run"])
def test_a_damaged_file_is_named(tmp_path: Path, run: ResultRun, name: str) -> None:
    with open_parts(tmp_path, run) as parts:
        parts.add([row("/a")])
    path = tmp_path / ("run.json" if name == "run" else f"{name}{next(tmp_path.glob('part-*')).suffix}")
    path.write_bytes(b'{"path": "/a"')
    with pytest.raises(ArtifactError, match=path.name), open_parts(tmp_path, run):
        pass


def test_a_row_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_parts(tmp_path, RUN) as parts:
        parts.add([row("/a")])
    monkeypatch.setattr(parts_module, "_MAX_ROW", 20)
    with pytest.raises(ArtifactError, match="damaged part"), open_parts(tmp_path, RUN):
        pass


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left, own = tmp_path / ".part-000000.jsonl.0123abcd.tmp", tmp_path / ".notes.tmp"
    left.touch()
    own.touch()
    with open_parts(tmp_path, RUN):
        assert (left.exists(), own.exists()) == (False, True)


def test_a_run_names_the_bytes_of_its_model(tiny: Tiny, make_tiny: MakeTiny, plan: Path) -> None:
    run = run_of(tiny.path, top=1, format_="json")
    assert run.engine_sha256 == run.onnx_sha256 == sha256_of(tiny.path)
    assert run_of(make_tiny("b.onnx", seed=1).path, top=1, format_="json") != run
    assert run_of(make_tiny("c.onnx").path, top=1, format_="json") == run
    assert (run.top, run.score) == (run_of(tiny.path, top=None, format_="json").top, None)
    with pytest.raises(UsageError, match="--score is for models that detect"):
        run_of(tiny.path, top=None, format_="json", score=0.5)
    planned = run_of(plan, top=1, format_="json")
    assert planned.engine_sha256 == sha256_of(plan)
    assert planned.onnx_sha256 != planned.engine_sha256


def test_a_run_of_a_detector_names_the_lowest_score(tmp_path: Path) -> None:
    detector = tiny_detector(tmp_path / "detector.onnx").path
    run = run_of(detector, top=None, format_="json", score=0.25)
    assert (run.top, run.score) == (100, 0.25)
    assert run_of(detector, top=3, format_="json").top == 3
    assert run_of(detector, top=100, format_="json", score=0.25) == run
    assert run_of(detector, top=None, format_="json", score=0.5) != run


def test_results_from_before_detectors_go_on(tmp_path: Path) -> None:
    with open_parts(tmp_path, RUN) as parts:
        parts.add([row("/a")])
    told = json.loads((tmp_path / "run.json").read_text())
    del told["score"]
    (tmp_path / "run.json").write_text(json.dumps(told))
    with open_parts(tmp_path, RUN) as parts:
        assert parts.done == {key_of("/a")}


@given(st.text(), st.text())
def test_keys_differ_where_names_do(one: str, other: str) -> None:
    assert len(key_of(one)) == 16
    assert (key_of(one) == key_of(other)) == (one == other)
