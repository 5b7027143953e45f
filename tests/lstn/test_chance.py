"""When a model is at chance, and who says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn

from lstn.health.chance import at_chance, chance_cure, chance_level
from lstn.health.run_health import diagnose


@pytest.mark.parametrize(("commonest", "images"), [(0.1, 1000), (0.5, 60), (0.9, 400)])
def test_blind_guesses_rarely_pass_for_knowledge(commonest: float, images: int) -> None:
    """Against draws: of models that are right with the commonest class' share about one in a hundred passes."""
    right = np.random.default_rng(0).binomial(images, commonest, 100_000) / images
    passes = float(np.mean([not at_chance(each, chance_level(commonest, images)) for each in right]))
    assert 0.003 < passes < 0.02


def test_what_is_not_known_is_not_chance() -> None:
    assert not at_chance(0.1, None)
    assert not at_chance(1.0, chance_level(1.0, 50))  # one class


def row(epoch: int, accuracy: float, **more: object) -> dict[str, object]:
    figures = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "seconds": 1.0}
    return {"epoch": epoch, "val_accuracy": accuracy, **figures, **more}


def written(folder: Path, *rows: dict[str, object]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder


def test_the_doctor_says_it_of_a_run_that_had_time_to_begin(tmp_path: Path, run_lstn: RunLstn) -> None:
    rows = [row(1, 0.121, chance=0.13), row(2, 0.12, chance=0.13)]
    out = run_lstn("doctor", written(tmp_path, *rows)).out
    assert "accuracy: validation accuracy 12.1% is at chance" in out
    assert "  likely cure: start a new run with a lower --lr" in out
    assert "at chance" not in run_lstn("doctor", written(tmp_path, rows[0])).out  # one epoch, and going on
    assert diagnose(written(tmp_path, rows[0], {"test_accuracy": 0.1})).at_chance
    assert not diagnose(written(tmp_path, *rows, row(3, 0.2, chance=0.13))).at_chance
    assert not diagnose(written(tmp_path, row(1, 0.1), row(2, 0.1))).at_chance  # of an older lstn


@pytest.mark.parametrize(
    ("model", "lr", "said", "unsaid"),
    [
        ("cnn", 1e30, "leave out --lr", "imagenet"),
        ("cnn", 0.001, "(--lr 0.0002), more --epochs or a larger --model such as resnet-18", "another"),
        ("resnet-18", 0.001, "more --epochs or --weights imagenet if", "such as resnet-18"),
        ("effnet-b0", None, "a lower --lr, more --epochs, --weights imagenet if there are", "larger"),
    ],
)
def test_the_cure_is_one_that_this_run_can_have(model: str, lr: float | None, said: str, unsaid: str) -> None:
    cure = chance_cure(model, lr)
    assert said in cure
    assert unsaid not in cure
    assert "imagenet" not in chance_cure("effnet-b0", lr, "imagenet")
