"""The first command, as a user types it: accuracy on the embedded test digits, and how long it took.

    python -m benchmarks first_command --out results/first-command/first_command.json
    python -m benchmarks first_command --models effnet-b0,cnn --out some.json
    python -m benchmarks first_command --models effnet-b0 --options OPTIONS --out some.json
    python -m benchmarks first_command --every --out every.json

Each model is trained by `lstn train --loc lstn --model MODEL --device cpu` in a process of its own, with every default.
With --every all models, or those of --models, are trained in turn, each only until an epoch's validation accuracy is
above chance. It says which ones never get there, and exits with 1 if there are any. Results are written after every
model. Rows of other models or options that FILE already has are kept, if this machine and these versions made them.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.health.chance import at_chance
from lstn.health.run_health import METRICS
from lstn.report.table import markdown_table

RESULT = "results/first-command/first_command.json"
MODELS = ("effnet-b0", "resnet-18", "densenet-121", "vgg-11", "zfnet", "googlenet", "cnn")

_POLL_S = 1.0


def main(words: Sequence[str]) -> None:
    """Train one model after another, and write the table after each."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--models", default="", help="names, with commas between them; default: seven, or all")
    parser.add_argument("--every", action="store_true", help="train each model only until it is above chance")
    parser.add_argument("--options", default="", help="what each command gets as well")
    parser.add_argument("--device", default="cpu", help="as lstn train takes it")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"the kept one: {RESULT}")
    arguments = parser.parse_args(words)
    usual = every_model() if arguments.every else MODELS
    models = tuple(arguments.models.split(",")) if arguments.models else usual
    machine = machine_of(("torch", "torchvision"))
    kept = _kept_rows(arguments.out, {"every": arguments.every, **machine})
    for model in models:
        with tempfile.TemporaryDirectory(prefix="first-command-") as folder:
            row = train(model, arguments.options, Path(folder), arguments.device, until_above_chance=arguments.every)
        print(json.dumps(row), flush=True)
        kept[model, arguments.options] = row
        rows = [kept[each] for each in sorted(kept, key=lambda key: (bool(key[1]), usual.index(key[0]), key[1]))]
        result = {"every": arguments.every, **machine, "rows": rows}
        write_result(arguments.out, result, page_of(result))
    if at_chance_still := [model for model in models if kept[model, arguments.options]["at_chance"]]:
        sys.exit("at chance: " + ", ".join(at_chance_still))


def _kept_rows(path: Path, made: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of `path` by model and options; none if there is no such file. End if it wasn't `made` so."""
    if not path.exists():
        return {}
    result = json.loads(path.read_text())
    if {name: result.get(name) for name in made} != made:
        sys.exit(f"{path}: made on another machine, by other versions, or otherwise with --every; name another --out")
    return {(row["model"], row.get("options", "")): row for row in result["rows"]}


def every_model() -> tuple[str, ...]:
    """Return the names of all backbones."""
    from lstn.nn.backbones import BACKBONES

    return tuple(BACKBONES)


def train(model: str, options: str, folder: Path, device: str, *, until_above_chance: bool) -> dict[str, Any]:
    """Run the command in `folder`, and return what came of it.

    options: what the command gets as well
    until_above_chance: stop it after the first epoch that is above chance
    """
    command = ["lstn", "train", "--loc", "lstn", "--model", model, "--device", device, *options.split()]
    began, cpu_began = time.perf_counter(), _children_cpu_s()
    first_line_s = None
    with (folder / "log").open("wb") as log, ExitStack() as running:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--name", "run"], cwd=folder, stdout=log, stderr=log
        )
        running.callback(process.wait)
        running.callback(process.terminate)  # once it has ended by itself, this does nothing
        while process.poll() is None:
            time.sleep(_POLL_S)
            if first_line_s is None and (folder / "log").stat().st_size:
                first_line_s = round(time.perf_counter() - began, 1)
            if until_above_chance and (rows := _epochs(folder)) and not _at_chance(rows):
                process.terminate()  # not Ctrl-C, which a process in the background of a shell ignores
                process.wait()
    epochs = _epochs(folder)
    if not epochs:
        sys.exit(f"{' '.join(command)}: no epoch was finished\n{(folder / 'log').read_text(errors='replace')}")
    best = max(epochs, key=lambda row: float(row["val_accuracy"]))
    return {
        "model": model,
        "options": options,
        "command": " ".join(command),
        "epochs": len(epochs),
        "val_accuracy": best["val_accuracy"],
        "test_accuracy": _test_accuracy(folder),
        "at_chance": _at_chance(epochs),
        "transformer": best["transformer"]["state"],
        "minutes": round((time.perf_counter() - began) / 60, 2),
        "cpu_minutes": round((_children_cpu_s() - cpu_began) / 60, 2),
        "first_line_s": first_line_s,
    }


COLUMNS = (
    *("model", "options", "epochs", "validation", "test"),
    *("minutes", "CPU minutes", "first line after", "transformer"),
)


def page_of(result: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    how = (
        "every backbone, each until its validation accuracy was above chance"
        if result["every"]
        else "the accuracy is of the embedded test digits. CPU minutes compare models; minutes are those of a machine "
        "that others used too"
    )
    lines = [
        "# The first command",
        "",
        f"`lstn train --loc lstn --model MODEL --device cpu` as typed; {how}. Made by "
        "`python -m benchmarks first_command`.",
        "",
        markdown_table(COLUMNS, map(_cells, result["rows"])),
        "",
        f"{result['cpu']}; {versions_of(result)}.",
        "",
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    return (
        row["model"],
        row.get("options", ""),
        row["epochs"],
        f"{row['val_accuracy']:.1%}" + " (at chance)" * row["at_chance"],
        "" if row["test_accuracy"] is None else f"{row['test_accuracy']:.1%}",
        f"{row['minutes']:.1f}",
        f"{row['cpu_minutes']:.1f}",
        "" if row["first_line_s"] is None else f"{row['first_line_s']:.0f} s",
        row["transformer"],
    )


def _epochs(folder: Path) -> list[dict[str, Any]]:
    metrics = folder / "runs/run" / METRICS
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    return [row for row in map(json.loads, lines) if "epoch" in row]


def _test_accuracy(folder: Path) -> float | None:
    """None of a run that was stopped before its test."""
    last = json.loads((folder / "runs/run" / METRICS).read_text().splitlines()[-1])
    return float(last["test_accuracy"]) if "test_accuracy" in last else None


def _at_chance(epochs: list[dict[str, Any]]) -> bool:
    return all(at_chance(row["val_accuracy"], row["chance"]) for row in epochs)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
