"""`lstn tune` as a user types it: the files of a model, what each costs, the search, and its reports."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from command import RunLstn
from small_models import SIDE, exported_once, warping_model
from tiny_detector import tiny_detector

from lstn.contract import At, Loc
from lstn.data.dataset import open_data
from lstn.errors import UsageError
from lstn.formats.engine_kind import EngineKind
from lstn.formats.training_record import Training
from lstn.nn.checkpoint import Checkpoint, save_checkpoint
from lstn.precision import Precision
from lstn.research.tune.candidates import Candidate, ModelVersion, QualityLimits, judged_files
from lstn.research.tune.model_versions import with_crop
from lstn.warps.warp import landmarks_px

QUICK = ("--data", "digits", "--batch", "1,4", "--threads", "1", "--trials", "3", "--seconds", "0.1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, _ = warping_model(Loc.LSTN, crop=24)
    path = tmp_path_factory.mktemp("tuned") / "checkpoint.safetensors"
    save_checkpoint(model, path, Training("digits", 0, 1, 0.5, "by hand"))
    return path


def test_a_run_is_tuned_from_its_files_to_the_command(checkpoint: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    out = tmp_path / "tune"
    words = ("tune", checkpoint, "--crop", "32", "--precision", "fp32", "--max-drop", "100", "--out", out, *QUICK)
    ran = run_lstn(*words)
    assert ran.code == 0, ran.err
    found = json.loads((out / "tune.json").read_text())
    assert [(each["engine"], each["precision"], each["crop_hw"]) for each in found["files"]] == [
        (engine, "fp32", [crop, crop]) for crop in (24, 32) for engine in ("onnx", "openvino")
    ]
    assert found["settings"] == 8
    assert len(found["trials"]) == 3
    assert found["finalists"][0]["batch"] == 32  # the model as it comes
    assert found["best"]["images_per_s"] == max(each["images_per_s"] for each in found["finalists"])
    assert "The Pareto front" in (out / "tune.html").read_text()
    command = ran.out.splitlines()[-1]
    assert command == found["command"]
    _, infer, _, *options = command.split()
    assert Path(options[options.index("--engine") + 1]) == Path(found["best"]["file"])
    assert run_lstn(infer, Path(__file__).parents[2] / "examples" / "images", *options).code == 0

    again = run_lstn(*words)  # each trial is kept
    assert json.loads((out / "tune.json").read_text())["trials"] == found["trials"]
    assert again.code == 0


@pytest.mark.usefixtures("few_digits")
def test_a_file_that_costs_too_much_is_never_timed(tmp_path: Path, run_lstn: RunLstn) -> None:
    """Eight bits move the warps; no limit on accuracy, and one on drift that only float32 keeps."""
    source = exported_once(Loc.LSTN, "cnn").path
    limits = ("--engine", "onnx", "--max-drop", "100", "--max-drift-px", "0.0")
    ran = run_lstn("tune", source, "--precision", "fp16", *limits, "--out", tmp_path / "tune", *QUICK)
    assert ran.code == 0, ran.err
    found = json.loads((tmp_path / "tune" / "tune.json").read_text())
    assert [each["beyond"] != "" for each in found["files"]] == [False, True]
    assert found["files"][1]["drift_px"] > 0
    assert found["settings"] == 2
    assert {each["precision"] for each in [*found["trials"], *found["finalists"], found["best"]]} == {"fp32"}


def test_what_a_file_costs_is_what_onnx_runtime_says() -> None:
    """One model against another of the same contract, on the same images, by a session of its own."""
    one, other = (exported_once(loc, "cnn").path for loc in (Loc.LSTN, Loc.STN))
    split = open_data("digits", image_hw=(SIDE, SIDE)).val
    versions = [ModelVersion(EngineKind.ONNX, None, (SIDE, SIDE), path) for path in (one, other)]
    first, second = judged_files(versions, split, QualityLimits(0.0), count=40)

    numbers = [index * (len(split) - 1) // 39 for index in range(40)]
    pixels = np.stack([split[number][0] for number in numbers])
    labels = np.array([split[number][1] for number in numbers])
    answers = [onnxruntime.InferenceSession(path).run(["logits", "theta"], {"pixels": pixels}) for path in (one, other)]
    right = [float((logits.argmax(axis=1) == labels).mean()) for logits, _ in answers]
    corners = [landmarks_px(theta, (SIDE, SIDE)) for _, theta in answers]
    furthest = np.linalg.norm(corners[1] - corners[0], axis=-1).max(axis=1)
    assert (first.top1, first.drop, first.drift_px, first.beyond) == (right[0], 0.0, 0.0, "")
    assert second.top1 == right[1]
    assert second.drop == pytest.approx(100 * (right[0] - right[1]))
    assert second.drift_px == pytest.approx(np.percentile(furthest, 99), rel=1e-4)


def test_a_file_that_does_not_run_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    split = open_data("digits", image_hw=(SIDE, SIDE)).val
    paths = (exported_once(Loc.LSTN, "cnn").path, broken)
    versions = [ModelVersion(EngineKind.ONNX, precision, (SIDE, SIDE), path)
                for precision, path in zip((None, Precision.INT8), paths, strict=True)]  # fmt: skip
    found: list[Candidate] = judged_files(versions, split, QualityLimits(0.0), count=5)
    assert [each.version for each in found] == versions[:1]
    assert "onnx int8 crop 48 is left out: " in capsys.readouterr().err


def test_another_crop_has_the_same_weights_and_its_own_size() -> None:
    model, contract = warping_model(Loc.STN, crop=24)
    checkpoint = Checkpoint(model, contract, Training("digits", 0, 1, 0.5, ""))
    resized = with_crop(checkpoint, (32, 40))
    assert resized.contract == replace(contract, crop_hw=(32, 40))
    own, its = model.state_dict(), resized.model.state_dict()
    assert all(torch.equal(own[name], its[name]) for name in own | its)
    pixels = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.no_grad():
        again = with_crop(resized, (24, 24)).model
        torch.testing.assert_close(again(pixels), model(pixels), rtol=0, atol=0)
        assert torch.equal(resized.model(pixels)[1], model(pixels)[1])


@pytest.mark.parametrize(
    ("loc", "at", "crop"), [(Loc.NONE, At.INPUT, (24, 24)), (Loc.STN, At.STEM, (24, 24)), (Loc.STN, At.INPUT, (64, 64))]
)
def test_a_model_without_such_crops_is_refused(loc: Loc, at: At, crop: tuple[int, int]) -> None:
    model, contract = warping_model(loc, at=at)
    with pytest.raises(UsageError, match="crop"):
        with_crop(Checkpoint(model, contract, Training("digits", 0, 1, 0.5, "")), crop)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--precision", "fp8"), "--precision 'fp8': not one to tune"),
        (("--precision", "int4"), "--precision 'int4': not one to tune"),
        (("--engine", "trt"), "a plan has its batch sizes from its build"),
        (("--threads", "two"), "--threads 'two': expected numbers"),
        (("--threads", "1,9999"), "9999 threads or processes are too many"),
        (("--batch", "0"), "--batch '0': expected numbers of images"),
        (("--crop", "big"), "--crop 'big': expected a side"),
        (("--crop", "24"), "is exported already, with a crop of its own"),
        (("--crop", ",".join(map(str, range(16, 40)))), "--crop: 24 values to try"),
        (("--out", "model.onnx"), "a folder is meant"),
    ],
)
def test_bad_options_are_refused_before_the_work(words: tuple[str, ...], told: str, tmp_path: Path,
                                                 run_lstn: RunLstn) -> None:  # fmt: skip
    out = () if "--out" in words else ("--out", tmp_path / "tune")
    ran = run_lstn("tune", exported_once(Loc.LSTN, "cnn").path, "--data", "digits", *words, *out)
    assert ran.code != 0
    assert told in " ".join(ran.err.split())
    assert not list(tmp_path.rglob("*.json"))


def test_a_detector_is_refused(tmp_path: Path, run_lstn: RunLstn) -> None:
    detector = tiny_detector(tmp_path / "detector.onnx")
    ran = run_lstn("tune", detector.path, "--data", "digits", "--out", tmp_path / "tune")
    assert ran.code != 0
    assert "lstn tune is for models that classify" in ran.err
