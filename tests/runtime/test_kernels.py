"""The cache of TensorRT for RTX's kernels, against fakes that compile one for each batch size."""

from pathlib import Path

import pytest
from fake_machine import L4, Machine, MakeMachine, rewrite

from lstn.formats.plan_file import Flavour
from lstn.machine.caches import cache_path, read_cache, write_cache
from lstn.runtime.engines.opening import open_engine


def use(machine: Machine, *counts: int) -> list[int]:
    """Infer, check, and return the batch sizes that a kernel was compiled for."""
    with open_engine(machine.plan) as engine:
        for count in counts:
            machine.check(engine.infer(machine.images(count)), machine.images(count))
    machine.check_all_given_back()
    return machine.trt._compiled


@pytest.fixture
def rtx(make_machine: MakeMachine, tmp_path: Path) -> MakeMachine:
    return lambda **options: make_machine(flavour=Flavour.TRT_RTX, caches=tmp_path / "caches", **options)


def path_of(machine: Machine) -> Path:
    return cache_path(Flavour.TRT_RTX, machine.trt.__version__, L4)


def test_what_one_process_compiled_the_next_has(rtx: MakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    assert use(rtx(), 4, 8, 4) == [4, 8]
    machine = rtx()
    before = path_of(machine).stat().st_mtime_ns
    assert use(machine, 8, 4, 4) == []
    assert path_of(machine).stat().st_mtime_ns == before  # nothing new, nothing written
    assert use(rtx(), 3, 8) == [3]
    assert use(rtx(), 3, 8, 4) == []
    assert capfd.readouterr().err == ""


def test_all_contexts_share_one(rtx: MakeMachine) -> None:
    machine = rtx(profiles=((1, 1, 1), (2, 4, 8)))
    with open_engine(machine.plan) as engine:
        for count in (1, 1, 3, 3, 5, 5):
            engine.infer(machine.images(count))
        (cache,) = machine.trt._caches
        assert [context._cache() for context in machine.trt._contexts] == [cache] * 5


def test_a_cache_that_tensorrt_refuses_is_replaced(rtx: MakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    machine = rtx()
    path = path_of(machine)
    write_cache(path, b"0.9 1 2 3 4 5 6 7 8 and much more than will come")
    assert use(machine, 3) == [3]
    told = f"warning: TensorRT for RTX {machine.trt.__version__} refuses {path}: of 0.9; the cache is created again\n"
    assert capfd.readouterr().err == told
    assert read_cache(path) == f"{machine.trt.__version__} 3".encode()


def test_a_damaged_cache_is_replaced(rtx: MakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    machine = rtx()
    path = path_of(machine)
    write_cache(path, b"0.9 1")
    path.write_bytes(path.read_bytes()[:-1])
    assert use(machine, 3) == [3]
    assert capfd.readouterr().err == f"warning: {path}: damaged; the cache is created again\n"
    assert use(rtx(), 3) == []


@pytest.mark.parametrize("name", ["create_runtime_cache", "set_runtime_cache", "deserialize", "serialize"])
def test_whatever_fails_is_told_once_and_the_engine_runs(
    rtx: MakeMachine, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    use(rtx(), 3)
    machine = rtx()
    kept = path_of(machine).read_bytes()
    machine.gpu.fails = lambda index, called: called == name
    use(machine, 3, 5, 3, 5)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: TensorRT for RTX ")
    assert f"{name} said no in two lines" in line
    assert (path_of(machine).read_bytes() == kept) is (name != "deserialize")


def test_a_place_that_cannot_be_written_is_told(
    rtx: MakeMachine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "caches").write_text("no folder")
    assert use(rtx(), 3) == [3]
    read, written = capfd.readouterr().err.splitlines()
    assert read.endswith("continuing without this cache")
    assert written.endswith("the next run starts without this cache")


def test_no_home_is_no_reason_to_stop(
    rtx: MakeMachine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    machine = rtx()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    use(machine, 3)
    assert capfd.readouterr().err == "warning: there is no home folder for a cache; kernels are compiled again\n"


def test_full_tensorrt_has_none(make_machine: MakeMachine, tmp_path: Path) -> None:
    assert use(make_machine(caches=tmp_path / "caches"), 3) == []
    assert not (tmp_path / "caches").exists()


def test_a_plan_for_a_dla_runs_on_that_dla(make_machine: MakeMachine) -> None:
    machine = make_machine()
    rewrite(machine.plan, dla_core=1)
    machine.trt._dla_core = 1
    use(machine, 2)
