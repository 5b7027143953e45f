"""Ray in processes of its own: a cluster, the commands that join it, and runs that a test interferes with.

No test imports Ray: the threads and fork handlers of its core would stay in the tests' process for good, and that core
ends the process in which a driver's cluster has gone.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import Ran

LIMIT_S = 180
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cluster:
    """Two nodes with a core each."""

    process: "subprocess.Popen[str]"
    address: str

    def kill_second(self) -> None:
        """Kill the second node with all its processes, and come back once they are gone."""
        self._kill("second")

    def kill_head(self) -> None:
        """The same with the first node, to which drivers belong: no other test can have this cluster then."""
        self._kill("head")

    def _kill(self, node: str) -> None:
        say(self.process, node)
        assert next_line(self.process) == "killed"


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """Start a cluster, and end it however the block ends."""
    command = [sys.executable, str(HERE / "ray_nodes.py")]
    # A session of its own: Ctrl-C ends the tests, and their end is the end of its input.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Cluster(process, next_line(process))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=LIMIT_S) == 0


def run_apart(*words: object) -> Ran:
    """Run `lstn …`."""
    command = [sys.executable, "-m", "lstn", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def drive(kind: str, *words: object, on_fifth: Callable[[], None] | None = None) -> tuple[dict[str, Any], str]:
    """Run ray_drivers.py -> what it saw, standard error."""
    command = [sys.executable, str(HERE / "ray_drivers.py"), kind, *map(str, words)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True) as driver:
        try:
            if on_fifth:
                assert next_line(driver) == "fifth"
                on_fifth()
                say(driver, "go on")
            out, err = driver.communicate(timeout=LIMIT_S)
        finally:
            driver.kill()
    assert driver.returncode == 0, err
    return json.loads(out), err


def say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else "ended; standard error says why"
    return line.removesuffix("\n")
