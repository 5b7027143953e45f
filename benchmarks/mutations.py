"""Change modules in every place, one at a time, and run their tests: does any test notice?

    python -m benchmarks mutations [MODULE …] [--most N] [--out FILE]

A mutant is the module with one comparison, operator, number, condition, result, call or raise changed
(`support/mutants.py`). Its tests run in a process of their own. It is killed if a test fails or takes too long, and
survives if all pass. Then a test is missing, or `support/explained_mutants.py` says why none can find it. FILE keeps
what it has of other modules. Ends with 1 if a survivor is not explained.

mutmut leaves out functions with a decorator, such as `@contextmanager` and `@property`, and the stages, which are
links. cosmic-ray starts a new Python for each mutant, which takes longer than the tests.

Needs: Linux, and what the tests of the modules import.
"""

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from benchmarks.support.arguments import argument_parser
from benchmarks.support.explained_mutants import EXPLAINED
from benchmarks.support.memory_folder import memory_folder
from benchmarks.support.mutants import Mutant, MutatedImport, mutants_of
from benchmarks.support.result_files import machine_of, write_result
from lstn.report.table import markdown_table

RESULT = "results/mutations/mutations.json"
_SERVED = "lstn.runtime.serving"
_CONTRACT = ("bounds", "checks", "contract_fields", "model_contract", "tasks", "theta_forms", "versions")
MODULES: Mapping[str, str] = {
    **{f"lstn.contract.{module}": "lstn/test_contract.py" for module in _CONTRACT},
    "lstn.files": "lstn/test_files.py lstn/test_lock.py",
    "lstn.images": "lstn/test_images.py lstn/test_image_formats.py lstn/test_image_file.py lstn/test_framing.py",
    "lstn.imaging.framing": "lstn/test_framing.py lstn/test_images.py",
    "lstn.imaging.image_file": "lstn/test_image_file.py lstn/test_images.py lstn/test_image_formats.py",
    "lstn.imaging.image_mode": "lstn/test_image_formats.py lstn/test_images.py",
    "lstn.imaging.heif": "lstn/test_heif.py",
    "lstn.warps.warp": "lstn/test_warp.py lstn/test_steadying.py lstn/test_quadrilaterals.py nn/test_grids.py",
    "lstn.warps.quadrilaterals": "lstn/test_quadrilaterals.py",
    "lstn.warps.spline": "lstn/test_warp.py nn/test_grids.py",
    "lstn.warps.steadying": "lstn/test_steadying.py",
    "lstn.warps.drawn_warp": "lstn/test_drawn_warp.py lstn/test_warp.py",
    "lstn.nn.warping.grids": "nn/test_grids.py",
    f"{_SERVED}.models.batcher": "runtime/test_batcher.py runtime/test_feeding.py",
    f"{_SERVED}.models.fairlock": "runtime/test_batcher.py",
    f"{_SERVED}.requests.access": "runtime/test_access.py",
    "lstn.research.claims.verdict": "research/test_verdict.py",
    "lstn.calibration.cost.drift": "calibration/test_drift.py",
}
"""A module -> the files of its own tests, below tests/."""

_PATIENCE_S = 15
_EXAMPLES = 20
"""Of a property, where its test doesn't say how many."""

_LOADED = ("numpy", "PIL.Image", "hypothesis", "onnx", "onnxruntime", "torch", "msgspec", "rich.console", "typer")
"""What tests import that isn't lstn: loaded once, before the first mutant."""

ROOT = Path(__file__).parents[1]


def main(words: Sequence[str]) -> None:
    """Change, test, print, and write what survived."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; default: all")
    parser.add_argument("--most", type=int, metavar="N", help="mutants of a module, evenly spaced; default: all")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.modules) - set(MODULES):
        parser.error(f"unknown module {min(unknown)}")
    for name in _LOADED:
        importlib.import_module(name)
    for name in arguments.modules or MODULES:
        figures = tried(name, arguments.most)
        kept = json.loads(arguments.out.read_text())["modules"] if arguments.out.is_file() else {}
        found = kept | {name: figures}
        explain(found)
        result = {"modules": {each: found[each] for each in MODULES if each in found}} | machine_of(())
        write_result(arguments.out, result, page_of(result))
    print(page_of(result))
    sys.exit(any(not each["reason"] for figures in result["modules"].values() for each in figures["survived"]))


def tried(name: str, most: int | None) -> dict[str, Any]:
    """Test the mutants of one module, `most` of them; return how many there are, and which survived."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    mutants, started = list(mutants_of(Path(spec.origin).read_text())), time.monotonic()
    count = min(most or len(mutants), len(mutants))
    tests = [str(ROOT / "tests" / test) for test in MODULES[name].split()]
    assert not killed(name, spec.origin, None, tests), f"the tests of {name} fail without a change"
    survived = []
    for number in range(count):
        mutant = mutants[number * len(mutants) // count]
        if not killed(name, spec.origin, mutant, tests):
            told = {"line": mutant.line, "place": mutant.place, "before": mutant.before, "after": mutant.after}
            survived.append(told)
            print(f"{name}: {told}", flush=True)
    print(f"{name}: {len(survived)} of {count} survived", flush=True)
    seconds = round(time.monotonic() - started)
    return {"mutants": len(mutants), "tried": count, "survived": survived, "seconds": seconds}


def explain(modules: Mapping[str, Any]) -> None:
    """Give each survivor the reason that is known by now."""
    for name, figures in modules.items():
        for each in figures["survived"]:
            change = each["place"], each["before"], each["after"]
            each["reason"] = EXPLAINED.get(name, {}).get(change, "")


def killed(name: str, path: str, mutant: Mutant | None, tests: Sequence[str]) -> bool:
    """Run the tests with a mutant of a module, or without, in a child of this process; return whether any failed."""
    child = os.fork()
    if not child:
        _run(name, path, mutant, tests)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):  # servers and commands that its tests had started
        os.killpg(child, signal.SIGKILL)
    return status != 0


class _PropertiesLast:
    """A plugin: what hypothesis tries many times comes last, for most mutants die before."""

    @staticmethod
    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.get_closest_marker("hypothesis") is not None)


def _run(name: str, path: str, mutant: Mutant | None, tests: Sequence[str]) -> None:
    """Test, and end the process with 0 if nothing failed."""
    code = 1
    try:
        os.setsid()
        signal.alarm(_PATIENCE_S)
        silence = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(silence, number)
        for module in [each for each in sys.modules if each.partition(".")[0] in ("lstn", "pytest_asyncio")]:
            del sys.modules[module]
        if mutant is not None:
            sys.meta_path.insert(0, MutatedImport(name, path, mutant.tree()))
        settings.register_profile("mutations", max_examples=_EXAMPLES, database=None)
        settings.load_profile("mutations")
        with memory_folder() as folder:
            options = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--basetemp={folder}/t"]
            code = int(pytest.main([*options, "--hypothesis-seed=0", *tests], plugins=[_PropertiesLast]))
    finally:
        os._exit(min(code, 1))


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    modules: Mapping[str, Any] = result["modules"]
    total = _summed(modules, "tried")
    survived = [(name, each) for name, figures in modules.items() for each in figures["survived"]]
    bare = [pair for pair in survived if not pair[1]["reason"]]
    lines = [
        "# Mutations",
        "",
        "Modules were changed in one place at a time: a comparison, an operator, a number, a condition, a result, a",
        "call or a raise. Then their own tests ran. A mutant is killed if one of them fails. The wording of errors was",
        "not changed.",
        "",
        f"{total:,} of {_summed(modules, 'mutants'):,} mutants were tried, in {_summed(modules, 'seconds') / 60:.0f}"
        f" minutes. Killed: **{_share(total, len(survived))}**.",
        f"Survivors without a reason: **{len(bare)}**.",
        "",
        markdown_table(("module", "mutants", "tried", "killed", "survived"), list(_by_module(modules))),
        "",
        "## Survivors",
        "",
        markdown_table(("where", "before", "after", "why no test finds it"), list(_by_survivor(survived))),
        "",
        "Mutants that were tried are evenly spaced over a module's lines.",
        f"{result['cpu']}. Made with `python -m benchmarks mutations MODULE --most N`.",
        "",
    ]
    return "\n".join(lines)


def _summed(modules: Mapping[str, Any], what: str) -> int:
    return sum(each[what] for each in modules.values())


def _by_module(modules: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, each in modules.items():
        gone = len(each["survived"])
        yield f"`{name}`", each["mutants"], each["tried"], _share(each["tried"], gone), gone


def _share(tried: int, survived: int) -> str:
    return f"{tried - survived:,} ({100 * (tried - survived) / max(1, tried):.1f} %)"


def _by_survivor(survived: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, ...]]:
    for name, each in survived:
        where = f"`{name.rpartition('.')[2]}`, {each['place']}"
        yield where, *(f"`{each[when]}`".replace("|", "/") for when in ("before", "after")), each["reason"]
