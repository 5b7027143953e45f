"""Backbones of every source through the commands: trained, resumed, exported, asked, explained and lowered."""

import json
import os
from pathlib import Path

import onnx
import pytest
import torch
from command import RunLstn

import lstn
from lstn.health.run_files import CHECKPOINT
from lstn.nn.checkpoint import load_checkpoint

SMALL = ("--image-size", "64", "--epochs", "1", "--device", "cpu", "--name", "run")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> str:
    name = f"nets_{os.getpid()}_{abs(hash(tmp_path))}"
    Path(f"{name}.py").write_text(
        "from torch import nn\n"
        "def small(classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes))\n"
    )
    return name


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mobilenet_v3_small", ["--loc", "shared"]),
        ("regnet_x_400mf", ["--loc", "lstn", "--at", "stem"]),
        ("timm:vit_tiny_patch16_224", ["--loc", "glance", "--view", "32", "--crop", "32"]),
        ("timm:test_efficientnet", ["--loc", "glance", "--view", "32", "--crop", "32", "--warps", "2"]),
    ],
)
def test_a_backbone_by_name_goes_all_the_way(model: str, words: list[str], few: str, run_lstn: RunLstn) -> None:
    trained = run_lstn("train", "--model", model, "--data", few, *words, *SMALL)
    assert trained.code == 0, trained.err
    exported = run_lstn("export", "runs/run")
    assert exported.code == 0, exported.err
    assert "top-1 agreement 100 %" in exported.out
    with lstn.open_engine("model.onnx") as engine:
        assert engine.contract.backbone == model
    photo = next(Path(few.removeprefix("folder:")).glob("test/*/*"))
    asked = run_lstn("infer", photo, "--engine", "model.onnx", "--format", "json")
    assert asked.code == 0, asked.err
    assert json.loads(asked.out)[0]["label"] in load_checkpoint(f"runs/run/{CHECKPOINT}").contract.labels


def test_repvgg_is_exported_without_its_branches(few: str, run_lstn: RunLstn) -> None:
    assert run_lstn("train", "--model", "timm:repvgg_a0", "--loc", "none", "--data", few, *SMALL).code == 0
    assert run_lstn("export", "runs/run").code == 0
    nodes = onnx.load("model.onnx", load_external_data=False).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 22, "one for each block of RepVGG-A0, which trains with up to three branches"
    assert all(name.startswith("backbone.") for name in convolutions)
    layers = {name.rpartition("/")[0] for name in convolutions}
    assert layers < set(load_checkpoint(f"runs/run/{CHECKPOINT}").layers), "--keep finds them by these names"


def test_a_network_of_ones_own_is_typed_again_where_it_is_needed(own: str, few: str, run_lstn: RunLstn) -> None:
    typed = ("--model", f"{own}:small")
    trained = run_lstn("train", *typed, "--loc", "shared", "--data", few, *SMALL)
    assert trained.code == 0, trained.err
    said = run_lstn("inspect", "runs/run", "--format", "json").out
    assert json.loads(said)["contract"]["backbone"] == f"module:{own}:small"

    resumed = run_lstn("train", "--resume", "runs/run", "--epochs", "2")
    assert resumed.code == 2
    assert f"its backbone is '{own}:small', a module of your own" in resumed.err
    assert "train --resume take --model MODULE:FACTORY" in " ".join(resumed.err.split())
    assert run_lstn("train", "--resume", "runs/run", "--epochs", "2", *typed).code == 0
    assert len(Path("runs/run/metrics.jsonl").read_text().splitlines()) == 3

    refused = run_lstn("export", "runs/run")
    assert (refused.code, Path("model.onnx").exists()) == (1, False)
    exported = run_lstn("export", "runs/run", *typed)
    assert exported.code == 0, exported.err
    photo = next(Path(few.removeprefix("folder:")).glob("test/*/*"))
    assert run_lstn("infer", photo, "--engine", "model.onnx").code == 0
    assert run_lstn("export", "model.onnx", "--engine", "openvino", *typed).code == 2
    for words in (
        ("explain", "runs/run", photo, "--out", "out"),
        ("attack", "runs/run", "--images", "2", "--steps", "1"),
    ):
        assert run_lstn(*words).code == 1
        ran = run_lstn(*words, *typed)
        assert ran.code == 0, ran.err


def test_the_same_seed_makes_the_same_run_of_ones_own_network(own: str, few: str, run_lstn: RunLstn) -> None:
    weights = []
    for name in ("a", "b"):
        words = ("--model", f"{own}:small", "--loc", "stn", "--data", few, *SMALL[:-1], name)
        assert run_lstn("train", *words).code == 0
        weights.append(load_checkpoint(f"runs/{name}/{CHECKPOINT}", f"{own}:small").model.state_dict())
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("mobilenet_v3_smal", "did you mean mobilenet_v3_small?"),
        ("timm:mobilenetv4_conv_smal", "did you mean timm:mobilenetv4_conv_small?"),
        ("no_such_nets:small", "there is no module no_such_nets"),
        ("os:sep", "os has no callable sep"),
        ("os:getcwd", "--model os:getcwd failed: TypeError"),
    ],
)
def test_a_wrong_model_ends_before_any_work(model: str, says: str, few: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--model", model, "--data", few, *SMALL)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert not Path("runs").exists()


def test_a_run_of_timms_has_a_name_that_folders_may_have(few: str, run_lstn: RunLstn) -> None:
    words = ("--model", "timm:test_efficientnet", "--loc", "none", "--data", few, *SMALL[:-2])
    assert run_lstn("train", *words).code == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("none-timm-test_efficientnet-")
