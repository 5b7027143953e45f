"""Count what faults, seeds, fuzzing, mutations, soaks and loads have tried, and what was wrong, on one page.

    python -m benchmarks hardening [--out results/hardening/hardening.json]

Nothing is tried here: the counts are those of the results that each of the others keeps.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults import counts_of
from benchmarks.soak import GAUGES, counted, trend_in
from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import write_result
from lstn.report.table import markdown_table

RESULT = "results/hardening/hardening.json"
RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]


def main(words: Sequence[str]) -> None:
    """Count, print, and write."""
    arguments = argument_parser(__name__, __doc__, out=RESULT).parse_args(words)
    result = gathered()
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))


def gathered() -> Row:
    """Return the counts of all results that are kept."""
    return {"rows": [*_faults(), *_simulated(), *_fuzzed(), *_mutated(), *_soaked(), *_on_ray(), *_loaded()]}


def _faults() -> Iterator[Row]:
    commands = _kept("faults/faults").get("commands", {}).values()
    counts = [count for each in commands for tried in (each, each.get("new", _NOTHING)) for count in counts_of(tried)]
    tried = sum(sum(count.values()) for count in counts)
    refused, wrong = (sum(count.get(what, 0) for count in counts) for what in ("refused", "wrong"))
    told = f"{len(commands)} commands; {refused:,} ended with one line, all others well"
    yield _row("system calls that fail", "faults", tried, wrong, told)


def _simulated() -> Iterator[Row]:
    result = _kept("simulation/simulation")
    found = sum(each["seeds"] is not None for each in result["defects"])
    told = (
        f"{sum(result['answers'].values()):,} requests; {found} of {len(result['defects'])} defects put in were found"
    )
    yield _row("seeds, a simulated world each", "simulation", result["seeds"], len(result["wrong"]), told)


def _fuzzed() -> Iterator[Row]:
    targets = _kept("fuzz/fuzz")["targets"].values()
    cases, wrong = sum(each["cases"] for each in targets), sum(len(each["faults"]) for each in targets)
    yield _row("fuzzed files and requests", "fuzz", cases, wrong, f"{len(targets)} readers")


def _mutated() -> Iterator[Row]:
    modules = _kept("mutations/mutations").get("modules", {}).values()
    tried, survived = sum(each["tried"] for each in modules), [one for each in modules for one in each["survived"]]
    bare = sum(not each["reason"] for each in survived)
    of = sum(each["mutants"] for each in modules)
    told = f"of {of:,} in {len(modules)} modules; {100 * (tried - len(survived)) / max(1, tried):.0f} % killed"
    yield _row("mutants", "mutations", tried, bare, told)


def _soaked() -> Iterator[Row]:
    result = _kept("soak/soak")
    minutes = counted(result["minutes"])
    verdicts = [f"{GAUGES[name][0].partition(',')[0]} {trend_in(minutes, name)[1]}" for name in GAUGES]
    told = f"in {len(result['minutes'])} minutes; {', '.join(dict.fromkeys(verdicts))}"
    requests = sum(sum(each.values()) for each in result["told"].values())
    yield _row("requests to a server under load", "soak", requests, len(result["wrong"]), told)


def _on_ray() -> Iterator[Row]:
    result = _kept("clusters/ray_soak")
    kills = sum(each["what"] in ("worker killed", "head restarted") for each in result["events"])
    told = f"under {kills} deaths of nodes, in {result['events'][-1]['second'] / 60:.0f} minutes"
    yield _row("images on a Ray cluster", "ray_soak", result["images"], len(result["wrong"]), told)


def _loaded() -> Iterator[Row]:
    rows = [row for rows in _kept("loads/loads")["loads"].values() for row in rows]
    yield _row("loads of many, and odd machines", "loads", len(rows), sum(bool(row["wrong"]) for row in rows), "")


def _row(what: str, benchmark: str, cases: int, wrong: int, told: str) -> Row:
    return {"what": what, "benchmark": benchmark, "cases": cases, "wrong": wrong, "told": told}


def _kept(name: str) -> Row:
    found: Row = json.loads((RESULTS / f"{name}.json").read_text())
    return found


_NOTHING: Mapping[str, Any] = {"outcomes": {}}
_PAGES = {"ray_soak": "clusters"}


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Every call fails once",
        "",
        "What was tried so that something would break, and how often it did. Of mutants, *wrong* are survivors without",
        "a reason; of all others, anything that was neither right nor refused in one line.",
        "",
        markdown_table(("tried", "cases", "wrong", "", "made by"), list(_cells(result["rows"]))),
        "",
        "Each name links to its page. Made with `python -m benchmarks hardening`.",
        "",
    ]
    return "\n".join(lines)


def _cells(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        name = row["benchmark"]
        linked = f"[{row['what']}](../{_PAGES.get(name, name)}/{name}.md)"
        yield linked, f"{row['cases']:,}", f"{row['wrong']:,}", row["told"], f"`python -m benchmarks {name}`"
