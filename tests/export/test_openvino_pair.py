"""The pair of files that OpenVINO reads: whole or absent, what it says of itself, and the command that makes it."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import onnx
import pytest
from command import RunLstn
from small_models import Exported

from lstn.errors import ArtifactError, LstnError
from lstn.export.openvino.to_openvino import is_stale_xml, write_openvino
from lstn.formats.openvino_file import bin_path, read_pair
from lstn.install import install_line
from lstn.nn.checkpoint import Training, write_checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("space", [0, 100_000])
def test_a_full_disk_leaves_the_older_pair(
    exported_lstn: Exported,
    int8: Path,
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
    space: int,
) -> None:
    xml = tmp_path / "model.xml"
    with full_disk(space), pytest.raises(LstnError, match="cannot write"):
        write_openvino(exported_lstn.path, xml, exported_lstn.images)
    assert contents(tmp_path) == {}
    write_openvino(exported_lstn.path, xml, exported_lstn.images)
    before = contents(tmp_path)
    with full_disk(space), pytest.raises(LstnError, match="cannot write"):
        write_openvino(int8, xml, exported_lstn.images)
    assert contents(tmp_path) == before


def test_whatever_the_labels_are_the_contract_comes_back(exported_lstn: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported_lstn.path)
    labels = ["0" * 64, "<&>\"'", "\x00\x1b[31m", "a\r\nb\tc", "\u202e\U0001f600", "\ud800", "]]>", "<!--", "é", " x "]
    contract = json.loads(proto.metadata_props[0].value) | {"labels": labels}
    proto.metadata_props[0].value = json.dumps(contract)
    path, xml = tmp_path / "model.onnx", tmp_path / "model.xml"
    onnx.save(proto, path)
    write_openvino(path, xml, exported_lstn.images)
    assert read_pair(xml)[0].contract.labels == tuple(labels)


def test_a_pair_says_which_onnx_file_it_is_of(exported_lstn: Exported, int8: Path, tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    assert not is_stale_xml(xml, int8)  # there is none
    write_openvino(int8, xml, exported_lstn.images)
    assert not is_stale_xml(xml, int8)
    assert is_stale_xml(xml, exported_lstn.path)
    xml.write_text("<net/>")
    assert is_stale_xml(xml, int8)


def test_the_description_appears_before_the_weights(
    exported_lstn: Exported, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whoever reads between the two finds a hash that the older weights don't have."""
    xml = tmp_path / "model.xml"
    write_openvino(exported_lstn.path, xml, exported_lstn.images)
    older, renamed = bin_path(xml).read_bytes(), []
    replace = Path.replace

    def watched(source: Path, target: Path) -> Path:
        result = replace(source, target)
        if Path(target) in (xml, bin_path(xml)):
            renamed.append(Path(target).name)
            if renamed == ["model.xml"]:
                assert bin_path(xml).read_bytes() == older
                with pytest.raises(ArtifactError, match="SHA-256 differs"):
                    read_pair(xml)
        return result

    monkeypatch.setattr(Path, "replace", watched)
    write_openvino(int8, xml, exported_lstn.images)
    assert renamed == ["model.xml", "model.bin"]
    assert read_pair(xml)[0].precision == "int8"


def test_an_onnx_file_alone_needs_neither_torch_nor_onnx(int8: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'onnx', 'safetensors'))); "
        f"sys.argv = ['lstn', 'export', {str(int8)!r}, '--engine', 'openvino', '--out', {str(tmp_path)!r}]; "
        "from lstn.cli.app import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stderr
    xml_line, bin_line = ran.stdout.splitlines()
    assert "model.int8.xml  " in xml_line
    assert "int8, 64 embedded digits, because its own images are not known, against model.int8.onnx" in xml_line
    assert bin_line.endswith("the weights of model.int8.xml; keep the two together")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.int8.bin", "model.int8.xml"]


def test_a_run_becomes_all_three_files_and_an_older_pair_is_told(
    run_lstn: RunLstn, exported_lstn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(exported_lstn.path)
    monkeypatch.setattr("lstn.export.onnx.to_onnx.onnx_from_torch", lambda *_, **__: proto)
    monkeypatch.chdir(tmp_path)
    checkpoint = Path("runs/one/checkpoint.safetensors")
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, exported_lstn.model, exported_lstn.contract, Training("digits", 0, 1, 0.5))
    ran = run_lstn("export", "--engine", "openvino")
    assert (ran.code, ran.err.splitlines()[0]) == (0, "newest run: runs/one")
    assert [line.partition("  ")[0] for line in ran.out.splitlines()] == ["model.onnx", "model.xml", "model.bin"]
    proto.producer_name = "another"
    ran = run_lstn("export", "--engine", "onnx")
    assert (ran.code, "warning: model.xml was built from another model than model.onnx" in ran.err) == (0, True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    ran = run_lstn("export", "--engine", "openvino")
    assert ran.code == 1
    assert "model.onnx is written and checked; openvino is not installed" in ran.err
    assert ran.err.endswith(f"--engine model.onnx; run: {install_line('openvino')}\n")


def test_the_command_says_what_stands_in_the_way(
    run_lstn: RunLstn, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run_lstn("export", int8, "--engine", "openvino", "--batch-profile", "1,8,32", "--out", tmp_path)
    assert (ran.code, "--batch-profile" in ran.err) == (2, True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    ran = run_lstn("export", int8, "--engine", "openvino", "--out", tmp_path)
    assert (ran.code, f"{install_line('openvino')}" in ran.err) == (1, True)
    assert contents(tmp_path) == {}
