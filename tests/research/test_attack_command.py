"""`lstn attack` as a user types it: a checkpoint, the engine made of it, and every report."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from command import RunLstn
from tiny import Tiny

from lstn.contract import Contract, Loc
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.nn.checkpoint import save_checkpoint
from lstn.nn.classifier import Classifier

HARD = ("--images", "4", "--steps", "2", "--linf", "8", "--l2", "3", "--move", "0.2")


@dataclass(frozen=True)
class Made:
    """A checkpoint of a model whose crop depends on the picture, and the engine made of it."""

    checkpoint: Path
    engine: Path
    data: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: str) -> Made:
    folder = tmp_path_factory.mktemp("attacked")
    torch.manual_seed(0)
    model = Classifier(Contract(Loc.GLANCE, "cnn", (32, 32), ("left", "right")))
    assert model.transformer is not None
    torch.nn.init.normal_(model.transformer.localizer.head[-1].weight, 0, 0.3)
    save_checkpoint(model.eval(), folder / "model.safetensors")
    images = sample_images(data, (32, 32), seed=0)
    write_onnx(model, folder / "model.onnx", model.contract, images)
    return Made(folder / "model.safetensors", folder / "model.onnx", data)


def test_every_report_says_what_the_attacks_left(made: Made, tmp_path: Path, run_lstn: RunLstn) -> None:
    kept, page = tmp_path / "kept.json", tmp_path / "page.html"
    ran = run_lstn("attack", made.checkpoint, "--data", made.data, "--to", made.engine, *HARD, "--json", kept,
                   "--html", page)  # fmt: skip
    assert ran.code == 0
    found = json.loads(kept.read_text())
    assert (found["images"], found["steps"], found["loc"]) == (4, 2, "glance")
    names = [(each["attack"], each["norm"], each["bound"]) for each in found["labels"]]
    attacks = ("noise", "FGSM", "PGD", "PGD, 2 starts")
    assert names == [("none", "", 0.0), *((a, "linf", 8.0) for a in attacks), *((a, "l2", 3.0) for a in attacks)]
    for each in found["labels"]:
        own, engine = each["top1"][made.checkpoint.name], each["top1"][str(made.engine)]
        # Float32 in ONNX Runtime is float32 in PyTorch: what misleads the one misleads the other.
        assert abs(own - engine) <= 0.25
    assert set(found["warp"]["drift_px"]) == {made.checkpoint.name, str(made.engine)}
    assert found["warp"]["moved"] > 0
    assert found["warp"]["drift_px"][made.checkpoint.name] >= 0.199
    assert found["crop"]["misled"] >= found["crop"]["random"]
    for text in (ran.out, page.read_text()):
        for heading in ("Accuracy under changed pixels", "Pixels that move the crop", "Moves of the crop"):
            assert heading in text
        assert "PGD, 2 starts" in text
    assert "attacking 4 images" in ran.err
    assert run_lstn("attack", made.checkpoint, "--data", made.data, *HARD, "--json", kept).code == 0  # its own file


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--linf", "8,x"), "--linf: 'x'; expected numbers above 0, up to 255"),
        (("--linf", "0"), "--linf: '0'"),
        (("--l2", "nan"), "--l2: 'nan'; expected numbers above 0, up to 1000"),
        (("--linf", "256"), "'256'"),
        (("--images", "0"), "--images"),
        (("--data", "folder:gone"), "gone"),
        (("--to", "gone.onnx"), "gone.onnx"),
        (("--json", "."), "--json .: a folder"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_wrong_use_is_one_line(made: Made, words: tuple[str, ...], says: str, run_lstn: RunLstn) -> None:
    data = () if "--data" in words else ("--data", made.data)
    ran = run_lstn("attack", made.checkpoint, *data, *words)
    assert ran.code in (1, 2)
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert len([line for line in ran.err.splitlines() if "loading" not in line]) <= 2
    assert ran.out == ""


def test_only_a_checkpoint_has_gradients(made: Made, run_lstn: RunLstn) -> None:
    for engine in (str(made.engine), "zoo:digits"):
        ran = run_lstn("attack", engine, "--data", made.data)
        assert ran.code == 2
        assert f"{engine}: an engine" in ran.err
        assert f"lstn evaluate {engine} --worst" in ran.err


def test_a_model_without_transformer_and_without_bounds_has_nothing_to_attack(
    made: Made, tmp_path: Path, run_lstn: RunLstn
) -> None:
    model = Classifier(Contract(Loc.NONE, "cnn", (32, 32), ("left", "right")))
    save_checkpoint(model.eval(), tmp_path / "none.safetensors")
    words = ("--data", made.data, "--images", "2", "--steps", "1", "--linf")
    ran = run_lstn("attack", tmp_path / "none.safetensors", *words, "none")
    assert ran.code == 2
    assert "nothing to attack" in ran.err
    kept = tmp_path / "kept.json"
    assert run_lstn("attack", tmp_path / "none.safetensors", *words, "2,8,2", "--json", kept).code == 0
    bounds = [each["bound"] for each in json.loads(kept.read_text())["labels"] if each["attack"] == "FGSM"]
    assert bounds == [2, 8], "each once"


def test_an_engine_of_another_model_is_refused(made: Made, tiny: Tiny, run_lstn: RunLstn) -> None:
    ran = run_lstn("attack", made.checkpoint, "--data", made.data, "--to", tiny.path)
    assert ran.code == 2
    assert f"--to {tiny.path}: takes other images or has other labels" in ran.err
    ran = run_lstn("attack", made.checkpoint, "--data", made.data, "--to", made.engine, "--to", made.engine)
    assert "is named twice" in ran.err
