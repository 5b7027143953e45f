"""Fuzz whatever reads what others send, guided by coverage: does it read or refuse, and nothing else?

    python -m benchmarks fuzz [TARGET …] [--cases N] [--out FILE]

Targets are readers of files (support/fuzzing/targets.py) and of requests (request_targets.py there). Each begins with
its corpus, benchmarks/support/fuzzing/corpora/TARGET, and with good files that it makes. A reader may answer, or refuse
in one line. Any other exception, an answer that something independent contradicts, more than 10 s or 2 GiB is a fault:
its bytes are then kept as FAULT-… in the corpus, where tests read them too. What runs new lines is added to the corpus,
of which a few small files are kept. The cases are added to those that FILE has, and begin with another seed. Ends with
1 after a fault.

Needs: atheris, from the extra fuzz.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.fuzzing.request_targets import REQUESTS
from benchmarks.support.fuzzing.targets import READERS
from benchmarks.support.memory_folder import memory_folder
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.errors import LstnError
from lstn.imports import require
from lstn.report.table import markdown_table

RESULT = "results/fuzz/fuzz.json"
CORPORA = Path(__file__).parent / "support" / "fuzzing" / "corpora"
TARGETS = READERS | REQUESTS
LIBRARIES = ("httptools", "pillow", "protobuf", "uvicorn")
MOST_FILES, LARGEST = 40, 1024
"""Files of a corpus, as it is kept, and their bytes at most."""

_MOST_BYTES, _TIMEOUT_S, _MEMORY_MB = 4096, 10, 2048
_DONE = re.compile(r"#(\d+)\s+(?:DONE|INITED|NEW|REDUCE|pulse|RELOAD).*?cov: (\d+) ft: (\d+)")
_ENDED = re.compile(r"Done (\d+) runs in (\d+) second")


def main(words: Sequence[str]) -> None:
    """Fuzz, print, and write what was found."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--cases", type=int, default=1_000_000, metavar="N", help="for each; default: 1000000")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"unknown target {min(unknown)}")
    require("atheris", extra="fuzz")
    faults = 0
    for name in arguments.targets or TARGETS:
        figures = fuzzed(name, arguments.cases, _kept(arguments.out).get(name, {}).get("runs", 0) + 1)
        faults += len(figures["faults"])
        print(name, figures, flush=True)
        kept = _kept(arguments.out)  # read again each time: another process may fuzz other targets
        found = kept | {name: added(kept[name], figures) if name in kept else figures}
        result = {"targets": {each: found[each] for each in TARGETS if each in found}} | machine_of(LIBRARIES)
        write_result(arguments.out, result, page_of(result))
    print(page_of(result))
    sys.exit(bool(faults))


def _kept(out: Path) -> dict[str, Any]:
    return dict(json.loads(out.read_text())["targets"]) if out.is_file() else {}


def added(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one target's runs together: sums, the most branches, and the corpus of the last one."""
    sums = {each: before[each] + after[each] for each in ("runs", "cases", "seconds", "faults")}
    most = {each: max(before[each], after[each]) for each in ("lines", "features")}
    return sums | most | {"corpus": after["corpus"]}


def fuzzed(target: str, cases: int, seed: int) -> dict[str, Any]:
    """Fuzz one target with so many cases, and keep its corpus; return the figures and the faults' names."""
    kept, started = CORPORA / target, time.monotonic()
    kept.mkdir(parents=True, exist_ok=True)
    with memory_folder() as folder:
        grown, words = Path(folder, "corpus"), Path(folder, "words")
        grown.mkdir()
        for number, data in enumerate(TARGETS[target].begin()):
            grown.joinpath(f"good-{number}").write_bytes(data)
        words.write_text("".join(f'"{word}"\n' for word in TARGETS[target].words))
        told = _run(target, [f"-runs={cases}", f"-seed={seed}", f"-dict={words}", str(grown), str(kept)], folder)
        faults = [_keep_fault(path, kept) for path in _faults_in(Path(folder))]
        corpus = _keep_corpus(grown, kept)
    seen = _DONE.findall(told)
    ended = _ENDED.search(told)
    if not ended and not faults:
        raise LstnError(f"{target}: atheris ended without a fault and without its cases: {told[-500:]}")
    runs, lines, features = (int(each) for each in seen[-1]) if seen else (0, 0, 0)
    return {
        "runs": 1,
        "cases": int(ended[1]) if ended else runs,
        "seconds": round(time.monotonic() - started),
        "lines": lines,
        "features": features,
        "corpus": corpus,
        "faults": faults,
    }


def _run(target: str, words: Sequence[str], folder: str) -> str:
    """Run a process that fuzzes, all of whose files lie in `folder`; return what libFuzzer said."""
    limits = [
        f"-artifact_prefix={folder}/",
        f"-max_len={_MOST_BYTES}",
        f"-timeout={_TIMEOUT_S}",
        f"-rss_limit_mb={_MEMORY_MB}",
    ]
    command = [sys.executable, "-m", "benchmarks.support.fuzzing.fuzzed", target, *limits, *words]
    environment = os.environ | {"TMPDIR": folder}
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    return ended.stderr + ended.stdout


def _faults_in(folder: Path) -> Iterator[Path]:
    for kind in ("crash", "timeout", "oom", "leak", "slow-unit"):
        yield from folder.glob(f"{kind}-*")


def _keep_fault(path: Path, kept: Path) -> str:
    fault = kept / f"FAULT-{path.name[:18]}"
    fault.write_bytes(path.read_bytes())
    return fault.name


def _keep_corpus(grown: Path, kept: Path) -> int:
    """Keep small files of both folders, from the smallest to the largest of them; return how many."""
    files = {path.read_bytes() for folder in (grown, kept) for path in folder.glob("[!F]*")}
    small = sorted((data for data in files if len(data) <= LARGEST), key=lambda data: (len(data), data))
    for path in kept.glob("[!F]*"):
        path.unlink()
    count = min(len(small), MOST_FILES)
    for number in range(count):
        data = small[number * len(small) // count]
        kept.joinpath(hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return count


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Readers, fuzzed",
        "",
        "Each reader of what others send got cases that atheris and libFuzzer made, guided by which lines and branches",
        "of lstn they ran. A reader may answer, or refuse in one line. A fault is anything else: another exception, an",
        f"answer that something independent contradicts, more than {_TIMEOUT_S} s for one case, or more than 2 GiB.",
        "",
        markdown_table(
            ("target", "cases", "seconds", "cases a second", "branches", "files in the corpus", "faults"),
            [_row(name, each) for name, each in result["targets"].items()],
        ),
        "",
        "*Branches* are the places in the code that were reached, as atheris counts them. Corpora hold files that",
        f"reached new ones, at most {MOST_FILES} each of up to {LARGEST} bytes; tests read them all.",
        "",
        f"{result['cpu']}, {versions_of(result)}. Made with `python -m benchmarks fuzz`.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, each: dict[str, Any]) -> tuple[object, ...]:
    rate = f"{each['cases'] / max(1, each['seconds']):,.0f}"
    return (
        name,
        f"{each['cases']:,}",
        f"{each['seconds']:,}",
        rate,
        f"{each['lines']:,}",
        each["corpus"],
        len(each["faults"]),
    )
