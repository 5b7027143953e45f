"""`lstn serve` that reloads its model on SIGHUP, tried again and again with another system call that fails then."""

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.support.faulting.command_process import CommandProcess
from benchmarks.support.faulting.failing_calls import Call, Fault
from benchmarks.support.faulting.fault_cases import NEW_MODEL, SERVED, SIDE
from benchmarks.support.faulting.fault_verdict import MISSED, REFUSED, RIGHT
from benchmarks.support.faulting.faulted_runs import FaultyFolder
from lstn.errors import LstnError

RELOAD = "serve, reload"

_READY = r"ready: .* at http://127\.0\.0\.1:(\d+)"
_RELOADED = r"^reloaded: .*$"
_KEPT = "is not reloaded: "
_PIXELS = {
    "name": "pixels",
    "shape": [1, SIDE, SIDE, 3],
    "datatype": "UINT8",
    "data": [value % 251 for value in range(SIDE * SIDE * 3)],
}


class FaultedReload:
    """A server whose model becomes another.

    calls: what it calls for that when none fails, in order
    imports: nothing: it has imported what it needs before

    Raises:
        LstnError: it fails by itself.
    """

    def __init__(self, folder: FaultyFolder) -> None:
        self._folder, self.imports = folder, list[Call]()
        folder.prepare(SERVED, learn=True)
        with self._serving() as server:
            old = server.answer()
            told = server.reload(None)
            self.calls = folder.calls.calls
            self._answers = {old: "the old model's", server.answer(): "the new model's"}
        if len(self._answers) < 2:
            raise LstnError(f"the server didn't reload without a fault: {told}")

    def attempt(self, fault: Fault, *, new: bool = False) -> str:
        """Reload with a fault, and then without; return `RIGHT`, `REFUSED` or what is wrong."""
        with self._serving(new=new) as server:
            try:
                return self._judged(server, fault)
            except (OSError, RuntimeError) as error:
                return f"{error}: {server.process.told[-300:]!r}"

    def _judged(self, server: "_ServerProcess", fault: Fault) -> str:
        told = server.reload(fault)
        if not self._folder.calls.met:
            return MISSED
        refused, heard = _KEPT in told, self._answers.get(server.answer(), "wrong")
        if heard != ("the old model's" if refused else "the new model's"):
            return f"its answer is {heard} after: {told!r}"
        told = server.reload(None)
        if (heard := self._answers.get(server.answer(), "wrong")) != "the new model's":
            return f"after a reload that nothing hindered its answer is {heard}: {told!r}"
        server.process.send(signal.SIGTERM)
        code = server.process.wait()
        if code or "Traceback" in server.process.told:
            return f"ends with {code}: {server.process.told!r}"
        return REFUSED if refused else RIGHT

    @contextmanager
    def _serving(self, *, new: bool = False) -> Iterator["_ServerProcess"]:
        self._folder.restart()
        self._folder.calls.arm(None)
        with self._folder.started(SERVED, new=new) as process:
            port = process.hear(_READY)[1]
            (self._folder.world / NEW_MODEL).rename(self._folder.world / "model.onnx")
            yield _ServerProcess(self._folder, process, port)


@dataclass(slots=True)
class _ServerProcess:
    """A server that is ready, and whose file is another by now. port: of HTTP"""

    folder: FaultyFolder
    process: CommandProcess
    port: str

    def answer(self) -> str:
        """Return the logits of one image."""
        body = json.dumps({"inputs": [_PIXELS], "outputs": [{"name": "logits"}]}).encode()
        url = f"http://127.0.0.1:{self.port}/v2/models/model/infer"
        with urllib.request.urlopen(url, body, timeout=30) as answer:
            return str(json.load(answer)["outputs"][0]["data"])

    def reload(self, fault: Fault | None) -> str:
        """Let it reload, and return what it says of that."""
        begun = len(self.process.told)
        self.folder.calls.arm(fault)
        self.process.send(signal.SIGHUP)
        self.process.hear(_RELOADED, begun)
        return self.process.told[begun:]
