"""What makes a transformer follow: the localizer's rate, and training on moves, each against its own control.

    python -m benchmarks following --data digits
    python -m benchmarks following --data folder:SIGNS --image-size 64 --epochs 25 --seeds 1
    python -m benchmarks following --data mnist-rts --image-size 42 --epochs 6 --without-rate-alone

`lstn study --model cnn` trains STN and L-STN by the default recipe, with the localizer at the full rate, and with
`--equivariance 10` beside. For one seed the backbone starts alike and sees the same images in the same order. Seeds are
the outer loop: whatever has run so far is balanced. Finished runs are kept in the folder of --runs, so it can be
stopped, and more seeds be added later.

Needs: half an hour of one core for a seed of the digits, and three quarters for one of 10,000 traffic signs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import run_quietly
from lstn.interval import Interval, mean_interval
from lstn.report.table import markdown_table
from lstn.report.wording import counted

RESULT = "results/following/following-digits.json"
RATE_ALONE = "--loc-lr-scale 1"
VARIANTS = {
    "as it comes": "",
    "--loc-lr-scale 1": RATE_ALONE,
    "--loc-lr-scale 1 --equivariance 10": "--loc-lr-scale 1 --equivariance 10",
}
LOCS = {"stn": "STN", "lstn": "L-STN"}
TURNED = 30.0
KINDS = ("rotation", "scale", "shift")


def main(words: Sequence[str]) -> None:
    """Train what is missing, seed by seed, and write the table after each variant of a seed."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--data", required=True, help="as lstn train takes it")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-root", type=Path, help="as lstn train takes it")
    parser.add_argument("--without-rate-alone", action="store_true", help="leave out the row of the rate by itself")
    parser.add_argument("--runs", type=Path, help="default: runs/following-NAME")
    parser.add_argument("--out", type=Path, help="default: results/following/following-NAME.json")
    given = parser.parse_args(words)
    kind, _, path = given.data.partition(":")
    name = (Path(path).name or kind).lower()
    folder = given.runs or Path("runs") / f"following-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [("--image-size", given.image_size), ("--epochs", given.epochs)]
    settings = " ".join(f"{option} {value}" for option, value in sizes if value is not None)
    root = [] if given.data_root is None else ["--data-root", str(given.data_root.resolve())]
    variants = [each for each in VARIANTS.values() if not (given.without_rate_alone and each == RATE_ALONE)]
    for seeds in range(1, given.seeds + 1):
        for options in variants:
            number = list(VARIANTS.values()).index(options)
            study = ["study", "--model", "cnn", "--locs", ",".join(LOCS), "--no-controls", "--seeds", str(seeds)]
            study += ["--data", given.data, "--device", "cpu", "--workers", "0", "--out", str(number), *root]
            run_quietly(folder, *study, *settings.split(), *options.split(), threads=1)
            # Whose files lie where is of no use to a reader.
            result = machine_of(("torch", "torchvision"))
            result |= {"data": name, "settings": settings, "rows": rows_of(folder)}
            out = given.out or Path("results/following") / f"following-{name}.json"
            write_result(out, result, page_of(result))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return what every run came to: error in percent upright and turned, follow of each kind."""
    rows = []
    for number, variant in enumerate(VARIANTS):
        if not (path := folder / str(number) / "study.json").is_file():
            continue
        study = json.loads(path.read_text())
        turned = [d["kind"] == "rotate" and d["amount"] == TURNED for d in study["disturbances"]].index(True)
        rows += [
            {
                "loc": run["loc"],
                "variant": variant,
                "seed": run["seed"],
                "error": round(100 * (1 - run["plain"]), 2),
                "turned": round(100 * (1 - run["disturbed"][turned]), 2),
                "follow": {kind: round(run["follow"][kind]["value"], 3) for kind in KINDS},
            }
            for run in study["runs"]
        ]
    return rows


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    cells = [
        (title, variant, *_cells(_by_seed(result["rows"], loc, variant), _control(result["rows"], loc, variant)))
        for loc, title in LOCS.items()
        for variant in VARIANTS
        if _by_seed(result["rows"], loc, variant)
    ]
    columns = ["", "options", "error in %", "against the row above", f"turned by {TURNED:g}°: error in %"]
    columns += ["against the row above", *(f"follows {kind}" for kind in KINDS)]
    seeds = len({row["seed"] for row in result["rows"]})
    command = f"lstn study --model cnn --data {result['data']} {result['settings']}".strip()
    return f"""# What makes a transformer follow: {result["data"]}

`{command}`, with the options of the row. Errors of the test images, upright and
turned. Means over {counted(seeds, "seed")}; differences are in points, paired by seed, with their 95 % interval.
[Follow](../../docs/explanation/follow.md) is 1 where the crop moves with the object, and 0 where it ignores the move.

{markdown_table(columns, cells, words=2)}

{result["cpu"]}, one thread; {versions_of(result)}. Made by `python -m benchmarks following`.
"""


def _by_seed(rows: list[dict[str, Any]], loc: str, variant: str) -> dict[int, dict[str, Any]]:
    return {row["seed"]: row for row in rows if (row["loc"], row["variant"]) == (loc, variant)}


def _control(rows: list[dict[str, Any]], loc: str, variant: str) -> dict[int, dict[str, Any]]:
    """Return the runs of the row above: with fewer changes, as far as they were trained."""
    above = list(VARIANTS)[: list(VARIANTS).index(variant)]
    return next(filter(None, (_by_seed(rows, loc, each) for each in reversed(above))), {})


def _cells(own: Mapping[int, Mapping[str, Any]], control: Mapping[int, Mapping[str, Any]]) -> list[str]:
    cells = []
    for figure in ("error", "turned"):
        cells.append(f"{_mean(row[figure] for row in own.values()):.1f}")
        both = sorted(own.keys() & control.keys())
        points = [own[seed][figure] - control[seed][figure] for seed in both]
        cells.append(_told(mean_interval(points)) if len(points) > 1 else "".join(f"{each:+.1f}" for each in points))
    return [*cells, *(f"{_mean(row['follow'][kind] for row in own.values()):.2f}" for kind in KINDS)]


def _told(difference: Interval) -> str:
    return f"{difference.value:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})"


def _mean(values: Any) -> float:
    each = list(values)
    return float(sum(each) / len(each))
