"""What the search of `lstn tune` finds, against timing every setting there is.

    python -m benchmarks tuning MODEL --data DATA [--crop 96,112] [--passes 3] [--seconds 0.5] [--searches 40]

MODEL is a run's checkpoint or a float32 ONNX file. Every setting is timed in each pass, in a new order, and the medians
over the passes are a table. Then many searches, which differ in their seeds, ask this table instead of the machine: how
near do they come to its best in a fifth of the trials? As many settings drawn at random are the control.
"""

import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.cli.parsing.tuning_axes import crop_sides, tuned_engines, tuned_precisions, tuned_threads
from lstn.data.task_sets import open_for_model
from lstn.formats.onnx_file import read_model
from lstn.report.table import markdown_table
from lstn.research.tune.candidates import QualityLimits, judged_files
from lstn.research.tune.model_versions import VersionsWanted, make_versions
from lstn.research.tune.setting_search import CallTime, SearchPlan, SettingSpace, TunedSetting, search
from lstn.research.tune.setting_times import time_alone
from lstn.zoo.named_models import model_path

RESULT = "results/tuning/tuning.json"
BATCHES = (1, 2, 4, 8, 16, 32)
DRAWS = 2000
"""Random drawings of the control."""


def main(words: Sequence[str]) -> None:
    """Make the files, time every setting, let searches ask the table, and write the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--data", required=True, help="as lstn tune takes it")
    parser.add_argument("--crop", help="as lstn tune takes it")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--searches", type=int, default=40)
    given = parser.parse_args(words)
    wanted = VersionsWanted(
        data=given.data, seed=0, engines=tuned_engines(None), precisions=tuned_precisions("int8"),
        crops=crop_sides(given.crop),
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        versions = make_versions(model_path(given.model), wanted, Path(folder))
        split = open_for_model(read_model(versions[0].path)[0], given.data, seed=0).val
        candidates = judged_files(versions, split, QualityLimits(100.0))
        space = SettingSpace(candidates, BATCHES, tuned_threads(None))
        table = timed(space, passes=given.passes, seconds=given.seconds)
    files = [
        {"file": str(each.version), "top1": each.top1, "drop": each.drop, "drift_px": each.drift_px}
        for each in candidates
    ]
    settings = [
        {"file": str(setting.candidate.version), "batch": setting.batch, "threads": setting.threads}
        | {"images_per_s": time.images_per_s, "p99_ms": time.p99_ms}
        for setting, time in table.items()
    ]
    limits = (None, statistics.median(time.p99_ms for time in table.values()))
    asked = [searches(space, table, limit, given.searches) for limit in limits]
    result = machine_of(("onnxruntime", "openvino", "optuna")) | {
        "model": given.model, "passes": given.passes, "seconds": given.seconds, "files": files, "settings": settings,
        "searches": asked,
    }  # fmt: skip
    print(page_of(result))
    write_result(given.out, result, page_of(result))


def timed(space: SettingSpace, *, passes: int, seconds: float) -> dict[TunedSetting, CallTime]:
    """Time every setting in each pass, in a new order; return medians over the passes."""
    settings = [space.setting(places) for places in space.places()]
    found: dict[TunedSetting, list[CallTime]] = {setting: [] for setting in settings}
    for number in range(passes):
        for setting in random.Random(number).sample(settings, len(settings)):
            found[setting].append(time_alone(setting, seconds=seconds, seed=0))
    return {
        setting: CallTime(*(statistics.median(getattr(time, name) for time in times) for name in CallTime.__slots__))
        for setting, times in found.items()
    }


def searches(
    space: SettingSpace, table: Mapping[TunedSetting, CallTime], limit: float | None, count: int
) -> dict[str, Any]:
    """Search the table with many seeds; return the share of the best that each comes to, and random draws' as well."""

    def best(times: Sequence[CallTime]) -> float:
        return max((each.images_per_s for each in times if limit is None or each.p99_ms <= limit), default=0.0)

    trials, most = -(-len(space) // 5), best(list(table.values()))
    shares = []
    for seed in range(count):
        found = search(space, table.__getitem__, SearchPlan(trials, limit, seed), tell=lambda _: None)
        shares.append(best([time for _, time in found]) / most)
    draw = random.Random(0)
    drawn = [best(draw.sample(list(table.values()), trials)) / most for _ in range(DRAWS)]
    return {"p99_ms": limit, "trials": trials, "shares": shares, "drawn": drawn}


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    files = [
        (each["file"], f"{100 * each['top1']:.1f}", f"{each['drop']:.2f}",
         "" if each["drift_px"] is None else f"{each['drift_px']:.3f}")
        for each in result["files"]
    ]  # fmt: skip
    fastest = sorted(result["settings"], key=lambda each: -each["images_per_s"])[:8]
    best = [
        (each["file"], each["batch"], each["threads"], f"{each['images_per_s']:,.0f}", f"{each['p99_ms']:.3g}")
        for each in fastest
    ]
    asked = [_row(each, name, shares) for each in result["searches"] for name, shares in
             (("search", each["shares"]), ("drawn at random", each["drawn"]))]  # fmt: skip
    return f"""# What `lstn tune` finds in a fifth of the trials

`python -m benchmarks tuning`: {result["model"]}, {len(result["settings"])} settings, each timed for
{result["seconds"]:g} s in {result["passes"]} passes, medians. {len(result["searches"][0]["shares"])} searches with
other seeds ask this table.

Images/s of the best setting that was found, as a share of the best in the table:

{markdown_table(("a call may take", "settings chosen by", "trials", "median", "least", "95 % or more"), asked, words=2)}

The files, on 500 validation images:

{markdown_table(("file", "top-1 %", "points lost", "drift, px"), files, words=1)}

The fastest settings:

{markdown_table(("file", "batch", "threads", "images/s", "p99, ms"), best, words=1)}

{result["cpu"]}, {versions_of(result)}.
"""


def _row(each: Mapping[str, Any], name: str, shares: Sequence[float]) -> tuple[str, ...]:
    limit = "any time" if each["p99_ms"] is None else f"{each['p99_ms']:.3g} ms (p99)"
    good = sum(share >= 0.95 for share in shares) / len(shares)
    return limit, name, str(each["trials"]), f"{statistics.median(shares):.3f}", f"{min(shares):.3f}", f"{good:.0%}"
