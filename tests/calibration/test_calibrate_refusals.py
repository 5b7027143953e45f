"""What `lstn calibrate` refuses, and says before it has done any work."""

from pathlib import Path

import numpy as np
import pytest
from calibrate_words import DIGITS, made
from command import RunLstn
from PIL import Image
from small_models import SIDE, exported_model, warping_model

from lstn.calibration.kept_layers import layer_names
from lstn.contract import Contract, Loc
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.nn.checkpoint import Checkpoint, Training
from lstn.nn.classifier import Classifier

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("model.onnx",), 2, "doesn't say what it was trained on"),
        (("missing.onnx", *DIGITS), 2, "missing.onnx: no such file"),
        (("model.onnx", "--data", "folder:nowhere"), 2, "nowhere: no such folder"),
        (("model.onnx", *DIGITS[:2], "--images", "7"), 1, "7 images to calibrate on, at least 8"),
        (("model.onnx", *DIGITS, "--precision", "fp16"), 2, "--images and --ranges are for int8 and fp8"),
        (("model.onnx", *DIGITS, "--keep", "spine"), 2, "no layer of this model is called so"),
        (("model.onnx", *DIGITS, "--keep", "localizer", "--keep", "backbone"), 2, "nothing is left to lower"),
        (("model.onnx", *DIGITS, "--precision", "int4"), 2, "int4"),
    ],
)
def test_bad_input_is_one_line(run_lstn: RunLstn, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = run_lstn("calibrate", *arguments)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not [name for name in made() if name.startswith("model.int8") or name.startswith("model.fp16")]


@pytest.mark.usefixtures("few_digits")
def test_files_that_are_not_float32_models_of_lstn_are_refused(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "fp16", *DIGITS[:2]).code == 0
    assert "lowered already" in run_lstn("calibrate", "model.fp16.onnx", *DIGITS).err
    model = exported_model(Loc.LSTN)
    weight = next(entry for entry in model.graph.initializer if entry.name == "backbone.features.0.weight")
    weight.raw_data = np.full(tuple(weight.dims), np.nan, np.float32).tobytes()
    Path("broken.onnx").write_bytes(model.SerializeToString())
    assert (
        "backbone.features.0.weight holds values that are not finite"
        in run_lstn("calibrate", "broken.onnx", *DIGITS).err
    )
    model = exported_model(Loc.LSTN)
    del model.metadata_props[:]
    Path("foreign.onnx").write_bytes(model.SerializeToString())
    assert "no contract" in run_lstn("calibrate", "foreign.onnx", *DIGITS).err
    model = exported_model(Loc.LSTN)
    for number, node in enumerate(model.graph.node):
        node.name = f"node_{number}"
    Path("old.onnx").write_bytes(model.SerializeToString())
    assert "don't say where they belong" in run_lstn("calibrate", "old.onnx", *DIGITS).err


def test_another_data_set_is_refused_and_a_single_class_warned_of(run_lstn: RunLstn) -> None:
    for split in ("train", "val"):
        for number in range(12):
            path = Path("images", split, "only", f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (SIDE, SIDE), (number, 80, 90)).save(path)
    ran = run_lstn("calibrate", "model.onnx", "--data", "folder:images")
    assert ran.code == 1
    assert "class 'only' is not one of the model's 10 classes ('0', …)" in ran.err
    contract = Contract(Loc.NONE, "cnn", (SIDE, SIDE), ("only",))
    Path("one.onnx").write_bytes(onnx_from_torch(Classifier(contract).eval(), contract).SerializeToString())
    ran = run_lstn("calibrate", "one.onnx", "--precision", "fp16", "--data", "folder:images")
    assert ran.code == 0, ran.err
    assert "all images are of one class, only" in " ".join(ran.out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--keep", "spine"), "no layer of this model is called so"),
        (("--keep", "backbone.features.3", "--keep", "localiser"), "'localiser': no layer"),
        (("--keep", "localizer", "--keep", "backbone"), "nothing is left to lower"),
        (("--images", "7"), "7 images to calibrate on, at least 8 are needed\n  use --images 8 or more"),
        (("--data", "folder:nowhere"), "nowhere: no such folder"),
        (("--data", "folder:other"), "is not one of the model's 10 classes"),
    ],
)
def test_what_does_not_fit_a_run_is_said_before_it_is_exported(
    run_lstn: RunLstn, digits_run: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    Path("model.onnx").unlink()
    for split in ("train", "val"):
        for label in "ab":
            path = Path("other", split, label, "0.png")
            path.parent.mkdir(parents=True)
            Image.new("RGB", (SIDE, SIDE), "red").save(path)
    monkeypatch.setattr("lstn.export.onnx.from_checkpoint.write_onnx", None)
    ran = run_lstn("calibrate", "runs/first", *arguments)
    assert ran.code in (1, 2)
    assert said in ran.err
    assert made() == {"runs", "other"}


def test_the_layers_of_a_checkpoint_are_those_of_its_onnx_file() -> None:
    """Else --keep would be judged by other names before the export than after it."""
    model, contract = warping_model(Loc.LSTN)
    checkpoint = Checkpoint(model, contract, Training("digits", 0, 1, 0.5))
    assert set(layer_names(exported_model(Loc.LSTN))) == set(checkpoint.layers)


@pytest.mark.parametrize(
    "command", [("calibrate", "--precision", "fp16"), ("export",), ("export", "--engine", "openvino")]
)
def test_a_model_that_is_not_ours_stays_where_it_is(
    run_lstn: RunLstn, digits_run: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    foreign = exported_model(Loc.LSTN)
    del foreign.metadata_props[:]
    Path("model.onnx").write_bytes(foreign.SerializeToString())
    monkeypatch.setattr("lstn.export.onnx.from_checkpoint.write_onnx", None)
    ran = run_lstn(*command)
    assert ran.code == 2, ran.err
    assert "model.onnx: is there already, and is not an ONNX model that lstn wrote" in ran.err
    assert Path("model.onnx").read_bytes() == foreign.SerializeToString()
    assert made() == {"runs"}
