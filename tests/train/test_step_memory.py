"""What a step needs: against what it took, and what is said where that is too much."""

from itertools import accumulate
from pathlib import Path

import pytest
import torch
from command import RunLstn
from torch.profiler import ProfilerActivity, profile

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, Contract, Loc
from lstn.errors import UsageError
from lstn.nn.classifier import Classifier
from lstn.train.computing import step_memory
from lstn.train.computing.step_memory import check_memory, step_bytes

CPU = torch.device("cpu")
GIB = 1 << 30


def contract(model: str, side: int) -> Contract:
    return Contract(Loc.LSTN, model, (side, side), ("a", "b"), IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(("model", "side", "batch"), [("cnn", 128, 8), ("resnet-18", 96, 8)])
def test_the_estimate_holds_what_pytorch_allocates(model: str, side: int, batch: int) -> None:
    """By the profiler, over a second step; what libraries take besides, such as for convolutions, is not in it."""
    built = Classifier(contract(model, side)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(built.parameters())

    def step() -> None:
        logits = built(torch.zeros(batch, side, side, 3, dtype=torch.uint8))[0]
        torch.nn.functional.cross_entropy(logits, torch.zeros(batch, dtype=torch.long)).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    of_step = max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))
    weights = sum(weight.nbytes for weight in built.parameters())  # and Adam holds twice as much
    need = step_bytes(contract(model, side))
    assert (
        0.7 < (3 * weights + of_step) / (need.weights + need.per_image * batch) <= 1
    )  # 3: themselves, and Adam's state


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
