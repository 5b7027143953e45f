"""Ablation of `--recipe robust`: the recipe without each option, and with what it leaves out, over seeds.

    python benchmarks/ablation.py --data mnist-rts --image-size 42 --epochs 4 --out results/recipe/ablation-rts.json

`lstn.research.ablation` says how. The script can be stopped and started at will, and more seeds added later.
"""

import argparse
import json
import sys
from pathlib import Path

from lstn.contract import Loc
from lstn.errors import UsageError
from lstn.files import write_text
from lstn.research.ablation import AblationRequest, ablate, page_of


def main() -> None:
    """Train what is missing, and write the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--loc", type=Loc, default=Loc.STN)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, help="folder of the runs; default: runs/NAME, as --out is called")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    asked = AblationRequest(given.data, given.image_size, given.epochs, given.loc, given.seeds)
    try:
        for said, result in ablate(asked, given.runs or Path("runs") / given.out.stem):
            print(said, flush=True)
            write_text(given.out, json.dumps(result, indent=1) + "\n")
            write_text(given.out.with_suffix(".md"), page_of(result))
    except UsageError as error:
        sys.exit(f"{error.message}; {error.hint}")


if __name__ == "__main__":
    main()
