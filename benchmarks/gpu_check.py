"""Checks for a machine with an NVIDIA GPU: the tests marked `gpu`, and benchmarks.

    python -m benchmarks gpu_check [--out FILE]

Nothing is installed: the checkout runs with the Python at hand. The result is what each part printed.

Needs: an NVIDIA GPU.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.support.arguments import argument_parser
from lstn.errors import DeviceError
from lstn.machine.environment import describe_environment
from lstn.machine.gpu import find_gpus

RESULT = "results/gpu/gpu-check.json"
ROOT = Path(__file__).parents[1]

TIMEOUT_S = 480
BENCHMARKS = ("grid", "sampler")
"""The others want models, hours, or write results that were made elsewhere."""


def main(words: Sequence[str]) -> None:
    """Run every part and write the report; fail if one failed or there is no GPU."""
    output = argument_parser(__name__, __doc__, out=RESULT).parse_args(words).out
    if not find_gpus():
        raise DeviceError("this machine shows no NVIDIA GPU, so there is nothing to check")
    # Only the files that hold such tests: the others may import what a borrowed machine lacks.
    tests = [
        str(path) for path in sorted((ROOT / "tests").glob("**/test_*.py")) if "pytest.mark.gpu" in path.read_text()
    ]
    pytest = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    parts = [run("tests marked gpu", [*pytest, *tests])]
    for name in BENCHMARKS:
        parts.append(run(f"python -m benchmarks {name}", [sys.executable, "-m", "benchmarks", name]))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"environment": asdict(describe_environment()), "parts": parts}, indent=1) + "\n")
    print(f"\n{output}")
    sys.exit(any(part["returncode"] != 0 for part in parts))


def run(name: str, command: list[str]) -> dict[str, object]:
    """Run one part, show what it prints, and keep it."""
    print(f"\n== {name}", flush=True)
    began = time.perf_counter()
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        text, returncode = ended.stdout, ended.returncode
    except subprocess.TimeoutExpired:
        text, returncode = f"not finished after {TIMEOUT_S} s\n", 124
    print(text, end="", flush=True)
    seconds = round(time.perf_counter() - began, 1)
    return {"name": name, "returncode": returncode, "seconds": seconds, "output": text.splitlines()}
