"""Formats of the rows of `lstn infer`."""

import sys
from enum import Enum
from pathlib import Path

from lstn.errors import UsageError
from lstn.formats.outputs import ROWS_CSV, ROWS_JSON, ROWS_JSONL, ROWS_TABLE


class Format(str, Enum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


KINDS = {
    Format.TABLE: ROWS_TABLE,
    Format.JSON: ROWS_JSON,
    Format.JSONL: ROWS_JSONL,
    Format.CSV: ROWS_CSV,
}
_BY_SUFFIX = {suffix: name for name, kind in KINDS.items() for suffix in kind.suffixes}
"""What the suffix of --output asks for."""


def row_format(wanted: Format | None, output: Path | None) -> Format:
    """Return what is asked for by --format, or else by the suffix of --output.

    Raises:
        UsageError: a format that isn't written here, or a suffix that is none of a format.
    """
    suffix = "" if output is None else output.suffix.lower()
    if wanted is Format.PARQUET or (wanted is None and suffix == ".parquet"):
        raise UsageError("parquet is written with --ray only", hint=f"choose one of: {', '.join(_BY_SUFFIX)}")
    if wanted is not None:
        return wanted
    if suffix and suffix not in _BY_SUFFIX:
        hint = f"choose one of {', '.join(_BY_SUFFIX)}, or add --format"
        raise UsageError(f"--output {output}: the suffix {suffix} names no format of rows", hint=hint)
    if output is not None:
        return _BY_SUFFIX.get(suffix, Format.CSV)
    return Format.TABLE if sys.stdout.isatty() else Format.CSV
