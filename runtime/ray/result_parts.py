"""A folder of results that grows by whole parts, so that a run that was killed goes on where its last part ends.

    run.json                what the rows are answers of: model, options, format
    part-000000.jsonl       rows, each image in one of all parts; or part-000000.parquet

A part is whole or absent. Rows that were in no part when the run ended are computed again.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from lstn.contract import Task
from lstn.detection.suppression import MOST_FOUND
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import remove_leftovers, replacing, sha256_of, write_text
from lstn.formats.engine_origin import origin_of
from lstn.imports import require
from lstn.machine.lock import locked
from lstn.runtime.inference.predict import least_sure
from lstn.untrusted.checked_json import checked, parsed, read_bytes, read_text

Fields: TypeAlias = dict[str, Any]
"""One row as JSON has it; see `lstn.runtime.inference.row_text.fields_of`."""

PART_ROWS = 10_000
"""Rows of a part."""

PART_S = 30.0
"""Seconds after which a part is written with the rows that there are: what a killed run loses at most."""

_RUN, _MAX_RUN = "run.json", 1 << 20
_MAX_ROW = 16 << 20
"""Bytes of a row that is read again; one with a hundred objects has some ten thousand."""

_SUFFIXES = {"json": ".jsonl", "parquet": ".parquet"}


@dataclass(frozen=True, slots=True)
class ResultRun:
    """What makes two answers comparable: rows of another `ResultRun` never join a folder.

    engine_sha256: of the file that computed them; an .xml names the hash of its weights
    onnx_sha256:   of the model.onnx that it was made from, or is
    format:        json or parquet
    score:         the lowest score of an object; or of a model that tags the lowest probability of a label, None if
                   each has its own threshold; None for other models
    reject_below:  the lowest probability of a label or a text; None if every image gets one
    texts, tags:   it is of a model that reads, or of one that tags
    """

    engine_sha256: str
    onnx_sha256: str
    top: int
    format: str
    score: float | None = None
    reject_below: float | None = None
    texts: bool = False
    tags: bool = False


@dataclass(frozen=True, slots=True)
class _PartRow:
    """What of a row is read again."""

    path: str
    error: str | None = None


def run_of(
    engine: Path,
    *,
    top: int | None,
    format_: str,
    score: float | None = None,
    reject_below: float | None = None,
) -> ResultRun:
    """Return what `engine` and these options compute.

    top:   guesses of an image, or objects or labels; None: one guess, or all of them
    score: the lowest one of an object, or probability of one of several labels, 0..1, as it was asked for
    reject_below: the lowest probability of a label, 0..1, as it was asked for

    Raises:
        UsageError: a score of a model that doesn't detect or tag, or a probability of one that does.
        ArtifactError: `engine` is damaged or has no contract, or the files beside it don't belong to it.
    """
    sha256, (contract, onnx_sha256) = sha256_of(engine), origin_of(engine)
    if contract.task is Task.ALIGN:
        raise UsageError("--ray: not for a model that aligns", hint="look for a sentence on one machine")
    most = top or {Task.DETECT: MOST_FOUND, Task.TAG: len(contract.labels)}.get(contract.task, 1)
    least = least_sure(contract, score, reject_below)
    score = least if contract.task in (Task.DETECT, Task.TAG) else None
    reads, tags = contract.task is Task.READ, contract.task is Task.TAG
    return ResultRun(sha256, onnx_sha256, most, format_, score, reject_below, reads, tags)


class Parts:
    """The parts of a folder, which one process at a time adds to.

    done:   keys of the images that have a row; see `key_of`
    failed: how many of their rows hold an error
    """

    def __init__(self, folder: Path, run: ResultRun) -> None:
        self.done: set[bytes] = set()
        self.failed = 0
        self._folder = folder
        self._run = run
        self._rows: list[Fields] = []
        self._written_at = time.monotonic()
        self._number = 0
        for part in sorted(folder.glob(f"part-*{_SUFFIXES[run.format]}")):
            self._number = _number_of(part) + 1
            for name, failed in _read(part):
                self.done.add(key_of(name))
                self.failed += failed

    def add(self, rows: Sequence[Fields]) -> int:
        """Take the rows of images that have none yet, and return how many those are.

        Raises:
            LstnError: the part that is full now can't be written.
        """
        added = 0
        for row in rows:
            key = key_of(row["path"])
            if key not in self.done:
                self.done.add(key)
                self.failed += "error" in row
                self._rows.append(row)
                added += 1
        if len(self._rows) >= PART_ROWS or (self._rows and time.monotonic() - self._written_at >= PART_S):
            self.flush()
        return added

    def flush(self) -> None:
        """Write the rows that are in no part yet.

        Raises:
            LstnError: they can't be written.
        """
        if self._rows:
            part = self._folder / f"part-{self._number:06d}{_SUFFIXES[self._run.format]}"
            with replacing(part) as temporary:
                _WRITERS[self._run.format](temporary, self._rows, self._run)
            self._number += 1
            self._rows = []
        self._written_at = time.monotonic()


def key_of(name: str) -> bytes:
    """Return 16 bytes that stand for a path or URL."""
    return blake2b(_escaped(name).encode(), digest_size=16).digest()


@contextmanager
def open_parts(folder: Path, run: ResultRun) -> Iterator[Parts]:
    """Open the results of `run` in `folder`, or begin them; what was added is written when the block ends, however.

    Raises:
        UsageError: `folder` holds the results of another run, or other files, or a run writes there now.
        ArtifactError: a part is damaged.
        LstnError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with locked(folder):
        others = _names_in(folder)  # not before the lock: another run may come first
        if others and _RUN not in others:
            raise UsageError(f"--out {folder}: holds other files, no results", hint="name a new folder")
        remove_leftovers(folder)  # of a run that was killed
        if set(others) > {_RUN}:
            _check_same(folder, run)
        else:  # nothing yet, or what a run left that ended before its first row
            write_text(folder / _RUN, json.dumps(asdict(run), indent=1) + "\n")
        parts = Parts(folder, run)
        try:
            yield parts
        finally:
            parts.flush()


def _names_in(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208 - names only
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> LstnError:
    return LstnError(f"--out {folder}: {error.strerror}", hint="name a folder to write to")


def _check_same(folder: Path, run: ResultRun) -> None:
    path, hint = folder / _RUN, "name a new folder with --out"
    data = read_bytes(path, most=_MAX_RUN, what="a run of lstn infer", hint=hint)
    found = read_text(data, ResultRun, source=str(path), what="run", hint=hint, exactly=True)
    if found != run:
        differing = {name: value for name, value in asdict(found).items() if value != getattr(run, name)}
        told = ", ".join(f"{name} {value}, not {getattr(run, name)}" for name, value in differing.items())
        raise UsageError(f"--out {folder}: holds the results of another run: {told}", hint="name a new folder")


def _number_of(part: Path) -> int:
    try:
        return int(part.stem.removeprefix("part-"))
    except ValueError as error:
        raise ArtifactError(f"{part}: no part of these results", hint="take it out of the folder") from error


def _read(part: Path) -> Iterator[tuple[str, bool]]:
    """Yield the name of each row, and whether it holds an error."""
    try:
        if part.suffix == ".parquet":
            parquet = require("pyarrow.parquet", extra="ray", package="pyarrow")
            for row in parquet.read_table(part, columns=["path", "error"]).to_pylist():
                yield str(row["path"]), row["error"] is not None
        else:
            with part.open("rb") as lines:
                while line := lines.readline(_MAX_ROW + 1):
                    if len(line) > _MAX_ROW:
                        raise ValueError("a row without an end")
                    row = checked(parsed(line), _PartRow)
                    yield row.path, row.error is not None
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's own are ValueErrors and OSErrors
        raise ArtifactError(f"{part}: damaged part", hint="delete it; its images are computed again") from error


def _write_json(path: Path, rows: Sequence[Fields], run: ResultRun) -> None:
    with path.open("w", encoding="ascii") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Sequence[Fields], run: ResultRun) -> None:
    """Write columns path, label, probability, top, theta, error; of a label or an error the one that is not is null,
    and both if the answer was rejected.

    Of a model that detects: path, objects, error; that tags: path, labels, theta, error; that reads: path, text,
    probability, top, symbols, error. The rows of several warps lie one below another in theta, so that its type is the
    same for all models that classify.
    """
    arrow = require("pyarrow", extra="ray")
    parquet = require("pyarrow.parquet", extra="ray", package="pyarrow")
    text, number = arrow.string(), arrow.float64()
    theta = arrow.list_(arrow.list_(number))
    guess = arrow.struct([("label", text), ("probability", number)])
    found = arrow.struct([("label", text), ("score", number), ("box", arrow.list_(number)), ("theta", theta)])
    answer = [*guess, ("top", arrow.list_(guess)), ("theta", theta)]
    if run.texts:
        guess = arrow.struct([("text", text), ("probability", number)])
        answer = [*guess, ("top", arrow.list_(guess)), ("symbols", arrow.list_(found))]
    elif run.tags:
        answer = [("labels", arrow.list_(guess)), ("theta", theta)]
    elif run.score is not None:
        answer = [("objects", arrow.list_(found))]
    schema = arrow.schema([("path", text), *answer, ("error", text)])
    told = [row | {name: _escaped(row[name]) for name in ("path", "error") if name in row} for row in rows]
    told = [row | ({"theta": _rows_of(row["theta"])} if "theta" in row else {}) for row in told]
    parquet.write_table(arrow.Table.from_pylist(told, schema=schema), path)


def _rows_of(theta: list[Any]) -> list[list[float]]:
    """Return the rows of one warp or of several, (K, …), as nested lists."""
    several = isinstance(theta[0][0], list)
    return [line for warp in theta for line in warp] if several else theta


def _escaped(name: str) -> str:
    """Return a name as UTF-8 can hold it: bytes of a file's name that are none are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


_WRITERS = {"json": _write_json, "parquet": _write_parquet}
