import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lstn.contract import Contract, Loc
from lstn.errors import ArtifactError
from lstn.nn.checkpoint import Training, load_checkpoint, write_checkpoint
from lstn.nn.classifier import Classifier

CONTRACT = Contract(Loc.LSTN, "cnn", (32, 32), ("a", "b", "c"))
TRAINING = Training("digits", 7, 3, 0.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_checkpoint(tmp_path / "checkpoint.safetensors", Classifier(CONTRACT), CONTRACT, TRAINING)
    return tmp_path / "checkpoint.safetensors"


def test_what_was_written_is_read(path: Path) -> None:
    torch.manual_seed(0)
    expected = Classifier(CONTRACT).eval()
    checkpoint = load_checkpoint(path)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert (checkpoint.contract, checkpoint.training) == (CONTRACT, TRAINING)
    for mine, theirs in zip(checkpoint.model(pixels), expected(pixels), strict=True):
        assert torch.equal(mine, theirs)


def test_a_missing_file_and_a_cut_off_one_are_named(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.safetensors"):
        load_checkpoint(path.with_name("gone.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="cut off"):
        load_checkpoint(path)


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04 a zip with a pickle inside", b"\xff" * 100])
def test_anything_else_is_refused(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(junk)
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        load_checkpoint(path)


def test_tensors_of_another_project_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ArtifactError, match="not a checkpoint of lstn"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loc": "stn"}, "not those of stn"),
        ({"backbone": "cnn9"}, "cnn9"),
        ({"labels": ["a"]}, "not those of lstn"),
        ({"image_hw": [8, 8]}, "too small"),
    ],
)
def test_a_contract_that_the_weights_do_not_fit_is_refused(path: Path, changes: dict[str, object], says: str) -> None:
    checkpoint = load_checkpoint(path)
    contract = json.dumps(json.loads(CONTRACT.to_json()) | changes)
    training = json.dumps({"data": "digits", "seed": 0, "epoch": 1, "val_accuracy": 0.5})
    save_file(checkpoint.model.state_dict(), path, {"lstn": contract, "lstn.training": training})
    with pytest.raises(ArtifactError, match=says):
        load_checkpoint(path)
