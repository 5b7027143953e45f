"""A plan against its ONNX file, before it gets its name. ONNX Runtime stands in for the GPU that runs it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from small_models import Exported

from lstn.contract import LOGITS, THETA
from lstn.errors import MissingExtra, VerificationError
from lstn.export.onnx.verify_onnx import IMAGES, Outputs
from lstn.export.tensorrt.verify_plan import verify_plan
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.plan_file import read_sidecar, sidecar_path
from lstn.images import Pixels
from lstn.machine.gpu import Gpu
from lstn.runtime.engines.prediction import Prediction
from lstn.testing import FakeEngine

L4 = Gpu("NVIDIA L4", "sm89", 23034)


def answers(
    exported: Exported, change: Callable[[Outputs], None] = lambda outputs: None
) -> Callable[[Pixels], Outputs]:
    session = OnnxSession(exported.path)

    def answer(pixels: Pixels) -> Outputs:
        outputs = dict(zip((LOGITS, THETA), session.run({"pixels": pixels}, [LOGITS, THETA]), strict=True))
        change(outputs)
        return outputs

    return answer


def compare(
    exported: Exported, change: Callable[[Outputs], None], precision: str = "fp32", *, tf32: bool = False
) -> int:
    found = verify_plan(
        answers(exported, change), exported.path, exported.contract, exported.images, precision=precision, tf32=tf32
    )
    return found.images


def nudge(outputs: Outputs) -> None:
    outputs[LOGITS] *= 1 + 1e-5


def keep_ten_bits(outputs: Outputs) -> None:
    """Round to what TF32 keeps of a float32: 10 of 23 bits of fraction."""
    for values in outputs.values():
        bits = values.view(np.uint32)
        bits[...] = (bits + 0x1000) & 0xFFFFE000


def swap_classes(outputs: Outputs) -> None:
    outputs[LOGITS] = outputs[LOGITS][:, ::-1]


def swap_images(outputs: Outputs) -> None:
    outputs[LOGITS] = outputs[LOGITS][::-1]
    outputs[THETA] = outputs[THETA][::-1] + np.float32(0.1) * np.arange(len(outputs[THETA]))[:, None, None]


def move(outputs: Outputs) -> None:
    """By a pixel of 48."""
    outputs[THETA] = outputs[THETA] + np.array([[0, 0, 2 / 48], [0, 0, 0]], np.float32)


def lose(outputs: Outputs) -> None:
    outputs[THETA] = np.full_like(outputs[THETA], np.nan)


def test_a_plan_that_rounds_otherwise_passes(exported_lstn: Exported) -> None:
    assert compare(exported_lstn, nudge) == len(exported_lstn.images)


def test_tf32_may_round_as_coarsely_as_it_does_and_float32_may_not(exported_lstn: Exported) -> None:
    assert compare(exported_lstn, keep_ten_bits, tf32=True) == len(exported_lstn.images)
    with pytest.raises(VerificationError, match="in TensorRT the model differs"):
        compare(exported_lstn, keep_ten_bits)


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("change", [swap_classes, swap_images, move])
def test_a_plan_that_computes_something_else_is_refused_in_every_precision(
    exported_lstn: Exported, change: Callable[[Outputs], None], precision: str, tf32: bool
) -> None:
    with pytest.raises(VerificationError, match=r"in TensorRT the model differs from its ONNX file: .* explains"):
        compare(exported_lstn, change, precision, tf32=tf32)


def test_answers_that_are_no_numbers_are_refused(exported_lstn: Exported) -> None:
    with pytest.raises(VerificationError, match="in TensorRT the exported model computes theta that are not finite"):
        compare(exported_lstn, lose)


def opener(exported: Exported, change: Callable[[Outputs], None] = lambda outputs: None) -> object:
    answer = answers(exported, change)

    @contextmanager
    def open_engine(path: Path) -> Iterator[FakeEngine]:
        assert read_sidecar(path).compared_images == 0

        def predict(pixels: Pixels) -> Prediction:
            outputs = answer(pixels)
            return Prediction(outputs[LOGITS], outputs[THETA])

        yield FakeEngine(exported.contract, predict)

    return open_engine


class TestCommand:
    @pytest.fixture
    def export(
        self, exported_lstn: Exported, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., object]:
        def run(*gpus: Gpu, opened: object = None, more: tuple[str, ...] = ()) -> object:
            monkeypatch.setattr("lstn.cli.steps.plan_check.find_gpus", lambda: gpus)
            monkeypatch.setattr("lstn.runtime.engines.opening.open_engine", opened or opener(exported_lstn))
            words = ("--engine", "trt-rtx", "--target", "sm89", "--batch-profile", "1,2,4", "--out", tmp_path)
            return run_lstn("export", exported_lstn.path, *words, *more)

        return run

    def test_where_its_gpu_is_the_sidecar_says_on_how_many_images(
        self, export: Callable[..., object], tmp_path: Path
    ) -> None:
        ran = export(L4)
        assert ran.code == 0, ran.err  # type: ignore[attr-defined]
        assert f"{IMAGES} images against model.onnx: largest logit difference" in ran.out  # type: ignore[attr-defined]
        sidecar = read_sidecar(tmp_path / "model.plan")
        assert (sidecar.compared_images, sidecar.tf32) == (IMAGES, False)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.plan", "model.plan.json"]

    def test_with_tf32_the_sidecar_says_so_and_it_is_judged_by_that(
        self, export: Callable[..., object], exported_lstn: Exported, tmp_path: Path, run_lstn: RunLstn
    ) -> None:
        rounded = opener(exported_lstn, keep_ten_bits)
        assert export(L4, opened=rounded).code == 1  # type: ignore[attr-defined]
        ran = export(L4, opened=rounded, more=("--tf32",))
        assert ran.code == 0, ran.err  # type: ignore[attr-defined]
        assert read_sidecar(tmp_path / "model.plan").tf32 is True
        assert "fp32, with float32 multiplied in TF32" in run_lstn("inspect", tmp_path / "model.plan").out

    @pytest.mark.parametrize("gpus", [(), (Gpu("another", "sm86", 1),)])
    def test_elsewhere_the_sidecar_says_that_it_wasnt(
        self, export: Callable[..., object], tmp_path: Path, gpus: tuple[Gpu, ...]
    ) -> None:
        ran = export(*gpus)
        assert ran.code == 0  # type: ignore[attr-defined]
        told = "not compared with model.onnx, because this machine has no GPU of sm89"
        assert told in ran.out  # type: ignore[attr-defined]
        assert read_sidecar(tmp_path / "model.plan").compared_images == 0

    def test_what_runs_plans_is_not_installed(self, export: Callable[..., object], tmp_path: Path) -> None:
        def missing(path: Path) -> None:
            raise MissingExtra("cuda-python is not installed", hint="run: pip install it")

        ran = export(L4, opened=missing)
        assert ran.code == 0  # type: ignore[attr-defined]
        assert "because cuda-python is not installed; run: pip install it" in ran.out  # type: ignore[attr-defined]
        assert read_sidecar(tmp_path / "model.plan").compared_images == 0

    def test_a_wrong_plan_gets_no_name_and_an_older_one_stays(
        self, export: Callable[..., object], exported_lstn: Exported, tmp_path: Path
    ) -> None:
        wrong = opener(exported_lstn, swap_classes)
        ran = export(L4, opened=wrong)
        assert (ran.code, list(tmp_path.iterdir())) == (1, [])  # type: ignore[attr-defined]
        assert "in TensorRT the model differs from its ONNX file" in ran.err  # type: ignore[attr-defined]
        export(L4)
        before = [path.read_bytes() for path in (tmp_path / "model.plan", sidecar_path(tmp_path / "model.plan"))]
        assert export(L4, opened=wrong).code == 1  # type: ignore[attr-defined]
        assert [(tmp_path / name).read_bytes() for name in ("model.plan", "model.plan.json")] == before
