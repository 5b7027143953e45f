"""What becomes of a lowered model: `lstn export --precision`, engines that run it, and whether it is faster."""

import json
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from calibrate_words import DIGITS, made
from command import RunLstn
from PIL import Image
from small_models import SIDE

from lstn.cli.display.calibrate_report import compare_speed
from lstn.contract import METADATA_KEY
from lstn.interval import Interval
from lstn.precision import Precision

pytestmark = pytest.mark.usefixtures("folder", "few_digits")


@pytest.mark.parametrize(("precision", "cure"), [("bf16", "--engine openvino"), ("fp8", "--engine trt")])
def test_what_onnx_runtime_has_no_kernels_for_is_sent_elsewhere(run_lstn: RunLstn, precision: str, cure: str) -> None:
    options = DIGITS if precision == "fp8" else DIGITS[:2]
    assert run_lstn("calibrate", "model.onnx", "--precision", precision, *options, "--force").code == 0
    Image.new("RGB", (SIDE, SIDE)).save("image.png")
    ran = run_lstn("infer", "image.png", "--engine", f"model.{precision}.onnx")
    assert ran.code == 1
    assert f"{precision} is for" in ran.err
    assert cure in ran.err


def test_a_plan_of_fp8_for_an_older_gpu_says_which_have_it(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "fp8", *DIGITS, "--force").code == 0
    ran = run_lstn("export", "model.fp8.onnx", "--engine", "trt-rtx", "--target", "sm86")
    assert ran.code == 1
    assert "fp8 came with sm89" in ran.err


def test_a_model_with_float16_between_its_layers_becomes_a_plan(run_lstn: RunLstn) -> None:
    assert run_lstn("calibrate", "model.onnx", "--precision", "int8-fp16", *DIGITS, "--force").code == 0
    ran = run_lstn("export", "model.int8-fp16.onnx", "--engine", "trt-rtx", "--target", "sm89")
    assert ran.code == 0, ran.err
    assert json.loads(Path("model.int8-fp16.plan.json").read_text())["precision"] == "int8"
    assert set(json.loads(Path("model.int8-fp16.cost.json").read_text())["precisions"]) == {"int8-fp16"}


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
        (("--engine", "onnx", "--precision", "int8-fp16"), "onnx doesn't run int8-fp16", "--engine trt or trt-rtx"),
        (("--engine", "openvino", "--precision", "fp8"), "--engine openvino doesn't run fp8", "trt-rtx"),
        (("--engine", "trt-rtx", "--target", "sm86,sm89", "--precision", "fp8"), "sm86 has no fp8", "int8"),
        (("--engine", "trt-rtx", "--target", "sm86", "--precision", "fp8-fp16"), "sm86 has no fp8", "int8"),
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
    compare_speed(Path("model.onnx"), Path("gone.onnx"), Precision.INT8_FP16)
    assert capsys.readouterr().err == ""
