"""A driver whose Ray cluster goes: it waits no longer, and a line is said even if Ray ends the process."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lstn.errors import LstnError
from lstn.runtime.ray import cluster_watch
from lstn.runtime.ray.cluster_watch import ClusterWatch, while_there

NODE = "0a"


@pytest.fixture
def head() -> Iterator[socket.socket]:
    """What listens where the head of a cluster does."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def ray(head: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a watch needs of Ray, of a cluster with one node."""
    monkeypatch.setattr(cluster_watch, "_EVERY_S", 0.02)
    monkeypatch.setattr(cluster_watch, "_AWAY_S", 0.2)
    address = f"127.0.0.1:{head.getsockname()[1]}"
    context = SimpleNamespace(get_node_id=lambda: NODE, gcs_address=address)
    nodes = [{"NodeID": NODE, "Alive": True}]
    return SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: nodes)


def endless() -> Iterator[int]:
    yield 1
    threading.Event().wait()


def test_what_a_cluster_answers_comes_in_its_order(ray: Any) -> None:
    watch = ClusterWatch(ray)
    assert list(while_there(watch, lambda: iter(range(100)))) == list(range(100))
    with pytest.raises(ZeroDivisionError):
        list(while_there(watch, lambda: (1 // number for number in (1, 0))))
    watch.close()
    assert watch.lost == ""


@pytest.mark.parametrize("ways", [{"Alive": False}, {"NodeID": "0b"}])
def test_a_head_that_was_started_again_is_another_cluster(ray: Any, ways: dict[str, object]) -> None:
    watch = ClusterWatch(ray)
    answers = while_there(watch, endless)
    assert next(answers) == 1
    ray.nodes()[0].update(ways)
    with pytest.raises(LstnError, match="the cluster has gone: it knows this node no longer") as raised:
        next(answers)
    assert raised.value.hint == "run it again to go on from here"


def test_a_head_that_does_not_listen_has_gone(ray: Any, head: socket.socket) -> None:
    answers = while_there(ClusterWatch(ray), endless)
    assert next(answers) == 1
    head.close()
    with pytest.raises(LstnError, match="the cluster has gone: its head doesn't answer"):
        next(answers)


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [("import os; os._exit(1)", 1, "gone\n"), ("import os; os.kill(os.getpid(), 9)", -9, "gone\n"), ("pass", 0, ""),
     ("raise SystemExit(3)", 3, "")],
)  # fmt: skip
def test_a_line_is_said_for_a_process_that_cannot_say_it(ending: str, code: int, said: str) -> None:
    script = f"from lstn.runtime.ray.last_words import last_words\nwith last_words('gone'):\n    {ending}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "", said)


@pytest.mark.parametrize(
    ("address", "told"),
    [("local", "--ray local: Ray doesn't start here: the node"), ("auto", "--ray auto: no cluster to join: the node")],
)
def test_a_cluster_that_does_not_start_in_time_is_one_error(address: str, told: str) -> None:
    """In a process of its own, for it loads Ray."""
    script = f"""
from types import SimpleNamespace
from lstn.errors import LstnError
from lstn.runtime.ray import ray_infer

def init(**_):
    raise Exception("the node timed out\\nduring startup")

try:
    with ray_infer._joined(SimpleNamespace(init=init), {address!r}):
        pass
except LstnError as error:
    print(error.message)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ran.stdout == f"{told} timed out\n", ran.stderr
