"""A Ray cluster of two nodes with a core each, as a script: it ends with its input, or with its parent.

Writes the address. At the line "second" or "head" it kills that node with all its processes and writes "killed".
"""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    try:
        second = cluster.add_node(**NODE)
        say(cluster.address)
        for line in sys.stdin:
            node = {"second\n": second, "head\n": cluster.head_node}[line]
            cluster.remove_node(node, allow_graceful=False)
            say("killed")
    finally:
        cluster.shutdown()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
