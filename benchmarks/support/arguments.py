"""The arguments of a benchmark."""

import argparse
from pathlib import Path


def argument_parser(name: str, told: str | None, *, out: str = "") -> argparse.ArgumentParser:
    """Return a parser without arguments of the benchmark's own yet.

    name, told: `__name__` and `__doc__` of the benchmark
    out:        where its result goes unless --out says otherwise; without one there is no --out
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name.replace('.', ' ')}",
        description=told,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if out:
        parser.add_argument("--out", type=Path, default=Path(out), metavar="FILE", help=f"default: {out}")
    return parser
