"""Checks for a machine with an NVIDIA GPU: the tests marked `gpu`, and benchmarks.

Needs no install: it runs the checkout with the Python at hand, and writes what each part printed to
results/gpu/gpu-check.json.

    python benchmarks/gpu_check.py [OUTPUT.json]
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from lstn.machine.environment import describe_environment  # noqa: E402
from lstn.machine.gpu import find_gpus  # noqa: E402 - the checkout, not an installed copy

TIMEOUT_S = 480
BENCHMARKS = ("grid.py", "sampler.py")
"""The others want models, hours, or write results that were made elsewhere."""


def main() -> int:
    """Run every part, write the report, and return 1 if one failed or there is no GPU."""
    if not find_gpus():
        print("error: this machine shows no NVIDIA GPU, so there is nothing to check", file=sys.stderr)
        return 1
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "gpu" / "gpu-check.json"
    # Only the files that hold such tests: the others may import what a borrowed machine lacks.
    tests = [
        str(path) for path in sorted((ROOT / "tests").glob("**/test_*.py")) if "pytest.mark.gpu" in path.read_text()
    ]
    pytest = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    parts = [run("tests marked gpu", [*pytest, *tests])]
    for script in BENCHMARKS:
        parts.append(run(f"benchmarks/{script}", [sys.executable, str(ROOT / "benchmarks" / script)]))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"environment": asdict(describe_environment()), "parts": parts}, indent=1) + "\n")
    print(f"\n{output}")
    return int(any(part["returncode"] != 0 for part in parts))


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


if __name__ == "__main__":
    sys.exit(main())
