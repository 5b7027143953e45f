"""`lstn calibrate`, and `lstn export --precision`, from the words typed to the files left."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibrate_words import DIGITS, made
from command import RunLstn
from onnx import numpy_helper
from PIL import Image
from small_models import LABELS, SIDE, exported_model, undecided, warping_model

from lstn.contract import LOGITS, PIXELS, Contract, Loc
from lstn.data.dataset import open_data
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.formats.inspection import training_of
from lstn.formats.onnx_file import read_onnx
from lstn.formats.onnx_session import OnnxSession
from lstn.nn.checkpoint import Training, write_checkpoint
from lstn.nn.classifier import Classifier

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
def test_every_precision_is_written_with_its_cost(run_lstn: RunLstn, precision: str) -> None:
    options = DIGITS if precision in ("int8", "fp8") else DIGITS[:2]
    ran = run_lstn("calibrate", "model.onnx", "--precision", precision, *options, "--force")  # it was never trained
    assert ran.code == 0, ran.err
    kept = "the localizer's head" if precision == "fp16" else "the localizer"
    stem = f"model.{precision}"
    ranges = {"model.minmax.ranges.json"} if precision in ("int8", "fp8") else set()
    assert made() == {f"{stem}.onnx", f"{stem}.cost.json", f"{stem}.cost.html"} | ranges
    made_of, contract = (read_onnx(Path(name)).contract for name in ("model.onnx", f"{stem}.onnx"))
    assert contract == replace(made_of, temperature=contract.temperature)
    cost = json.loads(Path(f"{stem}.cost.json").read_text())["precisions"][precision]
    assert cost["images"] == min(500, len(open_data("digits", image_hw=(SIDE, SIDE)).val))
    assert (cost["drift"]["max_px"] == 0.0) == (precision != "fp16")
    assert "same top-1 as fp32" in ran.out
    assert f"kept in float32: {kept}\n" in ran.out
    assert ("rounding in float32" in ran.err) == (precision in ("bf16", "fp8"))


@pytest.mark.usefixtures("few_digits")
def test_a_lowered_localizer_drifts(run_lstn: RunLstn) -> None:
    keep = ("--keep", "head", "--force")
    assert run_lstn("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2], *keep).code == 0
    cost = json.loads(Path("model.bf16.cost.json").read_text())["precisions"]["bf16"]
    assert 0.001 < cost["drift"]["p99_px"] < SIDE


@pytest.mark.usefixtures("few_digits")
def test_the_gate_leaves_no_file(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2]).code == 0
    gate = ("--keep", "head", "--max-drift-px", "0.0001")
    ran = run_lstn("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2], *gate)
    assert ran.code == 1
    assert "move by" in ran.err
    assert "no model.bf16.onnx is left" in ran.err
    assert made() == set()


@pytest.mark.usefixtures("few_digits")
def test_a_failure_that_is_not_the_gates_leaves_the_older_model(
    run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2])
    assert run_lstn(*command).code == 0
    before = {name: Path(name).read_bytes() for name in made()}
    monkeypatch.setattr(tempfile, "tempdir", str(Path("gone").absolute()))  # where it runs the model to measure it
    ran = run_lstn(*command, "--keep", "backbone.classifier.2")
    assert ran.code == 1
    assert "No such file or directory" in ran.err
    assert {name: Path(name).read_bytes() for name in made()} == before


@pytest.mark.usefixtures("few_digits")
def test_the_gate_lets_what_is_within_pass(run_lstn: RunLstn) -> None:
    gate = ("--max-drop", "5", "--max-drift-px", "0.0001", "--keep", "localizer")
    assert run_lstn("calibrate", "model.onnx", "--precision", "fp16", *DIGITS[:2], *gate).code == 0


def test_a_drop_beyond_the_gate_stops(run_lstn: RunLstn) -> None:
    """A large weight that is the same for all classes changes no answer in float32, and leaves int8 nothing else.

    Images of one colour each are so different that rounding in any other layer changes few answers.
    """
    colours = np.random.default_rng(0).integers(0, 256, (60, 1, 1, 3), dtype=np.uint8)
    images = np.broadcast_to(colours, (60, SIDE, SIDE, 3))
    model = undecided(Loc.NONE, images)
    weight = next(entry for entry in model.graph.initializer if entry.name == "backbone.classifier.2.weight")
    values = numpy_helper.to_array(weight).copy()
    values[:, 0] = 300.0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    Path("model.onnx").write_bytes(model.SerializeToString())
    (logits,) = OnnxSession(model.SerializeToString()).run({PIXELS: images}, [LOGITS])
    for number, (image, label) in enumerate(zip(images, logits.argmax(1), strict=True)):
        for split in ("train", "val"):
            for name in {str(label), *(LABELS if split == "train" and number < 1 else ())}:
                path = Path("images", split, name, f"{number}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    data = ("--data", "folder:images", "--images", "16")
    refused = run_lstn("calibrate", "model.onnx", *data)
    assert refused.code == 1
    assert "top-1 accuracy falls by" in refused.err
    assert "--force writes it anyway" in refused.err
    assert made() == {"images", "model.minmax.ranges.json"}
    forced = run_lstn("calibrate", "model.onnx", *data, "--force")
    assert forced.code == 0
    assert "written because of --force" in forced.err
    top1 = json.loads(Path("model.int8.cost.json").read_text())["precisions"]["int8"]["top1"]
    assert top1["reference"] == 1.0
    assert top1["lowered"] < 0.8
    ran = run_lstn("calibrate", "model.onnx", *data, "--max-drop", "20")
    assert ran.code == 1
    assert f"falls by {100 - 100 * top1['lowered']:.2f} points, more than --max-drop 20" in ran.err
    assert made() == {"images", "model.minmax.ranges.json"}
    mended = run_lstn("calibrate", "model.onnx", *data, "--max-drop", "20", "--auto", "20")
    assert mended.code == 0
    assert "kept in float32: backbone.classifier.2" in mended.out


def test_the_ranges_come_from_training_images_alone(run_lstn: RunLstn) -> None:
    """Training images are dark, all others white: one white image among them would show in the input's range."""
    contract = Contract(Loc.NONE, "cnn", (SIDE, SIDE), ("a", "b"), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    Path("model.onnx").write_bytes(onnx_from_torch(Classifier(contract).eval(), contract).SerializeToString())
    for split, colour in (("train", 40), ("val", 255), ("test", 255)):
        for label in "ab":
            for number in range(12):
                path = Path("images", split, label, f"{number}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (SIDE, SIDE), (colour, colour, number)).save(path)
    ran = run_lstn("calibrate", "model.onnx", "--data", "folder:images", "--images", "24", "--force")
    assert ran.code == 0, ran.err
    ranges = json.loads(Path("model.minmax.ranges.json").read_text())
    assert ranges["tensors"]["input/Add"][1] == pytest.approx(40 / 255)
    assert ranges["data"] == open_data("folder:images", image_hw=(SIDE, SIDE)).train.fingerprint


def test_a_run_brings_its_own_data_and_its_own_split(run_lstn: RunLstn) -> None:
    """A folder without splits is split by the run's seed, or images that it was tested on would be calibrated on."""
    model, contract = warping_model(Loc.LSTN)
    for label in LABELS:
        for number in range(20):
            path = Path("photos", label, f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    checkpoint = Path("runs", "first", "checkpoint.safetensors")
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, model, contract, Training("folder:photos", 7, 1, 0.5))
    Path("model.onnx").unlink()
    ran = run_lstn("calibrate", "--precision", "int8", "--images", "32")
    assert ran.code == 0, ran.err
    ranges = json.loads(Path("model.minmax.ranges.json").read_text())
    fingerprints = [open_data("folder:photos", image_hw=(SIDE, SIDE), seed=seed).train.fingerprint for seed in (7, 0)]
    assert ranges["data"] == fingerprints[0] != fingerprints[1]
    assert ranges["seed"] == 7
    assert "against PyTorch" in ran.out
    again = ("calibrate", "model.onnx", "--images", "32", "--out", "again")
    assert run_lstn(*again).code == 0  # the exported file says what it was trained on
    assert json.loads(Path("again/model.minmax.ranges.json").read_text()) == ranges
    assert training_of(Path("again/model.int8.onnx")) == Training("folder:photos", 7, 1, 0.5)
    older = onnx.load("model.onnx")  # one of lstn 0.1 doesn't
    del older.metadata_props[1:]
    onnx.save(older, "model.onnx")
    shutil.rmtree("again")
    ran = run_lstn(*again)
    assert (ran.code, "doesn't say what it was trained on" in ran.err) == (2, True)
    again += ("--data", "folder:photos")
    ran = run_lstn(*again)
    assert ran.code == 2
    assert "error: --data folder:photos is split by a seed" in ran.err
    assert not Path("again").exists()
    assert run_lstn(*again, "--seed", 7).code == 0
    assert json.loads(Path("again/model.minmax.ranges.json").read_text())["data"] == ranges["data"]


def test_an_older_onnx_file_is_lowered_by_calibrate_alone(run_lstn: RunLstn) -> None:
    ran = run_lstn("export", "model.onnx", "--engine", "openvino", "--precision", "int8")
    assert ran.code == 2
    assert "--precision: model.onnx doesn't say what it was trained on" in ran.err
    assert "use: lstn calibrate model.onnx --precision int8 --data digits" in ran.err


@pytest.mark.usefixtures("few_digits")
def test_auto_prints_the_path_it_took(run_lstn: RunLstn) -> None:
    ran = run_lstn("calibrate", "model.onnx", *DIGITS, "--auto", "100")
    assert ran.code == 0
    assert "keeping nothing more: " in ran.out
    assert "--auto 100: " in ran.out


@pytest.mark.usefixtures("few_digits")
def test_kept_layers_are_said(run_lstn: RunLstn) -> None:
    ran = run_lstn(
        *("calibrate", "model.onnx", *DIGITS, "--keep", "localizer.features.3", "--keep", "backbone.features.0"),
        "--force",
    )
    assert ran.code == 0
    assert "kept in float32: the localizer's head, localizer.features.3, backbone.features.0\n" in ran.out
    names = {node.name for node in onnx.load("model.int8.onnx").graph.node if node.op_type == "QuantizeLinear"}
    assert not any(name.startswith("sampler/GridSample") for name in names)


@pytest.mark.usefixtures("few_digits")
def test_nothing_kept_is_said_and_a_model_without_a_warp_has_no_bound_on_it(run_lstn: RunLstn) -> None:
    Path("plain.onnx").write_bytes(exported_model(Loc.NONE).SerializeToString())
    ran = run_lstn("calibrate", "plain.onnx", *DIGITS, "--keep", "localizer")
    assert ran.code == 0, ran.err
    assert "kept in float32: nothing\n" in ran.out
    ran = run_lstn("calibrate", "plain.onnx", *DIGITS, "--max-drift-px", "1")
    assert ran.code == 2
    assert "--max-drift-px is for models with a transformer" in ran.err
