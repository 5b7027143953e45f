"""`lstn serve` that may open no more files: it waits, says so once, and serves on."""

import asyncio
import errno
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from serving import serving
from tiny import Tiny

from lstn.runtime.serving import open_files
from lstn.runtime.serving.open_files import LoopFaults

ROOM = 20
"""Files that the server may open beside those that it has."""

WAITS = "warning: new connections wait for older ones to close: Too many open files; allow more files with ulimit -n\n"


def test_a_server_without_files_for_connections_says_so_once_and_serves_on(model: Tiny) -> None:
    with serving("--engine", model.path) as server:
        most = sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir()) + ROOM
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (most, most))
        crowd = [socket.create_connection(("127.0.0.1", server.http_port)) for _ in range(2 * ROOM)]
        assert server.process.stderr is not None
        assert server.process.stderr.readline() == WAITS
        for connection in crowd:
            connection.close()
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        crowd = [socket.create_connection(("127.0.0.1", server.grpc_port)) for _ in range(2 * ROOM)]
        for connection in crowd:
            connection.close()
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        assert server.stop() == (0, "")


def test_a_server_may_open_as_many_files_as_the_system_allows() -> None:
    code = "import resource as r; from lstn.runtime.serving.open_files import allow_many_files as allow; allow(); "
    code += "print(*r.getrlimit(r.RLIMIT_NOFILE))"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = ["sh", "-c", f'ulimit -S -n 100; exec "{sys.executable}" -c "{code}"']
    assert subprocess.run(limited, capture_output=True, text=True, check=True).stdout == f"{most} {most}\n"


def test_a_server_that_is_closed_while_it_waits_for_files_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    loop, waiting = asyncio.SelectorEventLoop(), socket.socket()
    loop.set_exception_handler(LoopFaults())
    waiting.close()
    loop.call_soon(loop._start_serving, asyncio.Protocol, waiting)  # type: ignore[attr-defined]  # as asyncio itself
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert capsys.readouterr().err == ""


def test_faults_of_the_loop_are_one_line_each_and_full_files_one_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop, faults, now = asyncio.new_event_loop(), LoopFaults(), [1000.0]
    monkeypatch.setattr(open_files.time, "monotonic", lambda: now[0])
    full = {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, "Too many")}
    told = []
    for later in (0.0, 59.0, 1.0, 30.0):
        now[0] += later
        faults(loop, full)
        told.append(capsys.readouterr().err.count("\n"))
    faults(loop, {"message": "Task exception was never retrieved", "exception": ValueError("x is wrong")})
    faults(loop, {"message": "lost"})
    loop.close()
    assert told == [1, 0, 1, 0]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["warning: Task exception was never retrieved: ValueError: x is wrong", "warning: lost"]
