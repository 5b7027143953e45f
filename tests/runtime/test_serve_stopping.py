"""How `lstn serve` ends when it is stopped before it is ready: with 0, and without a word of a library."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from serving import until
from tiny import Tiny

from lstn.errors import LstnError
from lstn.runtime.serving.stopping import leaving_behind

SLOW = """
import os
from pathlib import Path
from lstn.runtime.serving.models import generation, served_model

def warm_up(engine, slots, batch):
    Path(os.environ["BEGUN"]).write_text("loading")
    while True:  # back from Python into a library again and again, as a native loop with callbacks is
        engine.infer(__import__("numpy").zeros((32, *engine.contract.image_hw, 3), "uint8"))

served_model.warm_up = warm_up
from lstn.cli.app import main
main()
"""


def command(model: Tiny) -> list[str]:
    return ["serve", "--engine", str(model.path), "--http-port", "0", "--grpc-port", "0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_engine_that_is_still_loading_is_left_behind(model: Tiny, tmp_path: Path, number: signal.Signals) -> None:
    begun = tmp_path / "begun"
    environment = os.environ | {"BEGUN": str(begun)}
    arguments = [sys.executable, "-c", SLOW, *command(model)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            until(begun.exists)
            process.send_signal(number)
            told = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert (process.returncode, told) == (0, "")


EARLY = """
import os, signal, sys
from lstn.runtime.serving import server

real = server.new_server
def new_server(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)  # in the middle of the start, before the loop has its handlers
    return real(*arguments, **options)

server.new_server = new_server
from lstn.cli.app import main
main()
"""


def test_a_signal_before_the_loop_listens_is_not_lost_and_not_an_exception(model: Tiny) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, *command(model)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_during_the_imports_ends_with_130_and_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "lstn", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stderr) == (130, "")


GIVEN_BACK = """
import os, signal
from lstn.runtime.serving.stopping import StopSignals

before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
with StopSignals():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
"""


def test_signals_are_noted_and_given_back() -> None:
    """In a process of its own: a signal to the tests' own one would meet whatever libraries other tests have loaded."""
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


LEFT = """
    import sys, threading, time
    from lstn.errors import LstnError
    from lstn.runtime.serving.stopping import leaving_behind
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    try:
        with leaving_behind(lambda: [thread], 0.05):
            print("said", flush=False)
            if {fails}:
                raise LstnError("late")
    except LstnError:
        sys.exit(7)
"""


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)])
def test_the_code_is_the_one_that_it_would_have_been_and_output_is_written(fails: bool, code: int) -> None:
    script = textwrap.dedent(LEFT).replace("{fails}", str(fails))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\n", "")


def test_threads_that_end_are_waited_for_and_nothing_is_left() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (time.sleep(0.1), ended.set()))
    thread.start()
    with pytest.raises(LstnError, match="x"), leaving_behind(lambda: [thread], 10):
        raise LstnError("x")
    assert ended.is_set()
