"""The batch-size finder: its choice where memory runs out, and the real steps that it takes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from short_runs import CPU, options
from tagged_blocks import SIDE, tagged_blocks

from lstn.contract import Loc, Task
from lstn.errors import UsageError
from lstn.train.batch_finding import LEAST, find_batch_size, largest_that_fits, repeated, steps_of
from lstn.train.batches.loading import ImageBatch
from lstn.train.computing.distributed import ALONE
from lstn.train.computing.workplace import Workplace
from lstn.train.preparing import prepared


@given(st.integers(LEAST, 5000), st.integers(0, 5000))
def test_the_largest_power_of_two_that_memory_holds_is_found(holds: int, most: int) -> None:
    tried: list[int] = []

    def take(images: int) -> None:
        if images > holds:
            raise torch.OutOfMemoryError("CUDA out of memory")

    found = largest_that_fits(take, most, tried.append)
    assert found == max(2**power for power in range(1, 14) if 2**power <= max(LEAST, min(holds, most)))
    assert tried == [2**power for power in range(1, len(tried) + 1)]
    assert tried[-1] <= 2 * found  # nothing much larger is asked for


def test_where_nothing_fits_it_says_what_is_smaller() -> None:
    def take(images: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(UsageError, match="a step of 2 images doesn't fit into the memory of the GPU") as raised:
        largest_that_fits(take, 64)
    assert "--image-size" in raised.value.hint


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def take(images: int) -> None:
        raise RuntimeError("a kernel failed")

    with pytest.raises(RuntimeError, match="a kernel failed"):
        largest_that_fits(take, 64)


@given(st.integers(1, 7), st.integers(1, 30))
def test_a_batch_is_repeated_with_all_that_belongs_to_it(there: int, images: int) -> None:
    every = torch.arange(there)
    batch = ImageBatch(
        pixels=every[:, None, None, None].expand(there, 2, 2, 3),
        labels=every,
        moves=every[:, None, None].expand(there, 2, 3).float(),
        poses=None,
        objects=(every[:, None], every[:, None, None, None].expand(there, 1, 2, 3).float()),
        targets=every[:, None].float(),
    )
    found = repeated(batch, images)
    rows = [number % there for number in range(images)]
    assert found.poses is None
    assert found.moves is not None
    assert found.objects is not None
    assert found.targets is not None
    for each in (found.pixels, found.labels, found.moves, *found.objects, found.targets):
        assert each.reshape(images, -1)[:, 0].tolist() == rows


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.TAG])
def test_the_steps_are_the_runs_own_and_change_no_weight(task: Task, data: str, tmp_path: Path) -> None:
    """More images than the set has, through the run's objective; the state of the optimizer is there, as in a run."""
    spec = data if task is Task.CLASSIFY else f"folder:{tagged_blocks(tmp_path / 'set', train=12, test=4)}"
    asked = options(spec, task=task, loc=Loc.GLANCE, image_size=SIDE)
    with prepared(
        asked, Workplace(tmp_path / "run", CPU, 0, ALONE), resume=False, compiled=False, given=None, own=None
    ) as going:
        before = {name: weight.clone() for name, weight in going.run.model.named_parameters()}
        seen: list[int] = []
        going.network.register_forward_hook(lambda module, given_, answer: seen.append(len(given_[0])))
        steps_of(going)(24)
        assert seen == [24, 24]
        assert {
            name for name, weight in going.run.model.named_parameters() if not torch.equal(weight, before[name])
        } == set()
        assert going.run.optimizer.state_dict()["state"]


def test_on_a_cpu_it_is_one_line(data: str, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="this run computes on the CPU"):
        find_batch_size(options(data), device=CPU, workers=0)
    monkeypatch.chdir(tmp_path)
    ran = run_lstn(
        "train", "--data", data, "--model", "cnn", "--image-size", 32, "--batch-size", "auto", "--device", "cpu"
    )
    assert ran.code == 2
    assert "--batch-size auto finds what the memory of an NVIDIA GPU holds" in ran.err
    assert list(tmp_path.iterdir()) == []
    for word in ("0", "x", "65537", "-2", "1.5"):
        assert run_lstn("train", "--data", data, "--batch-size", word).code == 2


def test_what_was_found_is_the_runs_and_stays_when_it_goes_on(
    data: str, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is the only thing that isn't there: in its place stands what says that 8 images fit."""
    from lstn.train import batch_finding
    from lstn.train.runs.run_state import LAST, read_options

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch_finding, "find_batch_size", lambda asked, **_: largest_that_fits(lambda images: None, 15))
    words = ("train", "--data", data, "--model", "cnn", "--loc", "none", "--image-size", 32)
    ran = run_lstn(*words, "--batch-size", "auto", "--epochs", 1, "--name", "a")
    assert ran.code == 0, ran.err
    assert "--batch-size 8: the largest power of two that fits" in ran.err
    before = read_options(tmp_path / "runs/a" / LAST)
    assert before.recipe.batch_size == 8
    again = run_lstn("train", "--resume", "runs/a", "--epochs", 2)
    assert again.code == 0, again.err
    assert read_options(tmp_path / "runs/a" / LAST) == replace(before, epochs=2)
    other = run_lstn("train", "--resume", "runs/a", "--epochs", 3, "--batch-size", "auto")
    assert other.code == 2
    assert "--batch-size can't change in a run that is resumed" in other.err
