"""The line that installs what is missing works from where lstn itself came."""

import importlib.metadata
import json
import shlex
from pathlib import Path

import pytest

from lstn import install
from lstn.install import install_line

ROOT = Path(__file__).resolve().parents[2]


class Distribution:
    def __init__(self, note: str | None) -> None:
        self.note = note

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.note


def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, note: str | None) -> None:
    """Let lstn be a package of site-packages, with pip's note of where it came from."""
    monkeypatch.setattr(install, "__file__", str(tmp_path / "site-packages" / "lstn" / "install.py"))
    monkeypatch.setattr(install, "distribution", lambda name: Distribution(note))


def test_in_a_checkout_it_is_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert install_line("train") == "pip install '.[train]'"
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_line("train,export")) == ["pip", "install", f"{ROOT}[train,export]"]


@pytest.mark.parametrize("kept", [True, False])
def test_from_a_wheel_it_is_that_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: bool) -> None:
    wheel = tmp_path / "my wheels" / "lstn-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    if kept:
        wheel.touch()
    installed(monkeypatch, tmp_path, json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    assert shlex.split(install_line("serve"))[2] == f"{wheel if kept else wheel.name}[serve]"


def test_from_a_repository_it_is_that_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vcs = {"vcs": "git", "commit_id": "abc123"}
    installed(monkeypatch, tmp_path, json.dumps({"url": "https://example.com/lstn.git", "vcs_info": vcs}))
    assert install_line("ray") == "pip install 'lstn[ray] @ git+https://example.com/lstn.git@abc123'"


@pytest.mark.parametrize("note", [None, "", "{", "[]", "{}", '{"url": 3}'])
def test_without_a_note_it_is_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, note: str | None) -> None:
    installed(monkeypatch, tmp_path, note)
    assert install_line("trt") == "pip install 'lstn[trt]'"


def test_not_installed_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch, tmp_path, None)

    def gone(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(install, "distribution", gone)
    assert install_line("trt") == "pip install 'lstn[trt]'"
