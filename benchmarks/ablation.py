"""Ablation of `--recipe robust`: the recipe without each option, and with what it leaves out, over seeds.

    python -m benchmarks ablation --data mnist-rts --image-size 42 --epochs 4 --out results/recipe/ablation-rts.json

`lstn.research.ablation` says how. It can be stopped and started at will, and more seeds added later.

Needs: the data set of --data.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.arguments import argument_parser
from lstn.contract import Loc
from lstn.files import write_text
from lstn.research.ablation import AblationRequest, ablate, page_of

RESULT = "results/recipe/ablation-NAME.json"


def main(words: Sequence[str]) -> None:
    """Train what is missing, and write the table after every run."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--loc", type=Loc, default=Loc.STN)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, help="folder of the runs; default: runs/NAME, as --out is called")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"such as {RESULT}")
    given = parser.parse_args(words)
    asked = AblationRequest(given.data, given.image_size, given.epochs, given.loc, given.seeds)
    for said, result in ablate(asked, given.runs or Path("runs") / given.out.stem):
        print(said, flush=True)
        write_text(given.out, json.dumps(result, indent=1) + "\n")
        write_text(given.out.with_suffix(".md"), page_of(result))
