"""What only a machine with an NVIDIA GPU and full TensorRT shows, where the other tests take NVIDIA's word for it."""

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
from small_models import Exported

from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, Tuning
from lstn.export.tensorrt.to_plan import write_plan
from lstn.formats.plan_file import Flavour, Sidecar, runs_compatible_plans
from lstn.machine.caches import cache_path, read_cache, write_cache
from lstn.machine.gpu import Gpu, find_gpus
from lstn.runtime.engines.opening import open_engine

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gpu:
    if not find_gpus():
        pytest.skip("no NVIDIA GPU")
    if importlib.util.find_spec("tensorrt") is None:
        pytest.skip("TensorRT is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return find_gpus()[0]


def write(onnx_file: Path, plan: Path, gpu: Gpu, tuning: Tuning | None = None, report: object = None) -> Sidecar:
    profiles = (BatchRange(1, 1, 1), BatchRange(2, 4, 8))
    tuning = tuning or Tuning()
    settings = BuildSettings(flavour=Flavour.TRT, profiles=profiles, targets=(gpu.target,), tuning=tuning)
    return write_plan(onnx_file, plan, settings, report=report)  # type: ignore[arg-type]


@pytest.mark.parametrize("spoilt", [b"", b"nonsense", "half"])
def test_timings_are_kept_and_spoilt_ones_replaced(
    gpu: Gpu, exported_lstn: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: bytes | str
) -> None:
    path = cache_path(Flavour.TRT, write(exported_lstn.path, tmp_path / "model.plan", gpu).version, gpu)
    whole = read_cache(path)
    assert len(whole) > 100
    write(exported_lstn.path, tmp_path / "again.plan", gpu)
    assert len(read_cache(path)) >= len(whole)
    assert capsys.readouterr().err == ""
    write_cache(path, whole[: len(whole) // 2] if isinstance(spoilt, str) else spoilt)
    write(exported_lstn.path, tmp_path / "third.plan", gpu)
    assert len(read_cache(path)) > 100


@pytest.mark.parametrize(
    "tuning",
    [Tuning(level=1, workspace_mib=256), Tuning(hardware_compatible=True), Tuning(version_compatible=True)],
    ids=["level", "hardware", "version"],
)
def test_a_plan_built_in_each_way_answers(gpu: Gpu, exported_lstn: Exported, tmp_path: Path, tuning: Tuning) -> None:
    if tuning.hardware_compatible and not runs_compatible_plans(gpu.target):
        pytest.skip("neither older GPUs nor Jetson's have hardware-compatible plans")
    write(exported_lstn.path, tmp_path / "model.plan", gpu, tuning)
    with open_engine(tmp_path / "model.plan") as engine, open_engine(exported_lstn.path) as reference:
        for count in (1, 5):
            pixels = exported_lstn.images[:count]
            difference = abs(engine.infer(pixels).logits - reference.infer(pixels).logits).max()
            assert difference < 1e-2


def test_ctrl_c_stops_tensorrt_too(gpu: Gpu, exported_lstn: Exported, tmp_path: Path) -> None:
    def press(share: float, phase: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        write(exported_lstn.path, tmp_path / "model.plan", gpu, report=press)
    assert not (tmp_path / "model.plan").exists()
