"""One seed of a simulated `lstn infer --ray`: runs that are killed, cut off and go on, until every image has its row.

The writer's own code runs: the passes of `Pool.infer`, `open_parts`, `Parts`, `lstn.files` and the folder's lock.
Simulated are the cluster, which loses pieces and answers others twice, the clock and the disk.
"""

import json
import random
import secrets
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from benchmarks.support.simulation.disk import Killed, SimulatedDisk, names_in
from lstn.errors import LstnError, UsageError
from lstn.images import DecodeLimits
from lstn.runtime.ray import ray_infer, result_parts
from lstn.runtime.ray.ray_infer import Pool
from lstn.runtime.ray.result_parts import Parts, ResultRun, key_of, open_parts

_MOST_RUNS = 60
_RUN, _OTHER_RUN = ResultRun("e" * 64, "o" * 64, 1, "json"), ResultRun("f" * 64, "o" * 64, 1, "json")
_OTHERS = "/images/other.png"


class RayError(Exception):
    """What Ray raises when part of a cluster fails."""


@dataclass
class WrittenSeed:
    """What happened in one seed. runs: until every image had its row; trace: of what the folder held after each"""

    wrong: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    rows: int = 0
    trace: int = 0


class SimulatedPool(Pool):
    """A pool of engines on a cluster that loses nodes. loses, repeats, fails: shares of pieces"""

    def __init__(self, world: "WriterWorld") -> None:
        ray: Any = SimpleNamespace(exceptions=SimpleNamespace(RayError=RayError))
        opened: Any = SimpleNamespace(contract=None, max_batch=8)
        share: Any = SimpleNamespace(cpus=1)
        super().__init__(ray, None, None, share, opened)  # type: ignore[arg-type]
        self._world = world

    def _answers(self, sources: Sequence[str], parts: Parts, actor: dict[str, Any], size: int) -> Iterator[str]:
        """Yield the answers of one pass, in any order, some twice, some never."""
        world, chance = self._world, self._world.chance
        left = [name for name in sources if key_of(name) not in parts.done]
        pieces = [left[start : start + size] for start in range(0, len(left), size)]
        told = [json.dumps({"rows": [row_of(name) for name in piece]}) for piece in pieces]
        told += [text for text in told if world.strikes(world.repeats, "a piece that is answered twice")]
        told = [text for text in told if not world.strikes(world.loses, "a piece that is lost")]
        told.append(json.dumps({"listed": len(left), "skipped": ""}))
        chance.shuffle(told)
        for text in told:
            if world.strikes(world.fails, "a cluster that fails"):
                raise RayError("a node died")
            world.now += chance.expovariate(1 / world.piece_s)
            yield text


class WriterWorld:
    """One folder of results, and those who write to it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = chance = random.Random(seed)
        self.met: Counter[str] = Counter()
        self.now = 0.0
        self.folder = folder / "rows"
        self.names = [f"/images/{number:03}.png" for number in range(chance.choice((0, 1, 7, 40, 120)))]
        self.part_rows = chance.choice((1, 5, 50))
        self.piece_s = chance.choice((0.1, 5.0, 60.0))
        self.loses, self.repeats = chance.choice((0.0, 0.1, 0.4)), chance.choice((0.0, 0.2))
        self.fails = chance.choice((0.0, 0.02))
        self.disk = SimulatedDisk(self.folder, chance, self.met)
        self._kills, self._disk_fails = chance.choice((0.0, 0.02, 0.1)), chance.choice((0.0, 0.02, 0.1))
        self._powerless = chance.choice((0.0, 0.5, 1.0))
        self._others = chance.choice((0.0, 0.0, 0.2))
        self._refused = False
        self.disk.after_listing = self._others_write

    def strikes(self, share: float, what: str) -> bool:
        """Whether a fault happens now."""
        happens = share > 0 and self.chance.random() < share
        self.met[what] += happens
        return happens

    def run(self) -> WrittenSeed:
        """Run and go on until all is there, and once more without a fault, which must change nothing."""
        found = WrittenSeed()
        shutil.rmtree(self.folder, ignore_errors=True)
        with ExitStack() as stack:
            stack.enter_context(patch.object(result_parts, "PART_ROWS", self.part_rows))
            stack.enter_context(patch.object(result_parts, "time", SimpleNamespace(monotonic=lambda: self.now)))
            stack.enter_context(patch.object(ray_infer, "warn", lambda text: None))
            stack.enter_context(patch.object(secrets, "token_hex", self._token))
            calm = False
            while not (ended := self._ends(calm, found)) and found.runs < _MOST_RUNS and not found.wrong:
                calm = calm or found.runs > _MOST_RUNS // 2 or self.chance.random() < 0.1
                if calm:
                    self.loses = self.repeats = self.fails = 0.0
            if not found.wrong and not (ended and self._ends(True, found)):
                found.wrong.append(f"not at its end after {found.runs} runs")
        found.wrong += self._wrong(found)
        found.met = +self.met
        return found

    def _token(self, size: int) -> str:
        """Return what temporary names are made of."""
        return self.chance.randbytes(size).hex()

    def _ends(self, calm: bool, found: WrittenSeed) -> bool:
        """Run once; return whether it came to its end."""
        found.runs += 1
        self.disk.kills, self.disk.fails = (0.0, 0.0) if calm else (self._kills, self._disk_fails)
        ended = False
        try:
            with self.disk.attached(), open_parts(self.folder, _RUN) as parts:
                if self.chance.random() < 0.1:
                    self._second_writer(found)
                SimulatedPool(self).infer(
                    self.names, parts, batch=1, top=1, least=0.0, workers=None, limits=DecodeLimits()
                )
                ended = True
        except Killed:
            ended = False
            if self.chance.random() < self._powerless:
                self.disk.cut_power()
        except LstnError as error:
            ended = self._refused = "holds the results of another run" in error.message
            if calm and not ended:
                found.wrong.append(f"run {found.runs}, without a fault: {error.message}; {error.hint}")
        found.trace = zlib.crc32("\n".join(names_in(self.folder)).encode(), found.trace)
        return ended

    def _others_write(self) -> None:
        """Another process may write its results, of another model, at the worst moment."""
        if not self.strikes(self._others, "another run that comes first"):
            return
        self.disk.after_listing = lambda: None
        with suppress(UsageError), self._calmly(), open_parts(self.folder, _OTHER_RUN) as parts:
            parts.add([row_of(_OTHERS)])

    def _second_writer(self, found: WrittenSeed) -> None:
        """Another process that would write there is refused."""
        self.met["a second writer"] += 1
        try:
            with self._calmly(), open_parts(self.folder, _RUN):
                found.wrong.append("two writers at once")
        except UsageError as error:
            if "writes there now" not in error.message:
                found.wrong.append(f"a second writer is told: {error.message}")

    @contextmanager
    def _calmly(self) -> Iterator[None]:
        kills, fails = self.disk.kills, self.disk.fails
        self.disk.kills = self.disk.fails = 0.0
        try:
            yield
        finally:
            self.disk.kills, self.disk.fails = kills, fails

    def _wrong(self, found: WrittenSeed) -> Iterator[str]:
        """Yield what is wrong with the folder at the end."""
        rows = []
        for path in sorted(self.folder.glob("part-*")):
            try:
                rows += [json.loads(line) for line in path.read_bytes().splitlines()]
            except ValueError:
                yield f"{path.name} is torn"
        found.rows = len(rows)
        counts = Counter(row["path"] for row in rows)
        if not found.wrong and counts != Counter([_OTHERS] if self._refused else self.names):
            yield f"{len(self.names)} images have {counts.total()} rows, of {len(counts)} images"
        yield from (f"a wrong row: {row}" for row in rows if row != row_of(row["path"]))
        left = [name for name in names_in(self.folder) if name.endswith(".tmp")]
        if left and not found.wrong:
            yield f"left there: {', '.join(left)}"


def row_of(name: str) -> dict[str, Any]:
    """Return the right row of an image."""
    return {"path": name, "label": name[-7:-4], "probability": 0.5}


def written(seed: int, folder: Path) -> WrittenSeed:
    """Run one seed, in `folder`."""
    return WriterWorld(seed, folder).run()
