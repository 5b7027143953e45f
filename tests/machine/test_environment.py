import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from lstn.machine.environment import LIBRARIES, describe_environment, installed


def test_it_describes_this_machine_in_json() -> None:
    environment = describe_environment()
    assert environment.cores >= 1
    assert environment.cpu
    assert json.loads(json.dumps(asdict(environment)))["python"] == sys.version.split()[0]


def test_versions_come_without_importing() -> None:
    code = (
        "import sys; from lstn.machine.environment import describe_environment; "
        "assert 'torch' in describe_environment().libraries; "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_damaged_metadata_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(name: str) -> str:
        raise KeyError(name)

    monkeypatch.setattr("lstn.machine.environment.version", damaged)
    assert installed() == {}


def test_every_library_has_a_distribution() -> None:
    assert all(LIBRARIES.values())
