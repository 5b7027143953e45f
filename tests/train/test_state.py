"""The state of a run: the truth after a kill, laid out as the weights are, and refused in a line when it is damaged."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from short_runs import CPU, assert_same_weights, options, run, weights_of, without_time

from lstn.contract import Loc
from lstn.data.dataset import open_data
from lstn.errors import ArtifactError, LstnError
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, read_tensors, write_checkpoint
from lstn.train.batches.loading import Images
from lstn.train.data_and_contract import described_contract
from lstn.train.objectives.classifier_objective import loss_and_accuracy
from lstn.train.preparing import start_training
from lstn.train.runs import keeping
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, read_options, restore

KEY = "lstn.state"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("write", ["write_checkpoint", "write_metrics"])
def test_a_run_killed_between_two_files_tests_the_epoch_that_it_names(
    write: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the next epochs would go: it ends here, and the state alone says which epoch was the best."""
    asked = options(data, epochs=3, lr=0.004)
    whole = run(asked, tmp_path / "whole")
    original = getattr(keeping, write)

    def killed(*arguments: object) -> None:
        state = json.loads(read_tensors(tmp_path / "a" / LAST)[1][KEY])
        if len(state["history"]) == whole.best["epoch"]:
            raise Killed
        original(*arguments)

    monkeypatch.setattr(keeping, write, killed)
    with pytest.raises(Killed):
        run(asked, tmp_path / "a")
    monkeypatch.undo()
    ended = run(replace(asked, epochs=whole.best["epoch"]), tmp_path / "a", resume=True)
    kept = load_checkpoint(tmp_path / "a" / CHECKPOINT)
    assert kept.training.epoch == ended.best["epoch"] == whole.best["epoch"]
    val = Images(open_data(data, image_hw=(32, 32)).val)
    assert loss_and_accuracy(kept.model, val, 8, 0, CPU)[0] == pytest.approx(ended.best["val_loss"], rel=1e-5)
    resumed = run(asked, tmp_path / "a", resume=True)
    assert without_time(resumed.history) == without_time(whole.history)
    for name in (LAST, CHECKPOINT):
        assert_same_weights(weights_of(tmp_path / "a", name), weights_of(tmp_path / "whole", name))


@pytest.fixture(scope="module")
def begun(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of a run that learns nothing, so that the first stays the best; it could go on."""
    folder = tmp_path_factory.mktemp("state") / "begun"
    run(still(data), folder)
    return folder


def still(data: str, **changes: object) -> Options:
    return options(data, lr=0.0, loc=Loc.STN, **{"epochs": 2, "precision": "fp16"} | changes)


@pytest.fixture
def copied(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "a"))


def gone(checkpoint: Path) -> None:
    checkpoint.unlink()


def cut_off(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-8])


def of_a_later_epoch(checkpoint: Path) -> None:
    """As a kill left it while the checkpoint was still written before the state."""
    kept = load_checkpoint(checkpoint)
    write_checkpoint(checkpoint, kept.model, kept.contract, replace(kept.training, epoch=3))


@pytest.mark.parametrize("lose", [gone, cut_off, of_a_later_epoch])
def test_a_lost_checkpoint_is_known_before_training(lose: Callable[[Path], None], data: str, copied: Path) -> None:
    lose(copied / CHECKPOINT)
    before = (copied / LAST).read_bytes()
    with pytest.raises(ArtifactError, match=r"checkpoint\.safetensors") as caught:
        run(still(data, epochs=4), copied, resume=True)
    assert "put back the checkpoint of epoch 1" in caught.value.hint
    assert (copied / LAST).read_bytes() == before


def test_a_lost_checkpoint_of_the_last_epoch_is_made_again(data: str, tmp_path: Path) -> None:
    asked = options(data, epochs=1)
    run(asked, tmp_path / "a")
    weights, said = read_tensors(tmp_path / "a" / CHECKPOINT)
    (tmp_path / "a" / CHECKPOINT).unlink()
    assert run(asked, tmp_path / "a", resume=True).best["epoch"] == 1
    again, says = read_tensors(tmp_path / "a" / CHECKPOINT)
    assert_same_weights(again, weights)
    assert says == said


def test_after_a_resume_moments_lie_as_their_weights_do(data: str, folder: Path) -> None:
    """Otherwise a step of Adam takes three times as long."""
    asked = options(data, epochs=1)
    run(asked, folder)
    opened = open_data(data, image_hw=(32, 32))
    fresh = start_training(asked, described_contract(asked, opened), CPU, (opened.train, opened.val, opened.test))
    restore(folder / LAST, fresh, shown=8)
    weights = [weight for group in fresh.optimizer.param_groups for weight in group["params"]]
    assert any(not weight.is_contiguous() for weight in weights)
    stored = weights_of(folder)
    for index, weight in enumerate(weights):
        assert weight.ndim != 4 or weight.is_contiguous(memory_format=torch.channels_last)
        for name in ("exp_avg", "exp_avg_sq"):
            slot = fresh.optimizer.state[weight][name]
            assert slot.stride() == weight.stride()
            assert torch.equal(slot, stored[f"optimizer.{index}.{name}"])


Edit = Callable[[dict[str, torch.Tensor], dict[str, Any]], object]


def spoiled(state: Path, edit: Edit) -> None:
    tensors, metadata = read_tensors(state)
    rest = json.loads(metadata[KEY])
    edit(tensors, rest)
    save_file(tensors, state, {KEY: json.dumps(rest)})


def asked_for(rest: dict[str, Any], **changes: object) -> None:
    rest["options"] = json.dumps(json.loads(rest["options"]) | changes)


EDITS: dict[str, Edit] = {
    "an empty epoch": lambda tensors, rest: rest.update(history=[{}]),
    "a word for the history": lambda tensors, rest: rest.update(history="long"),
    "a word for an epoch": lambda tensors, rest: rest.update(history=["epoch"]),
    "an epoch twice": lambda tensors, rest: rest["history"].append(rest["history"][-1]),
    "an accuracy of 2": lambda tensors, rest: rest["history"][0].update(val_accuracy=2),
    "a loss without end": lambda tensors, rest: rest["history"][0].update(val_loss=float("inf")),
    "an integer without end": lambda tensors, rest: rest["history"][0].update(train_loss=10**400),
    "another transformer": lambda tensors, rest: rest["history"][0].update(transformer={"state": "live"}),
    "a number for the scaler": lambda tensors, rest: rest.update(scaler=7),
    "a scaler without scale": lambda tensors, rest: rest["scaler"].pop("scale"),
    "a word for a scale": lambda tensors, rest: rest["scaler"].update(scale="large"),
    "a growth without end": lambda tensors, rest: rest["scaler"].update(_growth_tracker=2**40),
    "a number for the contract": lambda tensors, rest: rest.update(contract=7),
    "half a thread": lambda tensors, rest: rest.update(threads=0.5),
    "a number for the options": lambda tensors, rest: rest.update(options=7),
    "a list for the options": lambda tensors, rest: rest.update(options="[]"),
    "data: 5": lambda tensors, rest: asked_for(rest, data=5),
    "a word for the epochs": lambda tensors, rest: asked_for(rest, epochs="2"),
    "true for the seed": lambda tensors, rest: asked_for(rest, seed=True),
    "a seed too large": lambda tensors, rest: asked_for(rest, seed=2**63),
    "a huge image": lambda tensors, rest: asked_for(rest, image_size=10**9),
    "another precision": lambda tensors, rest: asked_for(rest, precision="fp8"),
    "a rate that is not a number": lambda tensors, rest: asked_for(rest, lr=float("nan")),
    "one for cosine": lambda tensors, rest: asked_for(rest, cosine=1),
    "a short moment": lambda tensors, rest: tensors.update({"optimizer.0.exp_avg": torch.zeros(1)}),
    "a long step": lambda tensors, rest: tensors.update({"optimizer.0.step": torch.zeros(3)}),
    "a step before the first": lambda tensors, rest: tensors.update({"optimizer.0.step": torch.tensor(-1.0)}),
    "a moment less": lambda tensors, rest: tensors.pop("optimizer.1.exp_avg_sq"),
    "a weight that isn't there": lambda tensors, rest: tensors.update({"optimizer.99.step": torch.zeros(())}),
    "a name in two parts": lambda tensors, rest: tensors.update({"optimizer.step": torch.zeros(())}),
    "a single warp": lambda tensors, rest: tensors.update(warps=torch.zeros(())),
    "a warp too many": lambda tensors, rest: tensors.update(warps=torch.zeros(2, 9, 2, 3)),
    "an epoch of warps too many": lambda tensors, rest: tensors.update(warps=torch.zeros(3, 8, 2, 3)),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_damaged_state_is_refused(name: str, data: str, copied: Path) -> None:
    spoiled(copied / LAST, EDITS[name])
    before = (copied / LAST).read_bytes()
    with pytest.raises(ArtifactError, match=r"last\.safetensors"):
        run(replace(read_options(copied / LAST), epochs=3), copied, resume=True)
    assert (copied / LAST).read_bytes() == before


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**400, 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(drawn=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_stands_in_a_state_it_goes_on_or_is_refused(
    drawn: st.DataObject, data: str, begun: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One place, anywhere in its JSON, becomes anything, or goes."""
    tensors, metadata = read_tensors(begun / LAST)
    rest = json.loads(metadata[KEY])
    rest["options"] = json.loads(rest["options"])
    place: Any = rest
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = drawn.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or drawn.draw(st.integers(0, 5)) == 0:
            break
        place = place[key]
    if drawn.draw(st.integers(0, 5)) == 0:
        del place[key]
    else:
        place[key] = drawn.draw(ANYTHING)
    if "options" in rest:
        rest["options"] = json.dumps(rest["options"])
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copy(begun / CHECKPOINT, folder)
    save_file(tensors, folder / LAST, {KEY: json.dumps(rest)})
    with suppress(LstnError):
        asked = read_options(folder / LAST)
        recipe = replace(asked.recipe, batch_size=min(asked.recipe.batch_size, 48))
        asked = replace(asked, epochs=min(asked.epochs, 3), recipe=recipe)
        ended = run(asked, folder, resume=True)
        assert load_checkpoint(folder / CHECKPOINT).training.epoch == ended.best["epoch"]
