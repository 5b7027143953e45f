from collections.abc import Iterator

import pytest
from fake_machine import make_machine
from serving import Server, serving, written
from tiny import Tiny
from tiny_fixtures import built_plan, make_tiny, plan, run_lstn, tiny

__all__ = ["built_plan", "make_machine", "make_tiny", "plan", "run_lstn", "tiny"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return written(tmp_path_factory.mktemp("served") / "model.onnx")


@pytest.fixture(scope="module")
def server(model: Tiny) -> Iterator[Server]:
    with serving("--engine", model.path, "--max-queue", 40, "--max-wait-ms", 0) as running:
        yield running
        assert running.stop() == (0, "")  # nothing was written about what anyone sent
