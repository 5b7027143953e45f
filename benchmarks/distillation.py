"""What a teacher is worth: a small network that zooms in, trained with a large one's answers and without.

    python -m benchmarks distillation --data folder:SIGNS [--seeds 5] [--out results/distillation/distillation.json]

`lstn train` fits a ResNet-18 to whole pictures once. Then it fits `cnn` behind the localizer glance, which sees the
pictures whole and crops them to half a side, with `--teacher` and without: the same epochs, seeds, images and
augmentation. Finished runs are kept in the folder of --runs, so it can be stopped, and more seeds be added later.

Needs: on one core, four minutes for the teacher of 2,064 traffic signs, and three minutes for a seed.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.support.seeded_runs import run_quietly
from lstn.data.set_names import located
from lstn.health.run_files import CHECKPOINT, LAST
from lstn.health.run_health import METRICS
from lstn.interval import mean_interval
from lstn.nn.checkpoint import load_checkpoint
from lstn.report.table import markdown_table
from lstn.report.wording import counted

RESULT = "results/distillation/distillation.json"
BUDGET = "--image-size 32 --augment affine --epochs 20 --patience 20 --device cpu"
TEACHER = f"train --loc none --model resnet-18 {BUDGET}"
STUDENT = f"train --loc glance --model cnn --crop 16 {BUDGET}"
WITH = "--teacher runs/teacher"
VARIANTS = {"the student alone": "", f"the student, `{WITH}`": WITH}


def main(words: Sequence[str]) -> None:
    """Train what is missing, seed by seed, and write the table after each run."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--data", required=True, help="as lstn train takes it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/distillation"), help="default: runs/distillation")
    given = parser.parse_args(words)
    given.runs.mkdir(parents=True, exist_ok=True)
    data = located(given.data)
    teacher = trained(given.runs, "teacher", *TEACHER.split(), "--data", data)
    runs: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        for name, options in VARIANTS.items():
            command = [*STUDENT.split(), *options.split(), "--data", data, "--seed", str(seed)]
            runs.append({"row": name, "seed": seed})
            runs[-1] |= trained(given.runs, f"{'taught' if options else 'alone'}-{seed}", *command)
            print(json.dumps(runs[-1]), flush=True)
            kind, _, path = given.data.partition(":")  # whose files lie where is of no use to a reader
            result = machine_of(("torch", "torchvision")) | {"data": (Path(path).name or kind).lower()}
            result |= {"teacher": teacher, "runs": runs}
            write_result(given.out, result, page_of(result))


def trained(folder: Path, name: str, *words: str) -> dict[str, Any]:
    """Train and test a run, unless that is done; return its accuracy, 0..1, weights, and seconds of training."""
    run = folder / "runs" / name
    rows = read_metrics(run)
    if not rows or "test_accuracy" not in rows[-1]:
        begun = (run / LAST).is_file()
        run_quietly(folder, *(["train", "--resume", f"runs/{name}"] if begun else [*words, "--name", name]), threads=1)
        rows = read_metrics(run)
    return {
        "accuracy": rows[-1]["test_accuracy"],
        "seconds": round(sum(row.get("seconds", 0.0) for row in rows)),
        "weights": sum(each.numel() for each in load_checkpoint(run / CHECKPOINT).model.parameters()),
    }


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, or nothing."""
    path = run / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    teacher = result["teacher"]
    errors = {name: errors_of(result["runs"], name) for name in VARIANTS}
    rows = [("the teacher", f"{teacher['weights']:,}", f"{100 * (1 - teacher['accuracy']):.1f}", "", "", "")]
    alone = next(iter(errors.values()))
    for name, own in errors.items():
        if not own:
            continue
        runs = [run for run in result["runs"] if run["row"] == name]
        points = [error - alone[seed] for seed, error in own.items()] if own is not alone else []
        difference = mean_interval(points) if len(points) > 1 else None
        told = f"{difference.value:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})" if difference else ""
        mean, seconds = statistics.fmean(own.values()), statistics.fmean(run["seconds"] for run in runs)
        by_seed = ", ".join(f"{error:.1f}" for error in own.values())
        rows.append((name, f"{runs[0]['weights']:,}", f"{mean:.1f}", by_seed, told, f"{seconds:.0f}"))
    columns = ("", "weights", "error in %", "by seed", "against the student alone", "seconds of training")
    return f"""# What a teacher is worth: {result["data"]}

Teacher: `lstn {TEACHER}`. Student: `lstn {STUDENT}`,
with `{WITH}` and without. Errors of the test images. The difference is in points, paired over
{counted(len(alone), "seed")}, with its 95 % interval. There is one teacher, of seed 0; the interval is for that one.

{markdown_table(columns, rows, words=1)}

{result["cpu"]}, one thread, on a machine that others use; {versions_of(result)}.
Made by `python -m benchmarks distillation`.
"""


def errors_of(runs: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """Return the errors of a variant in percent, by seed."""
    return {run["seed"]: 100 * (1 - run["accuracy"]) for run in runs if run["row"] == name}
