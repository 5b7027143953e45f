"""One command, tried again and again with another system call that fails."""

from dataclasses import replace

from benchmarks.support.failing_calls import Fault
from benchmarks.support.fault_cases import FaultCase
from benchmarks.support.fault_verdict import REFUSED, RIGHT, verdict
from benchmarks.support.faulted_runs import FaultyFolder
from lstn.errors import LstnError


class FaultedCommand:
    """A command and its folder.

    calls: what it calls when none fails, in order

    Raises:
        LstnError: it fails by itself.
    """

    def __init__(self, folder: FaultyFolder, case: FaultCase) -> None:
        self._folder, self._case = folder, case
        self._before = folder.prepare(case)
        for _ in range(2):  # the second finds imported what it imports
            folder.restart()
            ended = folder.run(case)
            if ended.code != 0:
                raise LstnError(f"lstn {' '.join(case.words)} failed without a fault: {ended.told}")
        self._good = ended.files
        self.calls = folder.calls.calls

    def attempt(self, fault: Fault) -> str:
        """Run it with a fault; return `RIGHT`, `REFUSED` or what is wrong.

        After it was refused, it must end well without a fault.
        """
        folder, case = self._folder, self._case
        folder.restart()
        ended = folder.run(case, fault)
        struck = str(folder.calls.path.relative_to(folder.world)) if folder.calls.struck else ""
        found = verdict(ended, self._before, self._good, struck, case.stdout)
        if found != REFUSED:
            return found if found == RIGHT else f"{found}: {_last_words(ended.told)}"
        goes_on = bool(case.again) and (folder.world / case.begun).exists()
        then = folder.run(replace(case, words=case.again if goes_on else case.words))
        after = verdict(then, self._before, self._good, struck, case.stdout)
        same = case.settled and after == REFUSED and _last_words(then.told) == _last_words(ended.told)
        if after == RIGHT or same:
            return REFUSED
        return f"{_last_words(ended.told)}; afterwards {after}: {_last_words(then.told)}"


def _last_words(told: str) -> str:
    return " / ".join(told.strip().splitlines()[-2:])[-300:]
