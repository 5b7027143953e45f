"""Verdict on a command of which one system call failed: it ended well, or said why in a line, and harmed nothing."""

import csv
import io
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lstn.health.run_health import METRICS
from lstn.imports import require

RIGHT, REFUSED, MISSED = "right", "refused", "doesn't make the call"

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp(/|$)")
_SAVING_TIME = ("cache/", "home/")
"""Folders of what may be lost."""

Files = Mapping[str, bytes]
"""What each file of a folder says, by its path below the folder."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, negative for a signal and None if it hung; what it said; what it left."""

    code: int | None
    told: str
    files: Files


def verdict(ended: Ended, before: Files, good: Files, struck: str, stdout: str = "") -> str:
    """Return `RIGHT`, `REFUSED`, or what is wrong.

    before: what stood there before the command
    good:   what it leaves when no call fails
    struck: the path of the call that failed, below the folder
    stdout: a file that the command's output goes to: of a command that fails, it holds what came before
    """
    if ended.code is None:
        return "hangs"
    if ended.code < 0:
        return f"killed by signal {-ended.code}"
    if wrong := _ill_said(ended) or _harm(ended, before, good, {struck, stdout if ended.code else ""}):
        return wrong
    if ended.code:
        return REFUSED
    others = [path for path in good if not path.startswith(_SAVING_TIME) and ended.files.get(path) != good[path]]
    return f"ends well without its {others[0]}" if others else RIGHT


def files_below(folder: Path) -> dict[str, bytes]:
    """Return what is in each file, without the seconds that things took, and safetensors' order of its metadata."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): _content(path.name, path.read_bytes()) for path in found}


def _ill_said(ended: Ended) -> str:
    for word in ("Traceback", "Exception ignored", "defect of lstn", "terminate called"):
        if word in ended.told:
            return f"says {word!r}"
    errors = len(re.findall(r"^error: .*\S", ended.told, re.MULTILINE))
    if errors != bool(ended.code) or ended.code not in (0, 1, 2):
        return f"ends with {ended.code} after {errors} lines of error"
    return ""


def _harm(ended: Ended, before: Files, good: Files, free: set[str]) -> str:
    """free: of what can't be removed, it is all that is left"""
    for path, content in ended.files.items():
        old_or_new = content in (before.get(path), good.get(path))
        if path.startswith(_SAVING_TIME) or old_or_new or path in free or _in_temporary(path, free):
            continue
        if _TEMPORARY.search(path) or path.startswith("tmp/"):
            return f"leaves {_TEMPORARY.sub('.########.tmp', path)}"
        if not (ended.code and _may_differ(path, content, good)):
            return f"leaves a {path} that is neither the old one nor the new one"
    lost = [path for path in before if path in good and path not in ended.files]
    return f"removes {lost[0]}" if lost else ""


def _in_temporary(path: str, free: set[str]) -> bool:
    """Whether it lies in a folder for temporary files that can't be removed."""
    return path.startswith("tmp/") and any(path.startswith(f"{folder}/") for folder in free if folder)


def _may_differ(path: str, content: bytes, good: Files) -> bool:
    """Whether it is a file of a run before its end, or rows, of which some hold an error."""
    if path.startswith("runs/"):
        return content.startswith(_WHOLE)
    if path not in good or not path.startswith("rows"):
        return False
    right = _rows(path, good[path])
    return all(row in right for row in _rows(path, content) if not row.get("error"))


_WHOLE = b"whole "


@lru_cache(maxsize=64)
def _content(name: str, raw: bytes) -> bytes:
    with suppress(ValueError, KeyError):  # if it is damaged, so is its content
        if name == METRICS:
            return _WHOLE + _said([_timeless(json.loads(line)) for line in raw.splitlines()])
        if name.endswith(".safetensors"):
            begin = 8 + int.from_bytes(raw[:8], "little")
            entries = json.loads(raw[8:begin])
            metadata = entries.pop("__metadata__")
            state = json.loads(metadata.pop("lstn.state", '{"history": []}'))
            history = [_timeless(row) for row in state.pop("history")]
            if len(raw) != begin + max(entry["data_offsets"][1] for entry in entries.values()):
                return raw
            for entry in entries.values():
                first, end = entry.pop("data_offsets")
                entry["data"] = raw[begin + first : begin + end].hex()
            return _WHOLE + _said([entries, metadata, state, history])
    return raw


def _said(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _timeless(row: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if key != "seconds"}


def _rows(path: str, content: bytes) -> list[dict[str, Any]]:
    match Path(path).suffix:
        case ".csv":
            return list(csv.DictReader(io.StringIO(content.decode())))
        case ".parquet":
            arrow, parquet = require("pyarrow", extra="ray"), require("pyarrow.parquet", extra="ray")
            rows: list[dict[str, Any]] = parquet.read_table(arrow.BufferReader(content)).to_pylist()
            return rows
    return [json.loads(line) for line in content.splitlines()]
