"""Give `lstn` very many files, classes, pixels and connections, long labels, and machines that are not as usual.

    python -m benchmarks loads [--only NAME] [--out FILE]

100,000 files in one folder, 10,000 classes, sides of 8,192 pixels, 1,000 connections at once, labels of 200 characters
in any script; a clock that jumps, a full temporary folder, a read-only home, no HOME, LANG=C, a umask of 077. Each
command must end well, with the engine's own answers, or with one line that says why. Ends with 1 if one didn't.

Needs: Linux, root for users and a full disk, libfaketime, torch, Ray, OpenVINO and tritonclient.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.loads.large_images import large_images
from benchmarks.support.loads.long_labels import long_labels
from benchmarks.support.loads.many_classes import many_classes
from benchmarks.support.loads.many_connections import many_connections
from benchmarks.support.loads.many_files import many_files
from benchmarks.support.loads.measured_run import LoadRow
from benchmarks.support.loads.odd_machines import odd_machines
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.report.table import markdown_table

RESULT = "results/loads/loads.json"
LOADS: Mapping[str, tuple[str, Callable[[Path], Iterator[LoadRow]]]] = {
    "files": ("100,000 files in one folder", many_files),
    "classes": ("10,000 classes", many_classes),
    "pixels": ("Sides of 8,192 pixels", large_images),
    "connections": ("1,000 connections at once", many_connections),
    "labels": ("Labels of 200 characters", long_labels),
    "machines": ("Machines that are not as usual", odd_machines),
}
"""A name for --only -> the title, and what yields the rows, in an empty folder."""

LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "uvicorn", "grpcio")
_TOLD = 160


def main(words: Sequence[str]) -> None:
    """Run, print, and write what was found."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument(
        "--only", action="append", choices=LOADS, metavar="NAME", help="run this one; FILE keeps the rest"
    )
    arguments = parser.parse_args(words)
    kept = json.loads(arguments.out.read_text())["loads"] if arguments.only and arguments.out.is_file() else {}
    wrong = 0
    for name in arguments.only or LOADS:
        kept[name] = list(loaded(name))
        wrong += sum(bool(row["wrong"]) for row in kept[name])
        result = {"loads": {each: kept[each] for each in LOADS if each in kept}} | machine_of(LIBRARIES)
        write_result(arguments.out, result, page_of(result))
    print(page_of(result))
    sys.exit(bool(wrong))


def loaded(name: str) -> Iterator[dict[str, Any]]:
    """Run one load in a folder of its own, and yield its rows."""
    with TemporaryDirectory(prefix="lstn-load-") as folder:
        for found in LOADS[name][1](Path(folder)):
            print(f"{name}: {found}", flush=True)
            yield found.row()


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = [row for rows in result["loads"].values() for row in rows]
    lines = [
        "# Loads of many",
        "",
        "Very many files, classes, pixels and connections, long labels, and machines that are not as usual. Each",
        "command ran in a process of its own. *Peak* is the largest resident memory of its process, or what the server",
        "held afterwards.",
        "",
        f"{len(rows)} cases; wrong: **{sum(bool(row['wrong']) for row in rows)}**.",
        "",
    ]
    for name, found in result["loads"].items():
        lines += [f"## {LOADS[name][0]}", "", markdown_table(_COLUMNS, list(map(_cells, found))), ""]
    lines += [f"{result['cpu']}, two cores that other work shared, {versions_of(result)}. Made with"]
    return "\n".join([*lines, "`python -m benchmarks loads`.", ""])


_COLUMNS = ("what", "seconds", "peak, MB", "exit", "told")


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    told = f"**wrong**: {row['wrong']}" if row["wrong"] else row["told"]
    code = "" if row["code"] is None else row["code"]
    return row["what"], row["seconds"], row["peak_mb"] or "", code, " ".join(told.replace("|", "/").split())[:_TOLD]
