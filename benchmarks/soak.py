"""Keep `lstn serve` under mixed load for hours: do its memory, its file descriptors, its threads and its latency stay?

    python -m benchmarks soak [--hours 2] [--seed 0] [--out results/soak/soak.json]

About 12 requests a second: images as pixels and as files, over HTTP and gRPC, in the forms of v2 and v1; bad and fuzzed
requests; clients that drip, that don't read, that fall silent and that leave. Each minute the model's file is replaced
and reloaded; every tenth file is damaged. Each answer is compared with the engine's own. The result is written each
minute, so that a run that was stopped has a page. Ends with 1 if an answer was wrong, if something grows, or if the
server said anything else or didn't end with 0.

Needs: torch for the models, and tritonclient.
"""

import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.serve_process import MODEL, Server, started
from benchmarks.support.soaking.crowd import RATES, SLOW_AT_ONCE, Crowd
from benchmarks.support.soaking.gauges import ProcessGauges
from benchmarks.support.soaking.right_clients import ANSWERED
from benchmarks.support.soaking.rude_clients import SLOW, WRONG
from benchmarks.support.soaking.trends import Trend, trend_of
from benchmarks.support.soaking.two_versions import TwoVersions, write_versions
from lstn.report.table import markdown_table

RESULT = "results/soak/soak.json"
MINUTE_S = 60.0
REPLACED, DAMAGED = "another version", "damaged"
DAMAGED_EVERY = 10
"""Reloads of which one finds a damaged file."""

WARM_UP = 0.25
"""The share of the minutes, at the beginning, that no trend counts: caches and the allocator's arenas fill up."""

SHOWN = (1, 10, 30, 60, 90, 120, 180, 240)
"""Minutes after which the memory is told."""

REST_S = 70.0
"""After the last client: by then the server has closed what was left open."""

GAUGES = {
    "rss_mb": ("memory, MB", 5.0, 1),
    "fds": ("file descriptors", 1.0, 1),
    "threads": ("threads", 1.0, 1),
    "p50_ms": ("latency, median, ms", 0.5, 2),
    "p99_ms": ("latency, p99, ms", 5.0, 1),
}
"""What is measured each minute -> its name, by how much it may grow in an hour and be flat, and decimals."""

LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "grpcio", "uvicorn", "httptools")
_SHOWN = 20


def main(words: Sequence[str]) -> None:
    """Load, measure each minute, print, and write what was found."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    with TemporaryDirectory() as folder:
        versions = TwoVersions(write_versions(Path(folder)), Path(folder, "model.onnx"))
        with started(versions.path, "--max-batch", 8) as server:
            result = soaked(server, versions, arguments.seed, arguments.hours, arguments.out)
    print(page_of(result), *result["wrong"], sep="\n")
    grows = [name for name in GAUGES if trend_in(counted(result["minutes"]), name)[1] == "grows"]
    sys.exit(bool(result["wrong"] or grows))


def soaked(server: Server, versions: TwoVersions, seed: int, hours: float, out: Path) -> dict[str, Any]:
    """Load a server for so long, write the result each minute and at the end, and return it."""
    http_port, grpc_port, pid = server.ports
    gauges, crowd = ProcessGauges(pid), Crowd(versions, (http_port, grpc_port), seed)
    begun, minutes, reloads = time.monotonic(), list[dict[str, float]](), Counter[str]()
    rest = {"before": gauges.read()}
    crowd.start()

    def written(*wrong: str) -> dict[str, Any]:
        result = result_of(crowd, minutes, reloads, rest) | {"seed": seed, "hours": hours}
        result["wrong"] += wrong
        write_result(out, result, page_of(result))
        return result

    while len(minutes) < round(60 * hours):
        time.sleep(max(0.0, begun + (len(minutes) + 1) * MINUTE_S - time.monotonic()))
        minutes.append({"second": round(time.monotonic() - begun, 1)} | gauges.read() | crowd.latency())
        reload(server, versions, crowd, reloads)
        print(len(minutes), minutes[-1], sum(map(Counter.total, crowd.told.values())), crowd.wrong[-1:], flush=True)
        written()
    left = crowd.stop(2 * REST_S)
    time.sleep(REST_S)
    rest["after"] = gauges.read()
    hanging = [f"{left} clients still wait for the server"] if left else []
    return written(*hanging, *last_words(*server.end(signal.SIGTERM)))


def reload(server: Server, versions: TwoVersions, crowd: Crowd, reloads: Counter[str]) -> None:
    """Replace the model's file; every tenth is damaged."""
    damaged = reloads.total() % DAMAGED_EVERY == DAMAGED_EVERY - 1
    if fault := versions.damage(server) if damaged else versions.replace(server):
        crowd.count("reloads", f"{WRONG}{fault}")
    reloads[DAMAGED if damaged else REPLACED] += 1


def last_words(code: int, told: str) -> list[str]:
    """Return what is wrong with how the server ended, and with what it said meanwhile."""
    expected = rf"reloaded: ({MODEL}|nothing has changed)|warning: {MODEL} is not reloaded: .*"
    others = [line for line in told.splitlines() if not re.fullmatch(expected, line)]
    return [f"the server ended with {code}"] * bool(code) + [f"the server said {line!r}" for line in others]


def result_of(
    crowd: Crowd, minutes: Sequence[Mapping[str, float]], reloads: Counter[str], rest: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is known after these minutes."""
    told = {kind: dict(crowd.told[kind].most_common()) for kind in (*RATES, *SLOW) if kind in crowd.told}
    result = {"minutes": list(minutes), "told": told, "reloads": dict(reloads)}
    return result | {"rest": dict(rest), "wrong": list(crowd.wrong)} | machine_of(LIBRARIES)


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    minutes, reloads = result["minutes"], result["reloads"]
    requests = sum(sum(told.values()) for told in result["told"].values())
    right = sum(told.get(ANSWERED, 0) for told in result["told"].values())
    cores = float(np.mean([minute["cores"] for minute in minutes]))
    lasted, warm_up = f"{len(minutes)} of {round(60 * result['hours'])} minutes", len(minutes) - len(counted(minutes))
    rows = list(_by_gauge(counted(minutes))) if len(minutes) > 1 else []
    replaced, damaged = (reloads.get(how, 0) for how in (REPLACED, DAMAGED))
    lines = [
        "# A server under load for hours",
        "",
        f"`lstn serve` under mixed load for {lasted}: {requests:,} requests of {len(result['told'])} kinds of clients.",
        f"{right:,} answers were compared with the engine's own. Under load its file was replaced {replaced} times by",
        f"another version, and {damaged} times by a damaged one, which must be refused. Clients come at random",
        f"moments; of each slow kind {SLOW_AT_ONCE} are there at any time. The server kept {cores:.2f} cores busy.",
        "",
        f"Wrong: **{len(result['wrong'])}**.",
        "",
        "## Does anything grow?",
        "",
        f"Read each minute, without the first {warm_up}. The slope has an interval of 95 %. *Flat*: all of it is below",
        "the bound.",
        "",
        markdown_table(("", "median", "largest", "in an hour", "interval", "bound", "verdict"), rows),
        "",
        *_curve(minutes),
        *_at_rest(result["rest"]),
        "## What became of the requests",
        "",
        markdown_table(("kind", "requests", "answers"), list(_by_kind(result["told"]))),
        "",
        *[f"- {line}" for line in result["wrong"][:_SHOWN]],
        f"{result['cpu']}, {versions_of(result)}; two cores that other work shared. Made with",
        "`python -m benchmarks soak`.",
        "",
    ]
    return "\n".join(lines)


def _by_gauge(minutes: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, ...]]:
    for name, (called, _, places) in GAUGES.items():
        trend, verdict = trend_in(minutes, name)
        values = [minute[name] for minute in minutes]
        slopes = [trend.per_hour, *(trend.interval or ())]
        slope, *ends = (f"{round(each, places + 1) + 0.0:+.{places + 1}f}" for each in slopes)
        level = f"{np.nanmedian(values):.{places}f}", f"{np.nanmax(values):.{places}f}"
        yield called, *level, slope, " to ".join(ends), f"{GAUGES[name][1]:g}", verdict


def counted(minutes: Sequence[Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
    """Return the minutes that trends count: those after the warm-up."""
    return minutes[int(WARM_UP * len(minutes)) :]


def trend_in(minutes: Sequence[Mapping[str, float]], name: str) -> tuple[Trend, str]:
    """Return the trend of one gauge in these minutes, and its verdict."""
    trend = trend_of([minute["second"] for minute in minutes], [minute[name] for minute in minutes])
    return trend, trend.verdict(GAUGES[name][1])


def _curve(minutes: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Say how much memory the server had after how long."""
    shown = [minute for minute in SHOWN if minute <= len(minutes)]
    values = [f"{minutes[minute - 1]['rss_mb']:.0f}" for minute in shown]
    yield f"Memory after {', '.join(map(str, shown))} minutes: {', '.join(values)} MB."
    yield ""


def _at_rest(rest: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Say what the server held before the first client and after the last one."""
    if "after" in rest:
        held = [f"{rest[when]['fds']} file descriptors and {rest[when]['threads']} threads" for when in rest]
        yield f"Before the first client the server had {held[0]}; {REST_S:.0f} s after the last one"
        yield f"{held[1]}. The first files start the threads that decode."
        yield ""


def _by_kind(told: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str, str]]:
    for kind, answers in told.items():
        shown = ", ".join(f"{answer}: {count:,}" for answer, count in answers.items())
        yield kind, f"{sum(answers.values()):,}", shown
