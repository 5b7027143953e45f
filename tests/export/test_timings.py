import sys
from pathlib import Path

import pytest
from full_tensorrt import FullTensorrt
from small_models import Exported

from lstn.errors import LstnError
from lstn.export.tensorrt.builder import build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.formats.plan_file import Flavour
from lstn.machine.caches import cache_path, read_cache, write_cache
from lstn.machine.gpu import Gpu

ADA = Gpu("NVIDIA L4", "sm89", 24_000)


@pytest.fixture(autouse=True)
def on_ada(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", lambda: (ADA,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def timed(monkeypatch: pytest.MonkeyPatch, trt: FullTensorrt, onnx_file: Path, *, largest: int = 4) -> int:
    """Build, and return how many layers had to be timed."""
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    build(onnx_file, BuildSettings(flavour=Flavour.TRT, profiles=(BatchRange(1, 2, largest),), targets=("sm89",)))
    return trt.timed


def the_cache(version: str = FullTensorrt().__version__, gpu: Gpu = ADA) -> Path:
    return cache_path(Flavour.TRT, version, gpu)


def on(gpu: Gpu = ADA, **options: object) -> FullTensorrt:
    return FullTensorrt(gpu=gpu.name, **options)  # type: ignore[arg-type]


def test_the_second_build_times_nothing(
    exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert timed(monkeypatch, on(), exported_lstn.path) > 20
    assert the_cache().is_file()
    assert timed(monkeypatch, on(), exported_lstn.path) == 0
    assert capsys.readouterr().err == ""


def test_what_one_build_timed_is_there_after_the_next(
    exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, export_once: object
) -> None:
    from lstn.contract import Loc

    both = [exported_lstn.path, export_once(Loc.NONE).path]  # type: ignore[operator]
    for path in both:
        timed(monkeypatch, on(), path)
    assert [timed(monkeypatch, on(), path) for path in both] == [0, 0]


@pytest.mark.parametrize("other", ["version", "gpu"])
def test_another_version_and_another_gpu_have_their_own(
    exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    timed(monkeypatch, on(), exported_lstn.path)
    older = the_cache().read_bytes()
    hopper = Gpu("NVIDIA H200", "sm90", 140_000)
    if other == "gpu":
        monkeypatch.setattr("lstn.export.tensorrt.targets.find_gpus", lambda: (hopper,))
    elsewhere = on(hopper) if other == "gpu" else on(version="10.10.0.31")
    assert timed(monkeypatch, elsewhere, exported_lstn.path) > 20
    assert the_cache().read_bytes() == older
    assert len(list(the_cache().parent.iterdir())) == 2
    assert capsys.readouterr().err == ""


def spoil(path: Path, how: str) -> str:
    """Damage a cache; return what the warning says."""
    kept = read_cache(path)
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "foreign":  # whole, and no timing cache
        write_cache(path, b"nonsense")
        return "TensorRT 10.9.0.34 refuses it; the cache is created again"
    elif how == "elsewhere":  # whole, and of another GPU
        write_cache(path, kept.replace(b"NVIDIA L4", b"NVIDIA T4"))
        return "TensorRT 10.9.0.34 refuses it; the cache is created again"
    return "damaged; the cache is created again"


@pytest.mark.parametrize("how", ["cut off", "flipped", "empty", "foreign", "elsewhere"])
def test_a_spoilt_cache_is_told_and_replaced(
    exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    everything = timed(monkeypatch, on(), exported_lstn.path)
    warning = spoil(the_cache(), how)
    assert timed(monkeypatch, on(), exported_lstn.path) == everything
    assert capsys.readouterr().err == f"warning: {the_cache()}: {warning}\n"
    assert timed(monkeypatch, on(), exported_lstn.path) == 0
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_kept_stops_nobody(
    exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert timed(monkeypatch, on(), exported_lstn.path) > 20
    assert "the next run starts without this cache" in capsys.readouterr().err
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", _homeless)
    assert timed(monkeypatch, on(), exported_lstn.path) > 20
    assert capsys.readouterr().err == "warning: there is no home folder for a cache; kernels are timed again\n"


def test_tensorrt_that_makes_no_cache_builds_all_the_same(
    exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("full_tensorrt.Config.create_timing_cache", lambda *_: None)
    assert timed(monkeypatch, on(), exported_lstn.path) > 20
    assert capsys.readouterr().err == "warning: TensorRT 10.9.0.34 makes no timing cache; kernels are timed again\n"
    assert not the_cache().exists()


def _homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_build_that_fails_keeps_nothing(exported_lstn: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = on()
    monkeypatch.setattr("full_tensorrt.Builder.build_serialized_network", lambda *_: None)
    with pytest.raises(LstnError, match="can't build"):
        timed(monkeypatch, trt, exported_lstn.path)
    assert not the_cache().exists()


def test_rtx_times_nothing_and_keeps_nothing(exported_lstn: Exported, tmp_path: Path) -> None:
    build(
        exported_lstn.path, BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=("sm89",))
    )
    assert not (tmp_path / "cache").exists()
