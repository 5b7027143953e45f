import gc
import os
import signal
import threading
import time
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import tensorrt_rtx
from hypothesis import given
from hypothesis import strategies as st
from small_models import Exported

from lstn.errors import LstnError
from lstn.export.tensorrt.build_log import BuildLog
from lstn.export.tensorrt.build_progress import Progress, interruptible, monitor_of
from lstn.export.tensorrt.builder import Built, build, count_parsed_layers
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.formats.plan_file import Flavour

Shares = list[tuple[float, str]]


def telling() -> tuple[Progress, Shares]:
    told: Shares = []
    return Progress(lambda share, phase: told.append((share, phase))), told


def test_phases_within_phases_are_shares_of_the_whole() -> None:
    progress, told = telling()
    progress.start("build", None, 4)
    progress.step("build", 0)
    progress.start("time", "build", 2)
    progress.start("kernels", "time", 10)
    progress.step("kernels", 4)  # a half of half of the first of 2 steps, of half of the second of 4
    assert told[-1][0] == pytest.approx(1 / 4 + 1 / 4 * 1 / 2 * 1 / 2 * 1 / 2 * 1 / 2)
    progress.finish("kernels")
    progress.step("time", 0)
    assert told[-1][0] == pytest.approx(1 / 4 + 1 / 4 * 1 / 2 * 1 / 2)
    progress.finish("time")
    progress.step("build", 1)
    assert told[-1] == (2 / 4, "build")
    progress.step("build", 3)
    progress.finish("build")
    assert told[-1] == (1.0, "build")


def test_each_phase_in_a_step_takes_half_of_what_is_left_of_it() -> None:
    progress, told = telling()
    progress.start("build", None, 2)
    for name, left in (("one", 1 / 2), ("two", 1 / 4), ("three", 1 / 8)):
        progress.start(name, "build", 4)
        for step in range(4):
            progress.step(name, step)
        progress.finish(name)
        assert told[-1][0] == pytest.approx(1 / 2 * (1 - left))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)


NAMES = st.sampled_from("abcd")
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), NAMES, st.none() | NAMES, st.integers(-1, 5)),
        st.tuples(st.just("step"), NAMES, st.integers(-1, 9)),
        st.tuples(st.just("finish"), NAMES),
    ),
    max_size=40,
)


@given(CALLS)
def test_whatever_is_called_the_share_never_falls_and_never_passes_one(calls: list[tuple[str, ...]]) -> None:
    progress, told = telling()
    for name, *arguments in calls:
        getattr(progress, name)(*arguments)
    shares = [0.0, *(share for share, _ in told), 1.0]
    assert shares == sorted(shares)


def test_a_cancelled_build_does_not_go_on() -> None:
    progress = Progress()
    progress.start("build", None, 3)
    assert progress.step("build", 0) is True
    progress.cancel()
    assert (progress.step("build", 1), progress.cancelled) == (False, True)


def test_what_the_work_returns_or_raises_comes_back() -> None:
    assert interruptible(lambda: threading.current_thread().name, Progress()).startswith("build")

    def fail() -> None:
        raise LstnError("no")

    with pytest.raises(LstnError, match="no"):
        interruptible(fail, Progress())


def test_what_failed_work_held_is_freed_with_its_error() -> None:
    """Not by some later collection, amid another build: freeing TensorRT's builder waits for a lock."""

    class Held:
        pass

    seen: list[weakref.ref[Held]] = []

    def fail() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise LstnError("no")

    gc.disable()
    try:
        with suppress(LstnError):
            interruptible(fail, Progress())
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()


def test_ctrl_c_waits_for_the_work_to_end_however_often_it_is_pressed() -> None:
    progress, ended = Progress(), []

    def work() -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        deadline = time.monotonic() + 20
        while not progress.cancelled and time.monotonic() < deadline:
            time.sleep(0.001)
        ended.append(progress.cancelled)

    with pytest.raises(KeyboardInterrupt):
        interruptible(work, progress)
    assert ended == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_elsewhere_than_in_the_main_thread_it_works_too() -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(interruptible(lambda: 7, Progress())))
    thread.start()
    thread.join()
    assert answers == [7]


def test_the_monitor_is_tensorrts() -> None:
    progress, told = telling()
    monitor = monitor_of(tensorrt_rtx, progress)
    assert isinstance(monitor, tensorrt_rtx.IProgressMonitor)
    overridden = {name for name in vars(type(monitor)) if not name.startswith("_")}
    assert overridden == {name for name in vars(tensorrt_rtx.IProgressMonitor) if not name.startswith("_")}
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 1) is True
    monitor.phase_finish("build")
    assert told == [(1.0, "build")]


class TestGenuineBuild:
    def build(self, path: Path, report: object) -> Built:
        settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 2, 4),), targets=("sm89",))
        return build(path, settings, report=report)  # type: ignore[arg-type]

    def test_it_is_told_from_nothing_to_nearly_all(self, exported_lstn: Exported) -> None:
        told: Shares = []
        self.build(exported_lstn.path, lambda share, phase: told.append((share, phase)))
        shares = [share for share, _ in told]
        assert shares == sorted(shares)
        assert shares[0] < 0.05
        assert 0.8 < shares[-1] <= 1  # the last of its six steps isn't told
        assert len({phase for _, phase in told}) > 3

    def test_ctrl_c_stops_it(self, exported_lstn: Exported, capfd: pytest.CaptureFixture[str]) -> None:
        shares: list[float] = []

        def press(share: float, phase: str) -> None:
            shares.append(share)
            if len(shares) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

        with pytest.raises(KeyboardInterrupt):
            self.build(exported_lstn.path, press)
        assert len(shares) < 100  # of about 170
        assert capfd.readouterr() == ("", "")
        assert len(self.build(exported_lstn.path, None).data) > 100_000  # and the next one is as ever

    @pytest.mark.parametrize("only_parsed", [False, True])
    def test_ctrl_c_is_not_lost_while_the_model_is_parsed(
        self,
        exported_lstn: Exported,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        only_parsed: bool,
    ) -> None:
        """There the first that Python hears of it is TensorRT's logger, which lets nothing through."""
        add, heard = BuildLog.add, []

        def press(log: BuildLog, severity: str, message: str, *, is_error: bool) -> None:
            heard.append(message)
            if len(heard) == 1:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            add(log, severity, message, is_error=is_error)

        monkeypatch.setattr(BuildLog, "add", press)
        counted = partial(count_parsed_layers, exported_lstn.path, flavour=Flavour.TRT_RTX)
        work = counted if only_parsed else partial(self.build, exported_lstn.path, None)
        with pytest.raises(KeyboardInterrupt):
            work()
        assert len(heard) > 1
        assert capfd.readouterr() == ("", "")
