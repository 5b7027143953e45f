"""One command, tried again and again with another system call that fails."""

import hashlib
from dataclasses import replace

from benchmarks.support.faulting.failing_calls import Call, Fault
from benchmarks.support.faulting.fault_cases import FaultCase, Words, unchanged
from benchmarks.support.faulting.fault_verdict import MISSED, REFUSED, RIGHT, Files, verdict
from benchmarks.support.faulting.faulted_runs import FaultyFolder
from lstn.errors import LstnError


class FaultedCommand:
    """A command and its folder.

    calls: what it calls when none fails, in order; of a fork
    imports: what a new Python calls besides, for what it imports and when it ends

    Raises:
        LstnError: it fails by itself.
    """

    def __init__(self, folder: FaultyFolder, case: FaultCase) -> None:
        self._folder, self._case = folder, case
        self._before = folder.prepare(case)
        self._ends_well: set[bytes] = set()
        self._without_fault(case)  # the next one finds imported what it imports
        self.calls, self._good = self._without_fault(case)
        there = set(self.calls)
        if case.quicker and (others := there ^ set(self._without_fault(replace(case, changed=unchanged))[0])):
            raise LstnError(f"lstn {' '.join(case.words)} makes other calls when it is quicker: {sorted(others)[:3]}")
        self.imports = [call for call in self._without_fault(case, new=True)[0] if call not in there]

    def _without_fault(self, case: FaultCase, *, new: bool = False) -> tuple[list[Call], Files]:
        self._folder.restart()
        self._ends_well.add(self._state(case.words, self._before))
        ended = self._folder.run(case, new=new)
        if ended.code != 0:
            raise LstnError(f"lstn {' '.join(case.words)} failed without a fault: {ended.told}")
        return self._folder.calls.calls, ended.files

    def attempt(self, fault: Fault, *, new: bool = False) -> str:
        """Run it with a fault, in a fork or a new Python; return `RIGHT`, `REFUSED` or what is wrong.

        After it was refused, it must end well without a fault: it runs again, unless it has before from just that state
        of its folder.
        """
        folder, case = self._folder, self._case
        folder.restart()
        ended = folder.run(case, fault, new=new)
        if not folder.calls.met:
            return MISSED
        struck = str(folder.calls.path.relative_to(folder.world)) if folder.calls.struck else ""
        found = verdict(ended, self._before, self._good, struck, case.stdout)
        if found != REFUSED:
            return found if found == RIGHT else f"{found}: {_last_words(ended.told)}"
        goes_on = bool(case.again) and (folder.world / case.begun).exists()
        words = case.again if goes_on else case.words
        if (state := self._state(words, ended.files)) in self._ends_well:
            return REFUSED
        then = folder.run(replace(case, words=words))
        after = verdict(then, self._before, self._good, struck, case.stdout)
        same = case.settled and after == REFUSED and _last_words(then.told) == _last_words(ended.told)
        if after == RIGHT:
            self._ends_well.add(state)
        if after == RIGHT or same:
            return REFUSED
        return f"{_last_words(ended.told)}; afterwards {after}: {_last_words(then.told)}"

    def _state(self, words: Words, files: Files) -> bytes:
        """Return a digest of what a command finds: all files and folders of its world."""
        world = self._folder.world
        folders = sorted(str(path.relative_to(world)) for path in world.rglob("*") if path.is_dir())
        digest = hashlib.sha256(repr((words, folders, list(files))).encode())
        for content in files.values():
            digest.update(b"%d " % len(content) + content)
        return digest.digest()


def _last_words(told: str) -> str:
    return " / ".join(told.strip().splitlines()[-2:])[-300:]
