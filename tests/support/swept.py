"""A piece of code that runs again for each call that it makes on files, which then fails."""

import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.faulting.failing_calls import FAULTS, FailingCalls, Fault

Files = dict[str, bytes]


@dataclass(frozen=True)
class SweptRun:
    """One run: which call failed and how, on which path; what the code raised, if anything; the files that it left."""

    call: str
    how: str
    path: Path
    raised: str
    files: Files

    def __str__(self) -> str:
        return f"{self.call} {self.how} on {self.path}: {self.raised or 'well'}, {sorted(self.files)}"


def sweep(
    base: Path, make: Callable[[], None], code: Callable[[], None], ways: Mapping[str, tuple[str, ...]] = FAULTS
) -> Iterator[SweptRun]:
    """Yield the run without a fault, whose call is empty, and then one for each call of it and each way to fail.

    base: an empty folder; both run in `base/world`, which is new each time, `code` in a process of its own
    ways: how each call fails
    """
    world = base / "world"
    calls = FailingCalls.built(base / "failing_calls.so", world)

    def run(call: str, fault: Fault | None) -> SweptRun:
        shutil.rmtree(world, ignore_errors=True)
        world.mkdir()
        os.chdir(world)
        make()
        calls.arm(fault)
        raised = _raised_by(code, calls, base / "raised")
        assert calls.met, f"{fault} doesn't come again"
        path = calls.path.relative_to(world) if calls.struck else Path()
        files = {str(file.relative_to(world)): file.read_bytes() for file in world.rglob("*") if file.is_file()}
        return SweptRun(call, "" if fault is None else fault.how, path, raised, files)

    yield run("", None)
    for call in calls.calls:
        for how in ways[call.kind]:
            yield run(call.kind, Fault(call, how))


def _raised_by(code: Callable[[], None], calls: FailingCalls, told: Path) -> str:
    told.write_text("")
    child = os.fork()
    if not child:
        try:
            calls.watch()
            code()
        except BaseException as error:
            told.write_text("".join(traceback.format_exception_only(error)))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return told.read_text().strip()
