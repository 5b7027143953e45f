"""What options of a training are worth: a teacher, and smoothed labels, each against a plain training.

    python -m benchmarks options --data folder:SIGNS [--seeds 3] [--out results/options/options.json]

`lstn train` fits a teacher to whole pictures once. Then it fits a student, which crops them to a third of their side,
plainly and with each option: the same epochs, seeds, images and weights to begin with. Finished runs are kept in the
folder of --runs, so it can be stopped, and more seeds be added later.

Needs: on one core, three minutes for the teacher of 2,064 traffic signs, and three minutes for a seed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import mean_and_range, run_quietly
from lstn.data.set_names import located
from lstn.health.run_files import LAST
from lstn.health.run_health import METRICS
from lstn.interval import mean_interval
from lstn.report.table import markdown_table

RESULT = "results/options/options.json"
TEACHER = "train --loc glance --model cnn --image-size 48 --augment affine --epochs 20 --patience 20 --device cpu"
STUDENT = f"{TEACHER} --crop 16"
OPTIONS = {
    "plain": "",
    "taught": "--teacher runs/teacher",
    "smoothed": "--label-smoothing 0.1",
}


def main(words: Sequence[str]) -> None:
    """Train what is missing, seed by seed, and write the table after each run."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--data", required=True, help="as lstn train takes it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/options"), help="default: runs/options")
    given = parser.parse_args(words)
    given.runs.mkdir(parents=True, exist_ok=True)
    data = located(given.data)
    teacher = trained(given.runs, "teacher", *TEACHER.split(), "--data", data)
    runs: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        for name, options in OPTIONS.items():
            command = [*STUDENT.split(), *options.split(), "--data", data, "--seed", str(seed)]
            runs.append({"options": options, "seed": seed} | trained(given.runs, f"{name}-{seed}", *command))
            print(json.dumps(runs[-1]), flush=True)
            kind, _, path = given.data.partition(":")  # whose files lie where is of no use to a reader
            result = machine_of(("torch", "torchvision")) | {"data": (Path(path).name or kind).lower()}
            result |= {"teacher": teacher, "runs": runs}
            write_result(given.out, result, page_of(result))


def trained(folder: Path, name: str, *words: str) -> dict[str, Any]:
    """Train and test a run, unless that is done; return its accuracy, 0..1, and of how many images."""
    run = folder / "runs" / name
    rows = read_metrics(run)
    if not rows or "test_accuracy" not in rows[-1]:
        begun = (run / LAST).is_file()
        run_quietly(folder, *(["train", "--resume", f"runs/{name}"] if begun else [*words, "--name", name]), threads=1)
        rows = read_metrics(run)
    return {"accuracy": rows[-1]["test_accuracy"], "images": json.loads((run / "test.json").read_text())["images"]}


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, or nothing."""
    path = run / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    teacher, plain = result["teacher"], errors_of(result["runs"], "")
    rows = [("the teacher", f"{100 * (1 - teacher['accuracy']):.1f}", "", "")]
    for options in dict.fromkeys(run["options"] for run in result["runs"]):
        own = errors_of(result["runs"], options)
        apart = [own[seed] - plain[seed] for seed in own if options]
        gained = str(mean_interval(apart)) if len(apart) > 1 else ""
        name = f"the student, `{options}`" if options else "the student"
        rows.append((name, mean_and_range(list(own.values()), 1), gained, str(len(own))))
    columns = ("", "error in %", "points more than without", "seeds")
    return f"""# What options of a training are worth: {result["data"]}

The teacher: `lstn {TEACHER}`.
The student sees the same images, and its backbone gets a crop: `--crop 16`.
Errors are those of {teacher["images"]} test images: the mean over seeds, and from the lowest to the highest.
Differences are paired by seed, with their 95 % interval. There is one teacher, of seed 0.

{markdown_table(columns, rows)}

{result["cpu"]}; {versions_of(result)}. Made with `python -m benchmarks options --data folder:PATH`.
"""


def errors_of(runs: Sequence[Mapping[str, Any]], options: str) -> dict[int, float]:
    """Return the errors of the student with these options in percent, by seed."""
    return {run["seed"]: 100 * (1 - run["accuracy"]) for run in runs if run["options"] == options}
