"""Runs on a cluster that a test interferes with, as a script: KIND ADDRESS ENGINE OUTPUT SOURCE…

Each takes one image a batch and writes two guesses a row, and says at the end, in JSON, what it saw.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lstn.errors import UsageError
from lstn.images import USUAL
from lstn.machine.gpu import Device
from lstn.runtime.ray import result_parts as parts_module
from lstn.runtime.ray.ray_infer import open_pool
from lstn.runtime.ray.result_parts import Fields, Parts, ResultRun, open_parts, run_of

TEST, sys.stdout = sys.stdout, sys.stderr  # Ray writes to standard output when a node dies


class Counting(Parts):
    """Parts that ask for the end of a node when the fifth piece comes, and wait for it."""

    def __init__(self, folder: Path, run: ResultRun) -> None:
        super().__init__(folder, run)
        self.pieces, self.offered = 0, 0

    def add(self, rows: Sequence[Fields]) -> int:
        self.pieces += bool(rows)
        self.offered += len(rows)
        if rows and self.pieces == 5:
            say("fifth")
            assert sys.stdin.readline() == "go on\n"
        return super().add(rows)


class Losing(Parts):
    """Parts that the first piece never reaches."""

    lost: int = 0

    def add(self, rows: Sequence[Fields]) -> int:
        if rows and not self.lost:
            self.lost = len(rows)
            return 0
        return super().add(rows)


def main() -> None:
    kind, address, engine, output, *sources = sys.argv[1:]
    parts_module.Parts = {"counting": Counting, "losing": Losing, "failing": Parts}[kind]
    try:
        seen = infer(address, Path(engine), Path(output), sources)
    except UsageError as error:
        seen = {"refused": error.message}
    say(json.dumps(seen))


def say(line: str) -> None:
    TEST.write(f"{line}\n")
    TEST.flush()


def infer(address: str, engine: Path, output: Path, sources: list[str]) -> dict[str, int]:
    with (
        open_parts(output, run_of(engine, top=2, format_="json")) as parts,
        open_pool(address, engine, device=Device.AUTO, threads=None) as pool,
    ):
        pool.infer(sources, parts, batch=1, top=2, least=0, workers=None, limits=USUAL)
        if isinstance(parts, Losing):
            return {"lost": parts.lost}
        assert isinstance(parts, Counting)
        first, parts.offered = parts.offered, 0
        pool.infer(sources, parts, batch=1, top=2, least=0, workers=None, limits=USUAL)
        return {"first": first, "again": parts.offered}


if __name__ == "__main__":
    main()
