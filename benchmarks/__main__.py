"""Run a benchmark: `python -m benchmarks NAME`. Without a name, list them.

Every module directly in this folder is a benchmark: `main(words)` runs it, the first line of its docstring says what it
is, the line that begins with `Needs:` what must be there, and `RESULT` where the result lies. What benchmarks share
lies in `support/`. The list reads the source, so that it imports nothing.
"""

import ast
import io
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lstn.errors import LstnError, UsageError

USAGE = "usage: python -m benchmarks NAME [its options]\n       python -m benchmarks NAME --help"
_INDENT = 15


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What the list says of one benchmark; `needs` and `result` may be empty."""

    name: str
    summary: str
    needs: str
    result: str


def benchmarks() -> dict[str, Benchmark]:
    """Return every benchmark by its name, in the order of the alphabet."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {path.stem: _described(path.stem, ast.parse(path.read_text(encoding="utf-8"))) for path in files}


def listing(known: Iterable[Benchmark], width: int) -> str:
    """Return the list, no wider than so many columns."""
    return "\n".join([USAGE, "", *(line for each in known for line in _lines(each, width))])


def run(words: Sequence[str]) -> None:
    """Run the benchmark that the first word names with the others as its arguments; list all without a word.

    Raises:
        UsageError: there is no such benchmark.
        LstnError: what the benchmark needs isn't there.
    """
    known = benchmarks()
    if not words or words[0] in ("-h", "--help"):
        _show(listing(known.values(), shutil.get_terminal_size().columns))
        return
    name, *its_own = words
    if name not in known:
        near = get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}?" if near else "for their names: python -m benchmarks"
        raise UsageError(f"there is no benchmark {name!r:.60}; {meant}")
    try:
        import_module(f"benchmarks.{name}").main(its_own)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "lstn", "benchmarks"):
            raise
        raise LstnError(f"{name} needs the package {package}, which is not installed") from error
    except FileNotFoundError as error:
        raise LstnError(f"{error.filename}: {error.strerror}") from error


def main() -> NoReturn:
    """Run what was typed; an error is one line, and after SIGTERM no process goes on that a benchmark started."""
    signal.signal(signal.SIGTERM, _end)
    try:
        run(sys.argv[1:])
    except LstnError as error:
        print(f"error: {'; '.join(filter(None, (error.message, error.hint)))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave by way of every `with`: there the benchmarks end their processes."""
    sys.exit(128 + number)


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # of a reader that left early, such as head
        sys.stdout = io.StringIO()  # else Python tries again at its end, and says so


def _described(name: str, source: ast.Module) -> Benchmark:
    told = (ast.get_docstring(source) or "").splitlines()
    needs = [line.removeprefix("Needs: ") for line in told if line.startswith("Needs: ")]
    results = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "RESULT"
    ]
    return Benchmark(name, told[0] if told else "", "".join(needs), "".join(results))


def _lines(each: Benchmark, width: int) -> Iterator[str]:
    told = (each.summary, each.needs and f"Needs: {each.needs}", f"Result: {each.result or 'only on the screen'}")
    lines = [line for one in told for line in textwrap.wrap(one, max(30, width - _INDENT), break_on_hyphens=False)]
    for name, line in zip_longest([each.name], lines, fillvalue=""):
        yield f"{name:{_INDENT}}{line}"


if __name__ == "__main__":
    main()
