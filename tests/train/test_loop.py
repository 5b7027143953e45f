import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from short_runs import CPU, SILENT, assert_same_weights, options, run, weights_of

from lstn.contract import Contract, Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.errors import DataError, TrainingError, UsageError
from lstn.health.run_health import METRICS
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, read_tensors
from lstn.nn.classifier import Classifier
from lstn.train.batches.drawn_moves import Moves
from lstn.train.batches.loading import Images, batches
from lstn.train.fitting import check_step
from lstn.train.loop import train_to_end
from lstn.train.objectives.classifier_objective import forward, loss_and_accuracy
from lstn.train.objectives.following_loss import unfollowed
from lstn.train.runs.run_state import LAST


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
    loss, accuracy = loss_and_accuracy(checkpoint.model, Images(split), 5, 0, CPU)
    assert accuracy == right / len(split)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_seed_decides_and_nothing_else(data: str, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(options(data, epochs=1, seed=seed), tmp_path / name)
    a, b, c = (weights_of(tmp_path / name) for name in "abc")
    assert_same_weights(a, b)
    assert not torch.equal(a["model.backbone.classifier.2.weight"], c["model.backbone.classifier.2.weight"])


def test_patience_ends_a_run_that_gets_no_better(data: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(options(data, lr=0.0, epochs=50, patience=3), folder)
    assert "stopped after epoch 4: 3 epochs without a better validation accuracy" in capsys.readouterr().err
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
        ("a", {"loc_lr_scale": 1.0}, "--lr 0.001, or --loc-lr-scale 0.1, or --theta similarity"),
        ("b", {"theta": ThetaForm.CROP, "precision": "bf16"}, "--lr 0.001, or --precision fp32"),
    ):
        with pytest.raises(TrainingError) as caught:
            run(options(data, lr=1e38, **changes), tmp_path / name)
        assert caught.value.hint.startswith(f"start a new run with {says}")


def test_a_step_is_penalised_as_by_hand(data: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of the loop against the same step written out."""
    monkeypatch.setattr("lstn.train.preparing.start_weights", lambda *_: None)  # or only the classifier has a gradient
    given = options(data, epochs=1, batch_size=48, in_frame=2.0)
    run(given, folder)
    opened = open_data(data, image_hw=(32, 32))
    contract = load_checkpoint(folder / CHECKPOINT).contract
    torch.manual_seed(0)
    model = Classifier(contract)
    pixels, labels, *_ = next(iter(batches(Images(opened.train), batch_size=48, workers=0, shuffle_seed=1, device=CPU)))
    logits, theta = model.train()(pixels)
    corners = torch.cat([theta @ torch.tensor([x, y, 1.0]) for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    squared_distance = (corners - corners.clamp(-1, 1)).square().sum(1)
    (torch.nn.functional.cross_entropy(logits, labels) + 2.0 * squared_distance.mean() / 2).backward()
    assert_adams_first_step(model, load_checkpoint(folder / CHECKPOINT).model)


def test_a_step_with_moved_images_is_as_by_hand(data: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The localizer sees the images and the moved ones at once; the backbone only the images' crops."""
    monkeypatch.setattr("lstn.train.preparing.start_weights", lambda *_: None)
    run(options(data, epochs=1, batch_size=48, equivariance=3.0), folder)
    contract = load_checkpoint(folder / CHECKPOINT).contract
    torch.manual_seed(0)
    model = Classifier(contract).train()
    images = Images(open_data(data, image_hw=(32, 32)).train, moves=Moves((32, 32), seed=0)).at(1)
    pixels, labels, moves, *_ = next(iter(batches(images, batch_size=48, workers=0, shuffle_seed=1, device=CPU)))
    seen = model.normalise(pixels)
    grid = torch.nn.functional.affine_grid(moves, list(seen.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(seen, grid, padding_mode="reflection", align_corners=False)
    theta, of_moved = model.transformer.localizer(torch.cat([seen, moved])).chunk(2)
    logits = model.classify(model.transformer.warp(seen, theta))
    entropy = torch.nn.functional.cross_entropy(logits, labels)
    (entropy + 3.0 * unfollowed(theta, of_moved, moves, 1.0)).backward()
    assert_adams_first_step(model, load_checkpoint(folder / CHECKPOINT).model)


def assert_adams_first_step(model: Classifier, trained: Classifier) -> None:
    """`trained` is `model` after one step down the gradients that `model` has."""
    for (name, weight), after in zip(model.named_parameters(), trained.parameters(), strict=True):
        rate = 0.002 * (0.1 if name.startswith("transformer") else 1)
        grad = weight.grad
        wanted = weight.detach() - rate * grad / (grad.abs() + 1e-8)  # Adam's first step
        clear = (grad == 0) | (grad.abs() > 1e-6)  # of the rest rounding decides which way Adam goes
        assert clear.double().mean() > 0.5, name
        torch.testing.assert_close(after.detach()[clear], wanted[clear], rtol=1e-4, atol=rate * 0.05)


@pytest.mark.parametrize(
    ("loc", "model", "side"),
    [
        (Loc.NONE, "resnet-18", 32),
        (Loc.NONE, "resnet-18", 64),
        (Loc.NONE, "effnet-b0", 32),
        (Loc.NONE, "cnn", 8),
        (Loc.LSTN, "cnn", 32),
        (Loc.STN, "cnn", 32),
        (Loc.LSTN, "cnn", 20),
    ],
)
def test_one_image_at_a_time_is_refused_where_torch_could_not_train_so(loc: Loc, model: str, side: int) -> None:
    contract = Contract(loc, model, (side, side), ("a", "b"))
    check_step(contract, 2)
    try:
        Classifier(contract).train()(torch.zeros(1, side, side, 3, dtype=torch.uint8))
    except ValueError:
        with pytest.raises(UsageError, match=f"{loc.value} . {model} can't train on one image of {side} x {side}"):
            check_step(contract, 1)
    else:
        check_step(contract, 1)


def test_a_step_that_cannot_be_taken_is_known_before_there_is_a_folder(data: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="can't train on one image") as caught:
        run(options(data, model="resnet-18", batch_size=1), folder)
    assert "2 images per step" in caught.value.hint
    assert not folder.exists()


@pytest.mark.parametrize("batch_size", [8, 5000, 10**20])
def test_weights_that_are_no_numbers_are_never_the_best(batch_size: int, data: str, tmp_path: Path) -> None:
    """With one batch an epoch the loss is still fine, and the step after it isn't."""
    with pytest.raises(TrainingError, match="in epoch 1; no epoch was finished before") as caught:
        run(options(data, lr=1e38, batch_size=batch_size), tmp_path / "a")
    assert "--lr" in caught.value.hint
    assert [path.name for path in (tmp_path / "a").iterdir()] == [LAST]


def test_two_runs_never_share_a_folder(data: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LAST).touch()
    with pytest.raises(UsageError, match="exists"):
        run(options(data, epochs=1), tmp_path / "a")


def test_a_broken_test_set_is_known_before_training(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    (copy / "test/left/0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 16 test images is broken"):
        run(options(f"folder:{copy}"), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_loading_by_processes_gives_the_same_weights(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets too large for memory are decoded by worker processes; which way it was loaded must not show."""
    run(options(data, epochs=2), tmp_path / "memory")
    monkeypatch.setattr("lstn.train.batches.loading.KEPT_BYTES", 0)
    train_to_end(options(data, epochs=2), tmp_path / "workers", device=CPU, workers=2, watcher=SILENT, resume=False)
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
        return [image.numpy().tobytes() for pixels, *_ in loader for image in pixels]

    assert order(3) == order(3) != order(4)
    assert sorted(order(3)) == sorted(order(None))
    assert len(set(order(None))) == 48


def test_a_last_batch_of_one_is_left_out_of_training_only(data: str) -> None:
    images = Images(open_data(data, image_hw=(32, 32)).train)
    sizes = {
        seed: [
            len(labels) for _, labels, *_ in batches(images, batch_size=47, workers=0, shuffle_seed=seed, device=CPU)
        ]
        for seed in (0, None)
    }
    assert sizes == {0: [47], None: [47, 1]}


def test_an_unknown_model_is_wrong_use(data: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="effnet-b9"):
        run(options(data, model="effnet-b9"), folder)
