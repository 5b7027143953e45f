"""`lstn calibrate`, and `lstn export --precision`, from the words typed to the files left."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from command import RunLstn
from onnx import numpy_helper
from PIL import Image
from small_models import LABELS, SIDE, exported_model, undecided, warping_model
from tiny_fixtures import run_lstn

from lstn.calibration.kept_layers import layer_names
from lstn.cli.calibrate_report import compare_speed
from lstn.contract import LOGITS, METADATA_KEY, PIXELS, Contract, Loc
from lstn.data.dataset import open_data
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.formats.onnx_file import read_onnx
from lstn.formats.onnx_session import OnnxSession
from lstn.interval import Interval
from lstn.nn.checkpoint import Checkpoint, Training, write_checkpoint
from lstn.nn.classifier import Classifier
from lstn.precision import Precision

__all__ = ["run_lstn"]

DIGITS = ("--data", "digits", "--images", "16")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a float32 model.onnx."""
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(exported_model(Loc.LSTN).SerializeToString())
    return tmp_path


def made() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"model.onnx"}


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
def test_every_precision_is_written_with_its_cost(run_lstn: RunLstn, precision: str) -> None:
    options = DIGITS if precision in ("int8", "fp8") else DIGITS[:2]
    ran = run_lstn("calibrate", "model.onnx", "--precision", precision, *options, "--force")  # it was never trained
    assert ran.code == 0, ran.err
    kept = "the localizer's head" if precision == "fp16" else "the localizer"
    stem = f"model.{precision}"
    ranges = {"model.minmax.ranges.json"} if precision in ("int8", "fp8") else set()
    assert made() == {f"{stem}.onnx", f"{stem}.cost.json", f"{stem}.cost.html"} | ranges
    assert read_onnx(Path(f"{stem}.onnx")).contract == read_onnx(Path("model.onnx")).contract
    cost = json.loads(Path(f"{stem}.cost.json").read_text())["precisions"][precision]
    assert cost["images"] == min(500, len(open_data("digits", image_hw=(SIDE, SIDE)).val))
    assert (cost["drift"]["max_px"] == 0.0) == (precision != "fp16")
    assert "same top-1 as fp32" in ran.out
    assert f"kept in float32: {kept}\n" in ran.out
    assert ("rounding in float32" in ran.err) == (precision in ("bf16", "fp8"))


def test_a_lowered_localizer_drifts(run_lstn: RunLstn) -> None:
    keep = ("--keep", "head", "--force")
    assert run_lstn("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2], *keep).code == 0
    cost = json.loads(Path("model.bf16.cost.json").read_text())["precisions"]["bf16"]
    assert 0.001 < cost["drift"]["p99_px"] < SIDE


def test_the_gate_leaves_no_file(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2]).code == 0
    gate = ("--keep", "head", "--max-drift-px", "0.0001")
    ran = run_lstn("calibrate", "model.onnx", "--precision", "bf16", *DIGITS[:2], *gate)
    assert ran.code == 1
    assert "move by" in ran.err
    assert "no model.bf16.onnx is left" in ran.err
    assert made() == set()


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
    contract = Contract(Loc.LSTN, "cnn", (SIDE, SIDE), ("a", "b"), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
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
    again = ("calibrate", "model.onnx", "--data", "folder:photos", "--images", "32", "--out", "again")
    ran = run_lstn(*again)  # the file alone doesn't say which images it was trained on
    assert ran.code == 2
    assert "error: --data folder:photos is split by a seed" in ran.err
    assert not Path("again").exists()
    assert run_lstn(*again, "--seed", 7).code == 0
    assert json.loads(Path("again/model.minmax.ranges.json").read_text()) == ranges


def test_auto_prints_the_path_it_took(run_lstn: RunLstn) -> None:
    ran = run_lstn("calibrate", "model.onnx", *DIGITS, "--auto", "100")
    assert ran.code == 0
    assert "keeping nothing more: " in ran.out
    assert "--auto 100: " in ran.out


def test_kept_layers_are_said(run_lstn: RunLstn) -> None:
    ran = run_lstn(
        *("calibrate", "model.onnx", *DIGITS, "--keep", "localizer.features.3", "--keep", "backbone.features.0"),
        "--force",
    )
    assert ran.code == 0
    assert "kept in float32: the localizer's head, localizer.features.3, backbone.features.0\n" in ran.out
    names = {node.name for node in onnx.load("model.int8.onnx").graph.node if node.op_type == "QuantizeLinear"}
    assert not any(name.startswith("sampler/GridSample") for name in names)


def test_nothing_kept_is_said_and_a_model_without_a_warp_has_no_bound_on_it(run_lstn: RunLstn) -> None:
    Path("plain.onnx").write_bytes(exported_model(Loc.NONE).SerializeToString())
    ran = run_lstn("calibrate", "plain.onnx", *DIGITS, "--keep", "localizer")
    assert ran.code == 0, ran.err
    assert "kept in float32: nothing\n" in ran.out
    ran = run_lstn("calibrate", "plain.onnx", *DIGITS, "--max-drift-px", "1")
    assert ran.code == 2
    assert "--max-drift-px is for models with a transformer" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("model.onnx",), 2, "doesn't say what it was trained on"),
        (("missing.onnx", *DIGITS), 1, "missing.onnx: No such file"),
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
    contract = Contract(Loc.LSTN, "cnn", (SIDE, SIDE), ("only",))
    Path("one.onnx").write_bytes(onnx_from_torch(Classifier(contract).eval(), contract).SerializeToString())
    ran = run_lstn("calibrate", "one.onnx", "--precision", "fp16", "--data", "folder:images")
    assert ran.code == 0, ran.err
    assert "all images are of one class, only" in " ".join(ran.out.split())


@pytest.mark.parametrize(("precision", "cure"), [("bf16", "--engine openvino"), ("fp8", "--engine trt")])
def test_what_onnx_runtime_has_no_kernels_for_is_sent_elsewhere(run_lstn: RunLstn, precision: str, cure: str) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", precision, *DIGITS[:2], "--force").code == 0
    Image.new("RGB", (SIDE, SIDE)).save("image.png")
    ran = run_lstn("infer", "image.png", "--engine", f"model.{precision}.onnx")
    assert ran.code == 1
    assert f"{precision} is for" in ran.err
    assert cure in ran.err


def test_a_plan_of_fp8_for_an_older_gpu_says_which_have_it(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "fp8", *DIGITS[:2], "--force").code == 0
    ran = run_lstn("export", "model.fp8.onnx", "--engine", "trt-rtx", "--target", "sm86")
    assert ran.code == 1
    assert "fp8 came with sm89" in ran.err


@pytest.fixture
def digits_run() -> Path:
    """A run under ./runs that was trained on the embedded digits."""
    model, contract = warping_model(Loc.LSTN)
    checkpoint = Path("runs", "first", "checkpoint.safetensors")
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, model, contract, Training("digits", 0, 1, 0.5))
    return checkpoint


def test_export_lowers_on_the_way(run_lstn: RunLstn, digits_run: Path) -> None:
    ran = run_lstn("export", "--engine", "trt-rtx", "--target", "sm89", "--precision", "fp8", "--force")
    assert ran.code == 0, ran.err
    assert {"model.fp8.onnx", "model.fp8.plan", "model.fp8.plan.json", "model.fp8.cost.html"} <= made()
    assert json.loads(Path("model.fp8.plan.json").read_text())["precision"] == "fp8"
    assert METADATA_KEY in {entry.key for entry in onnx.load("model.fp8.onnx").metadata_props}


@pytest.mark.parametrize(
    ("arguments", "said", "cure"),
    [
        (("--engine", "onnx", "--precision", "fp8"), "--engine onnx doesn't run fp8", "--engine trt or trt-rtx"),
        (("--engine", "openvino", "--precision", "fp8"), "--engine openvino doesn't run fp8", "trt-rtx"),
        (("--engine", "trt-rtx", "--target", "sm86,sm89", "--precision", "fp8"), "sm86 has no fp8", "int8"),
        (("model.onnx", "--engine", "trt-rtx", "--target", "sm89", "--precision", "int8"), "trained on", "calibrate"),
    ],
)
def test_a_precision_that_the_target_refuses_is_refused_first(
    run_lstn: RunLstn, digits_run: Path, arguments: tuple[str, ...], said: str, cure: str
) -> None:
    ran = run_lstn("export", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert cure in ran.err
    assert made() == {"runs"}


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
    monkeypatch.setattr("lstn.export.onnx.to_onnx.write_onnx", None)
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
    monkeypatch.setattr("lstn.export.onnx.to_onnx.write_onnx", None)
    ran = run_lstn(*command)
    assert ran.code == 2, ran.err
    assert "model.onnx: is there already, and is not an ONNX model that lstn wrote" in ran.err
    assert Path("model.onnx").read_bytes() == foreign.SerializeToString()
    assert made() == {"runs"}


@pytest.mark.parametrize(
    ("ratio", "lowered", "says"),
    [
        (
            Interval(1.73, 1.70, 1.76),
            "model.int8.onnx",
            "int8 is for OpenVINO and TensorRT: lstn export model.int8.onnx",
        ),
        (Interval(1.73, 1.70, 1.76), "model.int8.xml", "keep float32 here"),
        (Interval(1.73, 0.90, 2.00), "model.int8.onnx", ""),
        (Interval(0.40, 0.39, 0.41), "model.int8.onnx", ""),
    ],
)
def test_a_slower_engine_is_said_to_be_slower(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ratio: Interval, lowered: str, says: str
) -> None:
    """As int8 is in ONNX Runtime on many CPUs; a machine too busy to tell says nothing."""
    raced: list[list[Path]] = []

    def race(paths: list[Path], *_: object, **__: object) -> list[SimpleNamespace]:
        raced.append(paths)
        return [SimpleNamespace(ratio=None), SimpleNamespace(ratio=ratio)]

    monkeypatch.setattr("lstn.runtime.bench.timed_engines.bench", race)
    compare_speed(Path("model.onnx"), Path(lowered), Precision.INT8)
    told = " ".join(capsys.readouterr().err.split())
    assert raced == [[Path("model.onnx"), Path(lowered)]]
    assert (says in told) if says else (told == "")
    assert (f"{lowered} takes 1.73 times as long as model.onnx" in told) == bool(says)


def test_an_engine_that_is_not_there_is_no_race(capsys: pytest.CaptureFixture[str]) -> None:
    compare_speed(Path("model.onnx"), Path("gone.onnx"), Precision.INT8)
    compare_speed(Path("model.onnx"), Path("gone.onnx"), Precision.FP8)
    assert capsys.readouterr().err == ""
