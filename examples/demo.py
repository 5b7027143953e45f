"""The whole pipeline in a few minutes on a CPU: train, export, build a plan, classify, measure.

Each step is an `lstn` command that a user could type; this script only runs them in the folder demo/ and sums up.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lstn.health.follow import brief

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
LSTN = Path(sys.executable).with_name("lstn")
RUN = "lstn-cnn"
TRAIN = "train --loc lstn --model cnn --epochs 2 --supervise 1 --loc-lr-scale 1"
"""The embedded digits know where they lie, so the transformer learns in two epochs, a minute, to turn them upright."""

IMAGES = Path("../examples/images")
"""Twelve test digits, which no training saw, as seen from demo/."""

say = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Make demo/ anew, and end with what was made and what was seen."""
    began = time.perf_counter()
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    lstn(f"{TRAIN} --name {RUN}")
    lstn("export --engine trt-rtx --target sm89")
    lstn(f"infer {IMAGES} --engine model.onnx --warps warps")
    lstn("bench model.onnx --batch 1,8 --threads 1 --seconds 5 --json bench.json")
    summarise(time.perf_counter() - began)


def lstn(command: str) -> None:
    """Run one command in demo/, shown as a user would type it."""
    say.print(f"\n[bold]$ OMP_NUM_THREADS=1 lstn {command}[/bold]")
    # Of layers this small a second thread makes nothing faster, and on a busy machine it makes all of it wait.
    subprocess.run([LSTN, *command.split()], cwd=DEMO, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)


def summarise(seconds: float) -> None:
    """Say what was made, where, and the accuracy and latency that were seen."""
    metrics = [json.loads(line) for line in (DEMO / "runs" / RUN / "metrics.jsonl").read_text().splitlines()]
    rows = Table(title="What the demo made, in demo/", title_justify="left", box=None, show_header=False)
    *_, last, tested = metrics
    rows.add_row(
        f"runs/{RUN}/", f"checkpoint, curves.png, warps.png: {tested['test_accuracy']:.1%} of test digits right"
    )
    rows.add_row("", f"of moved digits the crop follows {brief(last['transformer']['follow'])}, where 1 is all")
    for name, what in (("model.onnx", "checked against PyTorch"), ("model.plan", "TensorRT for RTX, built for sm89")):
        rows.add_row(name, f"{what}, {(DEMO / name).stat().st_size / 1e6:.1f} MB")
    rows.add_row("warps/", f"what the transformer makes of the pictures in {IMAGES}")
    for row in json.loads((DEMO / "bench.json").read_text())["results"]:
        speed = f"{row['p50_ms']:.2f} ms, {row['images_per_s']:.0f} images/s on one thread"
        rows.add_row(f"batch {row['batch']}", speed)
    say.print()
    say.print(rows)
    say.print(f"All of it in {seconds:.0f} s. Next: README.md, or lstn --help")


if __name__ == "__main__":
    main()
