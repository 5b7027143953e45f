import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lstn.contract import IMAGENET_MEAN, Loc, ThetaForm
from lstn.data import open_data
from lstn.errors import ArtifactError, DataError, TrainingError, UsageError
from lstn.train.checkpoint import CHECKPOINT, load_checkpoint, read_tensors
from lstn.train.loading import Images, batches
from lstn.train.loop import METRICS, Result, Watcher, evaluate, fit, forward
from lstn.train.model import Classifier
from lstn.train.options import Options
from lstn.train.state import LAST, Epoch, read_options

CPU = torch.device("cpu")
SILENT = Watcher(lambda images, finished: None, lambda *figures: None, lambda row, best: None)


def options(data: str, **changes: object) -> Options:
    chosen: dict[str, object] = {
        "loc": Loc.LSTN,
        "model": "cnn",
        "data": data,
        "weights": "",
        "image_size": 32,
        "epochs": 3,
        "patience": 10,
        "batch_size": 8,
        "lr": 0.002,
        "loc_lr_scale": 0.1,
        "precision": "fp32",
        "seed": 0,
    }
    return Options(**chosen | changes)  # type: ignore[arg-type]


def run(given: Options, folder: Path, *, resume: bool = False) -> Result:
    return fit(given, folder, device=CPU, workers=0, watcher=SILENT, resume=resume)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run may go; it isn't there yet."""
    return tmp_path / "run"


def weights_of(folder: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    return read_tensors(folder / name)[0]


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def without_time(history: tuple[Epoch, ...]) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.mark.parametrize("loc", list(Loc))
def test_it_learns_what_a_child_could(loc: Loc, data: str, folder: Path) -> None:
    result = run(options(data, loc=loc, epochs=8, lr=0.003), folder)
    assert result.best["val_accuracy"] >= 0.9
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] / 2


def test_what_a_run_leaves_agrees_with_itself(data: str, folder: Path) -> None:
    result = run(options(data), folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([CHECKPOINT, LAST, METRICS])
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    assert rows[:-1] == list(result.history)
    assert rows[-1]["test_accuracy"] == result.test_accuracy
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint.training.epoch == rows[-1]["best_epoch"] == result.best["epoch"]
    assert checkpoint.contract.labels == ("left", "right")
    assert not checkpoint.model.training


def test_accuracy_is_that_of_a_plain_loop_over_the_images(data: str, folder: Path) -> None:
    checkpoint = load_checkpoint(run(options(data, epochs=2), folder).checkpoint)
    split = open_data(data, image_hw=(32, 32)).val
    right, losses = 0, []
    with torch.no_grad():
        for index in range(len(split)):
            pixels, label = split[index]
            logits, _ = checkpoint.model(torch.from_numpy(pixels.copy())[None])
            right += int(logits.argmax()) == label
            losses.append(-float(logits.double().log_softmax(1)[0, label]))
    loss, accuracy = evaluate(checkpoint.model, Images(split), 5, 0, CPU)
    assert accuracy == right / len(split)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_run_stopped_after_an_epoch_ends_with_the_same_weights(data: str, tmp_path: Path) -> None:
    whole = run(options(data, epochs=4), tmp_path / "whole")
    run(options(data, epochs=2), tmp_path / "parts")
    parts = run(options(data, epochs=4), tmp_path / "parts", resume=True)
    assert without_time(parts.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
    assert_same_weights(weights_of(tmp_path / "parts", CHECKPOINT), weights_of(tmp_path / "whole", CHECKPOINT))


def test_the_seed_decides_and_nothing_else(data: str, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(options(data, epochs=1, seed=seed), tmp_path / name)
    a, b, c = (weights_of(tmp_path / name) for name in "abc")
    assert_same_weights(a, b)
    assert not torch.equal(a["model.backbone.classifier.2.weight"], c["model.backbone.classifier.2.weight"])


KILLED = """
import sys
from pathlib import Path
from lstn.train.loop import Watcher, fit
from lstn.train.options import Options
import torch
step = lambda epoch, seen, loss, accuracy: print(epoch, seen, flush=True)
watcher = Watcher(lambda images, finished: None, step, lambda row, best: None)
options, folder = Options.from_json(sys.argv[1], source="test"), Path(sys.argv[2])
resume = (folder / "last.safetensors").is_file()
fit(options, folder, device=torch.device("cpu"), workers=0, watcher=watcher, resume=resume)
"""


EVERYTHING: dict[str, object] = {
    "weight_decay": 0.01, "warmup_epochs": 1.5, "cosine": True, "ema_epochs": 1.0, "clip_norm": 1.0, "in_frame": 0.1,
    "theta": ThetaForm.SIMILARITY,
}  # fmt: skip


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(data: str, tmp_path: Path) -> None:
    """SIGKILL five times, each somewhere else in an epoch, then once more to the end; with all that has a state."""
    given = options(data, epochs=5, **EVERYTHING)
    run(given, tmp_path / "whole")
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, given.to_json(), str(folder)]
    for steps in (0, 2, 8, 13, 6):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
        time.sleep(0.005 * steps)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, capture_output=True)
    assert_same_weights(weights_of(folder), weights_of(tmp_path / "whole"))
    assert_same_weights(weights_of(folder, CHECKPOINT), weights_of(tmp_path / "whole", CHECKPOINT))
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {CHECKPOINT, LAST, METRICS}


def test_patience_ends_a_run_that_gets_no_better(data: str, folder: Path) -> None:
    result = run(options(data, lr=0.0, epochs=50, patience=3), folder)
    assert len(result.history) == 4
    assert result.best["epoch"] == 1


def test_the_localizer_learns_at_its_own_rate(data: str, folder: Path) -> None:
    run(options(data, loc_lr_scale=0.0, epochs=1), folder)
    trained = load_checkpoint(folder / CHECKPOINT).model
    contract = load_checkpoint(folder / CHECKPOINT).contract
    torch.manual_seed(0)
    fresh = Classifier(contract)
    assert trained.transformer is not None
    assert fresh.transformer is not None
    for (name, after), before in zip(
        trained.transformer.named_parameters(), fresh.transformer.parameters(), strict=True
    ):
        assert torch.equal(after, before), name
    assert not torch.equal(next(trained.backbone.parameters()), next(fresh.backbone.parameters()))


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_epoch(data: str, folder: Path) -> None:
    good = options(data, epochs=1)
    run(good, folder)
    before = weights_of(folder, CHECKPOINT)
    spoil_the_learning_rate(folder / LAST)
    with pytest.raises(TrainingError, match="epoch 2; the checkpoint of epoch 1 is kept"):
        run(replace(good, epochs=3), folder, resume=True)
    assert_same_weights(weights_of(folder, CHECKPOINT), before)
    assert all(tensor.isfinite().all() for tensor in before.values())
    assert load_checkpoint(folder / CHECKPOINT).training.epoch == 1


def spoil_the_learning_rate(state: Path) -> None:
    """Give Adam moments that carry the next step out of every range."""
    tensors, metadata = read_tensors(state)
    wild = {name: torch.full_like(t, 1e38) if name.endswith(".exp_avg") else t for name, t in tensors.items()}
    save_file(wild, state, metadata)


def test_what_to_change_is_what_is_not_done_yet(data: str, tmp_path: Path) -> None:
    for name, changes, says in (
        ("a", {"loc_lr_scale": 1.0}, "--lr 1e+29, or --loc-lr-scale 0.1, or --theta similarity"),
        ("b", {"theta": ThetaForm.CROP, "precision": "bf16"}, "--lr 1e+29, or --precision fp32"),
    ):
        with pytest.raises(TrainingError) as caught:
            run(options(data, lr=1e30, **changes), tmp_path / name)
        assert caught.value.hint.startswith(f"start a new run with {says}")


def test_averaged_weights_are_the_ones_that_are_judged_and_kept(data: str, folder: Path) -> None:
    result = run(options(data, epochs=1, ema_epochs=3.0), folder)
    state, kept = weights_of(folder), load_checkpoint(result.checkpoint)
    own = kept.model.state_dict()
    assert_same_weights({f"averaged.{name}": own[name] for name in own}, part_of_state(state, "averaged."))
    assert not torch.equal(state["model.backbone.classifier.2.weight"], own["backbone.classifier.2.weight"])
    val = Images(open_data(data, image_hw=(32, 32)).val)
    assert evaluate(kept.model, val, 8, 0, CPU)[0] == pytest.approx(result.history[-1]["val_loss"], rel=1e-5)


def part_of_state(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(prefix)}


def test_a_step_is_clipped_decayed_and_penalised_as_by_hand(data: str, folder: Path) -> None:
    """One step of the loop against the same step written out."""
    given = options(data, epochs=1, batch_size=48, clip_norm=0.01, weight_decay=0.5, in_frame=2.0)
    run(given, folder)
    opened = open_data(data, image_hw=(32, 32))
    contract = load_checkpoint(folder / CHECKPOINT).contract
    torch.manual_seed(0)
    model = Classifier(contract)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    pixels, labels = next(iter(batches(Images(opened.train), batch_size=48, workers=0, shuffle_seed=1, device=CPU)))
    logits, theta = model.train()(pixels)
    corners = [theta @ torch.tensor([x, y, 1.0]) for x in (-1.0, 1.0) for y in (-1.0, 1.0)]
    penalty = (torch.stack(corners).abs() - 1).clamp(min=0).pow(2).mean()
    (torch.nn.functional.cross_entropy(logits, labels) + 2.0 * penalty).backward()
    norm = torch.stack([weight.grad.norm() for weight in model.parameters() if weight.grad is not None]).norm()
    assert norm > 0.01
    trained = load_checkpoint(folder / CHECKPOINT).model
    for (name, weight), after in zip(model.named_parameters(), trained.parameters(), strict=True):
        rate = 0.002 * (0.1 if name.startswith("transformer") else 1)
        clipped = weight.grad * (0.01 / norm)
        wanted = weight.detach() * (1 - rate * 0.5 * any(weight is one for one in decayed))
        wanted -= rate * clipped / (clipped.abs() + 1e-8)  # Adam's first step
        clear = (clipped == 0) | (clipped.abs() > 1e-6)  # of the rest rounding decides which way Adam goes
        assert clear.double().mean() > 0.5, name
        torch.testing.assert_close(after.detach()[clear], wanted[clear], rtol=1e-4, atol=rate * 0.05)


@pytest.mark.parametrize("batch_size", [8, 5000])
def test_weights_that_are_no_numbers_are_never_the_best(batch_size: int, data: str, tmp_path: Path) -> None:
    """With one batch an epoch the loss is still fine, and the step after it isn't."""
    with pytest.raises(TrainingError, match="in epoch 1; no epoch was finished before") as caught:
        run(options(data, lr=1e30, batch_size=batch_size), tmp_path / "a")
    assert "--lr" in caught.value.hint
    assert [path.name for path in (tmp_path / "a").iterdir()] == [LAST]


def test_two_runs_never_share_a_folder(data: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="exists"):
        run(options(data, epochs=1), tmp_path / "a")


def test_a_run_whose_data_set_changed_is_not_resumed(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    for split in ("train", "val"):
        (copy / split / "left").rename(copy / split / "write")  # now the last class, and as many as before
    with pytest.raises(ArtifactError, match="2 labels, without 'left', with 'write'; the run began with 2"):
        run(replace(given, epochs=2), tmp_path / "a", resume=True)


def test_a_run_that_gained_a_class_is_not_resumed(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    shutil.copytree(copy / "train/left", copy / "train/middle")
    with pytest.raises(ArtifactError, match="3 labels, with 'middle'; the run began with 2") as caught:
        run(replace(given, epochs=2), tmp_path / "a", resume=True)
    assert "start a new run" in caught.value.hint


def test_a_run_that_lost_an_image_is_not_resumed(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    (copy / "train/left/3.png").unlink()
    with pytest.raises(ArtifactError, match="the data set is not the one"):
        run(replace(given, epochs=2), tmp_path / "a", resume=True)


def test_a_run_from_before_there_were_recipes_goes_on(data: str, tmp_path: Path) -> None:
    """Its state as it was then: no recipe among its options, no contract, no steps, and no optimizer but Adam."""
    given = options(data, epochs=4)
    whole = run(given, tmp_path / "whole")
    run(replace(given, epochs=2), tmp_path / "old")
    tensors, metadata = read_tensors(tmp_path / "old" / LAST)
    rest = json.loads(metadata["lstn.state"])
    known = ("loc", "model", "data", "weights", "image_size", "epochs", "patience", "batch_size", "lr", "loc_lr_scale")
    stored = json.loads(rest["options"])
    rest["options"] = json.dumps({name: stored[name] for name in (*known, "precision", "seed")})
    old = {name: rest[name] for name in ("options", "history", "scaler", "identity")}
    save_file(tensors, tmp_path / "old" / LAST, {"lstn.state": json.dumps(old)})
    assert read_options(tmp_path / "old" / LAST) == replace(given, epochs=2)
    resumed = run(given, tmp_path / "old", resume=True)
    assert without_time(resumed.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "old"), weights_of(tmp_path / "whole"))


def test_a_broken_test_set_is_known_before_training(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    (copy / "test/left").mkdir(parents=True)
    (copy / "test/left/0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 1 test images are broken"):
        run(options(f"folder:{copy}"), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_loading_by_processes_gives_the_same_weights(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets too large for memory are decoded by worker processes; which way it was loaded must not show."""
    run(options(data, epochs=2), tmp_path / "memory")
    monkeypatch.setattr("lstn.train.loading.CACHE_BYTES", 0)
    fit(options(data, epochs=2), tmp_path / "workers", device=CPU, workers=2, watcher=SILENT, resume=False)
    assert_same_weights(weights_of(tmp_path / "workers"), weights_of(tmp_path / "memory"))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_leaves_the_transformer_alone(precision: str, data: str, folder: Path) -> None:
    result = run(options(data, precision=precision, epochs=2), folder)
    model = load_checkpoint(result.checkpoint).model
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    exact, lowered = forward(model, pixels, "fp32"), forward(model, pixels, precision)  # type: ignore[arg-type]
    assert exact.dtype is torch.float32
    assert lowered.dtype is {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert all(parameter.dtype is torch.float32 for parameter in model.parameters())


def test_batches_cover_every_image_once_and_repeat_by_seed(data: str) -> None:
    images = Images(open_data(data, image_hw=(32, 32)).train)

    def order(seed: int | None) -> list[bytes]:
        loader = batches(images, batch_size=7, workers=0, shuffle_seed=seed, device=CPU)
        return [image.numpy().tobytes() for pixels, _ in loader for image in pixels]

    assert order(3) == order(3) != order(4)
    assert sorted(order(3)) == sorted(order(None))
    assert len(set(order(None))) == 48


def test_a_last_batch_of_one_is_left_out_of_training_only(data: str) -> None:
    images = Images(open_data(data, image_hw=(32, 32)).train)
    sizes = {
        seed: [len(labels) for _, labels in batches(images, batch_size=47, workers=0, shuffle_seed=seed, device=CPU)]
        for seed in (0, None)
    }
    assert sizes == {0: [47], None: [47, 1]}


def test_resuming_another_model_is_refused(data: str, folder: Path) -> None:
    run(options(data, epochs=1), folder)
    with pytest.raises(ArtifactError, match="the state of another model"):
        run(options(data, epochs=2, loc=Loc.STN), folder, resume=True)


def test_weights_start_the_backbone_and_are_not_needed_to_resume(data: str, tmp_path: Path) -> None:
    source = load_checkpoint(run(options(data, epochs=1), tmp_path / "source").checkpoint)
    file = tmp_path / "backbone.safetensors"
    save_file(source.model.backbone.state_dict(), file)
    given = options(data, weights=str(file), seed=5, lr=0.0)
    started = load_checkpoint(run(given, tmp_path / "started").checkpoint)
    assert_same_weights(started.model.backbone.state_dict(), source.model.backbone.state_dict())
    assert started.contract.mean == IMAGENET_MEAN
    file.unlink()
    assert len(run(replace(given, epochs=4), tmp_path / "started", resume=True).history) == 4


def test_an_unknown_model_is_wrong_use(data: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="effnet-b9"):
        run(options(data, model="effnet-b9"), folder)
