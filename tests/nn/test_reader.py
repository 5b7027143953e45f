"""Readers, against loops in NumPy over their own weights, and against PyTorch's own recurrent unit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lstn.contract import Contract, Loc, Task, ThetaForm
from lstn.errors import UsageError
from lstn.formats.training_record import Training
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, write_checkpoint
from lstn.nn.models import build_model
from lstn.nn.reader import Reader
from lstn.nn.recurrent_localizer import RecurrentLocalizer
from lstn.nn.turned_boxes import boxes_of, with_context

CONTRACT = Contract(Loc.GLANCE, "cnn", (32, 64), ("0", "1", "2"), task=Task.READ, warps=4, crop_hw=(16, 16))


def reader(**changes: object) -> Reader:
    torch.manual_seed(0)
    model = build_model(replace(CONTRACT, **changes))  # type: ignore[arg-type]
    assert isinstance(model, Reader)
    for weight in model.parameters():  # those that start at zero too
        torch.nn.init.normal_(weight, std=0.2) if weight.dim() < 4 else None
    return model.eval()


def pictures(count: int = 3) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, *CONTRACT.image_hw, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))


def test_the_localizer_is_attention_and_a_gated_recurrent_unit() -> None:
    """Equation 6 of Bahdanau et al. 2015 and the unit of Cho et al. 2014, as PyTorch documents it, step by step."""
    model = reader()
    assert model.transformer is not None
    localizer = model.transformer.localizer
    assert isinstance(localizer, RecurrentLocalizer)
    images = model.normalise(pictures())
    with torch.no_grad():
        boxes, answers, attention, told = localizer(images)
        found = localizer.head(localizer.features(images)).flatten(2).transpose(1, 2).double().numpy()
    weights = {name: value.double().numpy() for name, value in localizer.state_dict().items()}
    down, across = 8, 16  # a quarter of the sides
    centres = np.array(
        [((x + 0.5) / across * 2 - 1, (y + 0.5) / down * 2 - 1) for y in range(down) for x in range(across)]
    )
    np.testing.assert_allclose(told.numpy(), centres, atol=1e-6)
    for number, places in enumerate(found):
        seen = np.column_stack([places, centres])
        state = np.tanh(weights["first.weight"] @ places.mean(0) + weights["first.bias"])
        for step in range(4):
            keys = seen @ weights["keys.weight"].T + weights["keys.bias"] + weights["query.weight"] @ state
            scores = np.tanh(keys) @ weights["score.weight"][0]
            share = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(attention[number, step].exp().numpy(), share, atol=1e-5)
            looked = share @ seen
            given = np.split(weights["cell.weight_ih"] @ looked + weights["cell.bias_ih"], 3)
            before = np.split(weights["cell.weight_hh"] @ state + weights["cell.bias_hh"], 3)
            reset, update = sigmoid(given[0] + before[0]), sigmoid(given[1] + before[1])
            state = (1 - update) * np.tanh(given[2] + reset * before[2]) + update * state
            wanted = weights["answer.weight"] @ state + weights["answer.bias"]
            np.testing.assert_allclose(answers[number, step].numpy(), wanted, atol=1e-4)
            moves = (weights["box.weight"] @ np.concatenate([state, looked]) + weights["box.bias"]) * (
                0.1,
                0.1,
                0.2,
                0.2,
                0.2,
            )
            x, y = (looked[-2:] + 1) * (32, 16)
            box = (x + 8 * moves[0], y + 8 * moves[1], 8 * np.exp(moves[2]), 8 * np.exp(moves[3]), moves[4])
            np.testing.assert_allclose(boxes[number, step].numpy(), box, atol=1e-3)


def test_symbols_are_what_the_backbone_sees_and_the_state_remembers() -> None:
    model = reader()
    with torch.no_grad():
        logits, theta = model(pictures())
        images = model.normalise(pictures())
        assert model.transformer is not None
        boxes, remembered, *_ = model.transformer.localizer(images)
        for number in range(3):
            for step in range(4):
                box = with_context(boxes[number : number + 1, step])
                x, y, wide, high, angle = box[0].tolist()
                cos, sin = np.cos(angle), np.sin(angle)
                one = torch.tensor(
                    [[[cos * wide / 64, sin * high / 64, x / 32 - 1], [-sin * wide / 32, cos * high / 32, y / 16 - 1]]]
                )
                grid = torch.nn.functional.affine_grid(one.float(), [1, 3, 16, 16], align_corners=False)
                crop = torch.nn.functional.grid_sample(images[number : number + 1], grid, align_corners=False)
                wanted = model.backbone(crop)[0] + remembered[number, step]
                torch.testing.assert_close(logits[number, step], wanted, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(boxes_of(theta, (32, 64)), boxes, atol=1e-3, rtol=1e-4)
    assert logits.shape == (3, 4, 4)
    assert theta.shape == (3, 4, 2, 3)


def test_upright_boxes_do_not_turn() -> None:
    theta = reader(theta=ThetaForm.CROP)(pictures())[1]
    assert (theta[:, :, 0, 1] == 0).all()
    assert (theta[:, :, 1, 0] == 0).all()


def test_without_a_transformer_one_head_answers_for_each_symbol() -> None:
    """Goodfellow et al. 2014."""
    model = reader(loc=Loc.NONE, crop_hw=None)
    assert model.transformer is None
    with torch.no_grad():
        logits = model(pictures())
        heads = model.backbone(model.normalise(pictures()))
    torch.testing.assert_close(logits, torch.stack(heads.split(4, dim=1), dim=1))


def test_every_weight_learns() -> None:
    model = reader().train()
    logits, theta = model(pictures())
    (logits.square().sum() + theta.square().sum()).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_a_checkpoint_brings_it_back(tmp_path: Path) -> None:
    model = reader()
    write_checkpoint(tmp_path / CHECKPOINT, model, model.contract, Training("", 0, 1, 0.5))
    again = load_checkpoint(tmp_path / CHECKPOINT)
    assert again.contract == model.contract
    for one, other in zip(model(pictures()), again.model.eval()(pictures()), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_views_that_are_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match="too small for localizer lstn"):
        build_model(replace(CONTRACT, loc=Loc.LSTN, image_hw=(8, 8), crop_hw=(8, 8)))
