"""Distillation: what the teacher sees, who may be one, and a run that stops."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command import RunLstn
from PIL import Image
from short_runs import CPU, assert_same_weights, options, run, weights_of, without_time

from lstn.contract import Loc
from lstn.data.dataset import open_data
from lstn.errors import ArtifactError, UsageError
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from lstn.train.batches.loading import ImageBatch
from lstn.train.computing.distributed import ALONE
from lstn.train.objectives.classifier_objective import ClassifierObjective, Network, forward
from lstn.train.objectives.distillation import open_teacher, resized
from lstn.train.objectives.label_loss import TEACHERS_SHARE, TEMPERATURE

STUDENT = {"loc": Loc.GLANCE, "crop": 16}


@pytest.fixture(scope="module")
def teacher(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return run(options(data, epochs=3, loc=Loc.STN, lr=0.004, cosine=True), folder).checkpoint


def test_a_step_is_the_two_losses(data: str, teacher: Path) -> None:
    """Worked out with torch's own, from what both models answer to the same pixels."""
    asked = options(data, **STUDENT, teacher=str(teacher))
    opened = open_data(data, image_hw=(32, 32))
    torch.manual_seed(1)
    from lstn.nn.models import build_model

    student = build_model(asked.contract(opened.labels)).eval()
    pixels = torch.from_numpy(np.stack([opened.val[index][0] for index in range(6)]))
    labels = torch.tensor([opened.val[index][1] for index in range(6)])
    objective = ClassifierObjective(teacher=open_teacher(asked, opened, CPU))
    found = objective.loss(Network(student, "fp32"), ImageBatch(pixels, labels), asked, 6, ALONE)
    with torch.no_grad():
        own, theirs = forward(student, pixels, "fp32"), forward(load_checkpoint(teacher).model, pixels, "fp32")
    log_q, p = F.log_softmax(own / TEMPERATURE, 1), F.softmax(theirs / TEMPERATURE, 1)
    soft = TEMPERATURE**2 * F.kl_div(log_q, p, reduction="batchmean")
    hard = F.cross_entropy(own, labels)
    assert found.loss.item() == pytest.approx(float((1 - TEACHERS_SHARE) * hard + TEACHERS_SHARE * soft), rel=1e-5)
    assert float(found.told.detach()) == pytest.approx(float(hard), rel=1e-6)


def test_a_student_comes_to_answer_like_its_teacher(data: str, teacher: Path, tmp_path: Path) -> None:
    """More alike than a model that learned from the labels alone."""
    taught = run(options(data, **STUDENT, epochs=6, teacher=str(teacher)), tmp_path / "taught")
    alone = run(options(data, **STUDENT, epochs=6), tmp_path / "alone")
    test = open_data(data, image_hw=(32, 32)).test
    pixels = torch.from_numpy(np.stack([test[index][0] for index in range(len(test))]))
    with torch.no_grad():
        wanted, *answers = (
            torch.softmax(forward(each, pixels, "fp32") / TEMPERATURE, 1)
            for each in (load_checkpoint(teacher).model, taught.model, alone.model)
        )
    of_taught, of_alone = (float((each - wanted).abs().mean()) for each in answers)
    assert of_taught < of_alone


def test_the_teacher_stays_as_it_is(data: str, teacher: Path, tmp_path: Path) -> None:
    before = teacher.read_bytes()
    asked = options(data, **STUDENT, epochs=1, teacher=str(teacher))
    opened = open_teacher(asked, open_data(data, image_hw=(32, 32)), CPU)
    weights = {name: tensor.clone() for name, tensor in opened.model.state_dict().items()}
    assert not opened(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).requires_grad
    run(asked, tmp_path / "run")
    assert_same_weights(opened.model.state_dict(), weights)
    assert teacher.read_bytes() == before


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (64, 48)])
def test_images_are_resized_as_pillow_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = resized(torch.from_numpy(pixels), size).numpy()
    wanted = [Image.fromarray(each).resize(size[::-1], Image.Resampling.BILINEAR) for each in pixels]
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.stack([np.asarray(each) for each in wanted])).max() <= 1


def test_images_of_the_teachers_size_are_not_touched() -> None:
    pixels = torch.zeros(2, 32, 24, 3, dtype=torch.uint8)
    assert resized(pixels, (32, 24)) is pixels


def test_a_run_that_stopped_ends_with_the_same_weights(data: str, teacher: Path, tmp_path: Path) -> None:
    asked = options(data, **STUDENT, epochs=3, teacher=str(teacher), augment="affine")
    whole = run(asked, tmp_path / "whole")
    run(replace(asked, epochs=1), tmp_path / "parts")
    parts = run(asked, tmp_path / "parts", resume=True)
    assert without_time(parts.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


def moved(teacher: Path, other: Path) -> Path:
    return Path(shutil.copy(teacher, other))


def retrained(teacher: Path, other: Path) -> Path:
    kept = load_checkpoint(teacher)
    with torch.no_grad():
        next(kept.model.parameters()).add_(1e-3)
    save_checkpoint(kept.model, other, kept.training)
    return other


@pytest.mark.parametrize(("change", "goes_on"), [(moved, True), (retrained, False)])
def test_a_run_goes_on_with_the_same_teacher_wherever_it_lies(
    change: Callable[[Path, Path], Path], goes_on: bool, data: str, teacher: Path, tmp_path: Path
) -> None:
    asked = options(data, **STUDENT, epochs=1, teacher=str(teacher))
    run(asked, tmp_path / "run")
    later = replace(asked, epochs=2, teacher=str(change(teacher, tmp_path / "other.safetensors")))
    if goes_on:
        assert len(run(later, tmp_path / "run", resume=True).history) == 2
    else:
        with pytest.raises(ArtifactError, match="not the one that this run began with") as caught:
            run(later, tmp_path / "run", resume=True)
        assert "teacher" in caught.value.hint


def test_a_teacher_of_other_classes_is_refused_before_a_folder_is_made(
    data: str, few: str, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"the teacher has 2 classes, 'left' first; --data .* has 2 classes, 'a' first"
    ):
        run(options(few, **STUDENT, teacher=str(teacher)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_names_a_run_or_a_file(
    data: str, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_lstn: RunLstn
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(teacher.parent, "runs/large")
    words = ("train", "--model", "cnn", "--loc", "none", "--data", data, "--epochs", 1, "--workers", 0)
    ran = run_lstn(*words, "--image-size", 16, "--teacher", "runs/large", "--name", "a")
    assert ran.code == 0, ran.err
    assert "teacher: stn + cnn at 32, validation accuracy" in ran.err
    assert "sees this run's 16 resized: --image-size 32 --crop 16 shows it all" in ran.err
    stored = json.loads(json.loads(safe_metadata(Path("runs/a/last.safetensors")))["options"])
    assert stored["teacher"] == str(tmp_path / "runs/large" / CHECKPOINT)
    shutil.move("runs/large", "runs/elsewhere")
    lost = run_lstn("train", "--resume", "runs/a", "--epochs", 2)
    assert lost.code == 2
    assert "the teacher isn't there" in lost.err
    file = f"runs/elsewhere/{CHECKPOINT}"
    assert run_lstn("train", "--resume", "runs/a", "--epochs", 2, "--teacher", file).code == 0
    for refused, said in (("runs/gone", "runs/gone"), (data.removeprefix("folder:"), "not a run")):
        ran = run_lstn(*words, "--teacher", refused, "--name", "b")
        assert ran.code == 2
        assert said in ran.err


def safe_metadata(path: Path) -> str:
    from lstn.nn.checkpoint import read_tensors

    return read_tensors(path)[1]["lstn.state"]
