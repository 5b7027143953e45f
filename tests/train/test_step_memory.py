"""What a step needs: against what it took, and what is said where that is too much."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import RunLstn

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, Contract, Loc
from lstn.errors import UsageError
from lstn.train import step_memory
from lstn.train.step_memory import check_memory, step_bytes

CPU = torch.device("cpu")
GIB = 1 << 30

TAKEN = """
import sys, torch
from pathlib import Path
from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, Contract, Loc
from lstn.nn.classifier import Classifier
model, side, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def memory(kind):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024
def train(model, images, optimizer):
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images)[0], torch.zeros(len(images), dtype=torch.long)).backward()
        optimizer.step()
warm = torch.nn.Conv2d(3, 4, 3)  # what a first step loads once
train(lambda images: [warm(images).mean((2, 3))], torch.rand(2, 3, 8, 8), torch.optim.AdamW(warm.parameters()))
Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of the imports, counts no more
before = memory("VmRSS")
built = Classifier(Contract(Loc.LSTN, model, (side, side), ("a", "b"), IMAGENET_MEAN, IMAGENET_STD))
built = built.to(memory_format=torch.channels_last).train()
train(built, torch.zeros(batch, side, side, 3, dtype=torch.uint8), torch.optim.AdamW(built.parameters()))
print(memory("VmHWM") - before)
"""


def contract(model: str, side: int) -> Contract:
    return Contract(Loc.LSTN, model, (side, side), ("a", "b"), IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(("model", "side", "batch"), [("cnn", 224, 32), ("resnet-18", 128, 16)])
def test_the_estimate_is_near_what_a_step_takes(model: str, side: int, batch: int) -> None:
    command = [sys.executable, "-c", TAKEN, model, str(side), str(batch)]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.75 < taken / step_bytes(contract(model, side)).of(batch) < 1.25


def test_what_does_not_fit_is_refused_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_memory, "available_bytes", lambda: 24 * GIB)
    with pytest.raises(UsageError, match=r"vgg-16 at 1024 x 1024 pixels needs about .* GB for a batch of 16") as caught:
        check_memory(contract("vgg-16", 1024), 16, CPU)
    words = caught.value.hint.split()
    batch, side = (int(words[words.index(option) + 1]) for option in ("--batch-size", "--image-size"))
    check_memory(contract("vgg-16", 1024), batch, CPU)
    check_memory(contract("vgg-16", side), 16, CPU)
    with pytest.raises(UsageError):
        check_memory(contract("vgg-16", 1024), batch + 1, CPU)


def test_weights_alone_may_be_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_memory, "available_bytes", lambda: GIB)
    with pytest.raises(UsageError) as caught:
        check_memory(contract("vgg-16", 64), 2, CPU)
    assert caught.value.hint == "use a smaller --model"


def test_a_gpu_and_a_system_that_says_nothing_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_memory, "available_bytes", lambda: 1)
    check_memory(contract("cnn", 64), 2, torch.device("meta"))
    monkeypatch.setattr(step_memory, "available_bytes", lambda: None)
    check_memory(contract("cnn", 64), 2, CPU)


def test_lstn_train_says_so_before_anything_is_written(
    run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step_memory, "available_bytes", lambda: 10 << 20)
    ran = run_lstn("train", "--model", "cnn", "--image-size", "64")
    assert ran.code == 2
    assert ran.err.splitlines()[-2].startswith("error: lstn + cnn at 64 x 64 pixels needs about ")
    assert not list(tmp_path.rglob("*.*"))
