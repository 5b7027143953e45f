"""Processes that begin with PyTorch and lstn imported, which takes a new Python some seconds of a core.

Each is forked from one that has imported them and done nothing else. Otherwise it is as one that Python starts: it has
an id, a folder, an environment and output of its own, it gets signals, and it ends with an exit status.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "lstn.cli.app", "lstn.train.loop", "torch._dynamo", "torch.distributed"])
_POLL_S = 0.005


class Told:
    """What a process has written so far to one of its outputs."""

    def __init__(self, path: Path, process: "Forked") -> None:
        path.touch()
        self._file, self._process = path.open(), process

    def readline(self) -> str:
        """Wait for a whole line, and return it; return what is left when the process has ended."""
        line = ""
        while not line.endswith("\n"):
            ended = self._process.poll() is not None  # asked first: it may write before it ends
            more = self._file.readline()
            line += more
            if ended and not more:
                break
            if not more:
                time.sleep(_POLL_S)
        return line

    def read(self) -> str:
        return self._file.read()

    def close(self) -> None:
        self._file.close()


class Forked:
    """A process that runs what `python *command` does: `-c CODE`, `-m MODULE` or a script, and words for it.

    cwd: its folder, by default this process's
    env: its environment, by default this process's

    Leaving the `with` block kills it, if it is still there.
    """

    def __init__(self, *command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self._folder = TemporaryDirectory()
        paths = Path(self._folder.name, "stdout"), Path(self._folder.name, "stderr")
        self.stdout, self.stderr = (Told(path, self) for path in paths)
        given = (tuple(map(str, command)), str(cwd or Path.cwd()), dict(os.environ if env is None else env), paths)
        self._process = _FORKS.Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self._process.kill()
        self.wait(60)
        for told in (self.stdout, self.stderr):
            told.close()
        self._folder.cleanup()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        assert self.poll() is None
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return the exit status, negative for a signal."""
        self._process.join(timeout)
        assert self.returncode is not None, f"it still runs after {timeout} s"
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end, and return what it wrote that hasn't been read."""
        self.wait(timeout)
        return self.stdout.read(), self.stderr.read()


def forked(
    *command: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 300
) -> tuple[int, str, str]:
    """Run to the end, and return the exit status and both outputs."""
    with Forked(*command, cwd=cwd, env=env) as process:
        out, err = process.communicate(timeout)
        return process.wait(0), out, err


def _run(command: tuple[str, ...], cwd: str, env: dict[str, str], outputs: tuple[Path, Path]) -> None:
    for number, path in enumerate(outputs, 1):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first, *words = command
    if first == "-c":
        code, *words = words
        sys.argv = ["-c", *words]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        module, *words = words
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *words]
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")
