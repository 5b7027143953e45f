"""A Ray cluster in this machine whose nodes are killed: a process of its own, and what commands it.

Ray's core stays in a process for good, and ends it when the cluster of its driver has gone.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_KILL_WORKER, _RESTART_HEAD, _DONE = "kill a worker", "restart the head", "done"
_NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A head and a worker with a core each. address: what `--ray` takes, the same for every head"""

    address: str
    _process: "subprocess.Popen[str]"

    def kill_worker(self) -> None:
        """Kill the worker with all its processes, and add another; come back when it is there."""
        self._command(_KILL_WORKER)

    def restart_head(self) -> None:
        """Kill the head and the worker, and start others at the same address; come back when they are there."""
        self._command(_RESTART_HEAD)

    def _command(self, words: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        if (told := self._process.stdout.readline()) != f"{_DONE}\n":
            raise RuntimeError(f"the cluster said {told!r} to {words!r}")


@contextmanager
def ray_cluster(port: int) -> Iterator[RayCluster]:
    """Start a cluster whose head listens at this port, and end it however the block ends."""
    command = [sys.executable, "-m", __name__, str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield RayCluster(process.stdout.readline().strip(), process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def main(port: int) -> None:
    """Run the cluster: write its address, and do what each line of standard input says, until its end."""
    from ray.cluster_utils import Cluster

    out, sys.stdout = sys.stdout, sys.stderr  # Ray writes to standard output when a node dies
    head: dict[str, Any] = _NODE | {"include_dashboard": False, "gcs_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)

    def say(line: str) -> None:
        out.write(f"{line}\n")
        out.flush()

    try:
        worker = cluster.add_node(**_NODE)
        say(cluster.address)
        for line in sys.stdin:
            cluster.remove_node(worker, allow_graceful=False)
            if line.strip() == _RESTART_HEAD:
                cluster.remove_node(cluster.head_node, allow_graceful=False)
                cluster.add_node(**head)
            worker = cluster.add_node(**_NODE)
            say(_DONE)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
