"""The temperature of a run: fitted to the validation images at its end, and part of what the run leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from short_runs import options, run

from lstn.contract import Loc
from lstn.data.dataset import open_data
from lstn.health.run_health import METRICS
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.classifier import Classifier

QUICK = {"loc": Loc.NONE, "image_size": 16, "epochs": 1, "batch_size": 64}

pytestmark = pytest.mark.usefixtures("few_digits")


def answers_of(model: Classifier) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of the validation digits as the model answers, as its backbone does, and the labels."""
    split = open_data("digits", image_hw=(16, 16)).val
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    with torch.no_grad():
        seen = torch.from_numpy(np.stack(pixels))
        return model(seen), model.classify(model.transform(seen)[0]), torch.tensor(labels)


def test_it_makes_the_validation_images_likelier_than_any_other(tmp_path: Path) -> None:
    result = run(options("digits", **QUICK), tmp_path / "run")
    kept = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    temperature = kept.contract.temperature
    assert temperature == result.contract.temperature == result.classifier.contract.temperature
    assert temperature != 1
    assert json.loads((tmp_path / "run" / METRICS).read_text().splitlines()[-1])["temperature"] == temperature
    told, raw, labels = answers_of(kept.classifier_for("this test"))
    torch.testing.assert_close(told, raw / temperature)
    others = [float(F.cross_entropy(raw / each, labels)) for each in np.geomspace(0.05, 20, 300)]
    assert float(F.cross_entropy(told, labels)) <= min(others) + 1e-6


def test_a_run_that_goes_on_fits_another_to_the_same_weights_scale(tmp_path: Path) -> None:
    """The state keeps the weights as they train, so a temperature is never fitted on top of an older one."""
    run(options("digits", **QUICK), tmp_path / "halves")
    halves = run(options("digits", **QUICK | {"epochs": 2}), tmp_path / "halves", resume=True)
    whole = run(options("digits", **QUICK | {"epochs": 2}), tmp_path / "whole")
    assert halves.contract == whole.contract
    for one, other in zip(halves.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
