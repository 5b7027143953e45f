"""Slots of ONNX Runtime and OpenVINO: the answers of `infer`, rows that are read in place, and several at once."""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_machine import put_cuda
from tiny import MakeTiny, Tiny

from lstn.contract import Loc
from lstn.errors import DeviceError, UsageError
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.onnxruntime_engine import OnnxEngine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.openvino_engine import open_openvino
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import SLOTS, Slot

Opening = Callable[[Path], AbstractContextManager[Engine]]

ENGINES: dict[str, Opening] = {
    "onnxruntime": lambda path: open_engine(path, threads=1, spin=False),
    "openvino": lambda path: open_openvino(path, threads=1),
}


@pytest.fixture(params=sorted(ENGINES))
def opening(request: pytest.FixtureRequest) -> Opening:
    return ENGINES[request.param]


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def check(tiny: Tiny, prediction: Prediction, pixels: np.ndarray) -> None:
    np.testing.assert_allclose(prediction.logits, tiny.logits(pixels), rtol=1e-5, atol=1e-5)
    if tiny.contract.loc is Loc.NONE:
        assert prediction.theta is None
    else:
        np.testing.assert_allclose(prediction.theta, tiny.theta(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loc", [Loc.LSTN, Loc.NONE])
def test_batches_of_any_size_get_their_own_answers(make_tiny: MakeTiny, opening: Opening, loc: Loc) -> None:
    """And keep them, while later ones are computed in the same rows."""
    tiny = make_tiny(loc=loc)
    under_way: deque[tuple[Slot, np.ndarray]] = deque()
    kept = []
    with opening(tiny.path) as engine, engine.slots(5) as slots:
        assert slots.count == SLOTS
        for seed, count in enumerate((5, 3, 5, 1, 3, 5, 5, 2, 1, 5, 4, 3)):
            if len(under_way) == slots.count:
                slot, pixels = under_way.popleft()
                kept.append((slot.result(), pixels))
            slot, pixels = slots.acquire(), images(count, seed)
            slot.pixels[:count] = pixels
            slot.submit(count)
            under_way.append((slot, pixels))
        kept += [(slot.result(), pixels) for slot, pixels in under_way]
    assert len(kept) == 12
    for prediction, pixels in kept:
        check(tiny, prediction, pixels)


def test_rows_are_read_where_they_are(tiny: Tiny, opening: Opening) -> None:
    """Whatever is written before `submit` counts, wherever the view comes from."""
    with opening(tiny.path) as engine, engine.slots(4) as slots:
        for seed in range(2 * SLOTS):
            slot, pixels = slots.acquire(), images(4, seed)
            rows = [slot.pixels[row] for row in range(4)]
            for row, view in enumerate(rows):
                view[...] = pixels[row]
            slot.submit(4)
            check(tiny, slot.result(), pixels)


def test_what_is_cancelled_says_nothing_of_the_next_batch(tiny: Tiny, opening: Opening) -> None:
    with opening(tiny.path) as engine, engine.slots(2) as slots:
        for seed in range(3 * SLOTS):
            with slots.acquire() as slot:
                slot.pixels[:] = 255
                slot.submit(2)
            with slots.acquire() as slot:
                slot.pixels[:] = images(2, seed)
                slot.submit(2)
                check(tiny, slot.result(), images(2, seed))
        slots.acquire().submit(2)  # and is left alone


def test_slots_and_infer_work_side_by_side(tiny: Tiny, opening: Opening) -> None:
    with opening(tiny.path) as engine, engine.slots(2) as slots:
        for seed in range(4):
            slot = slots.acquire()
            slot.pixels[:] = images(2, seed)
            slot.submit(2)
            check(tiny, engine.infer(images(3, seed)), images(3, seed))
            check(tiny, slot.result(), images(2, seed))


def test_more_rows_than_the_engine_takes_are_refused(tiny: Tiny, opening: Opening) -> None:
    with opening(tiny.path) as engine:
        for rows in (0, engine.max_batch + 1):
            with pytest.raises(UsageError, match="expected from 1 to 1024"):
                engine.slots(rows)


def test_a_failing_session_is_told_and_the_slot_is_free(tiny: Tiny) -> None:
    with open_engine(tiny.path, threads=1) as engine, engine.slots(2) as slots:
        assert isinstance(engine, OnnxEngine)
        engine._session._session = object()
        for _ in range(2 * SLOTS):
            slot = slots.acquire()
            slot.submit(1)
            with pytest.raises(DeviceError, match=r"ONNX Runtime failed on 1 image"):
                slot.result()


def test_on_a_gpu_the_rows_are_page_locked(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime, which computes on the CPU here, reads them like any other memory."""
    gpu = FakeGpu()
    put_cuda(monkeypatch, FakeCudart(gpu))
    with open_engine(tiny.path, threads=1) as engine:
        engine.on_gpu = True
        with engine.slots(4) as slots:
            assert [block.nbytes for block in gpu.pinned.values()] == [4 * 8 * 8 * 3] * SLOTS
            for seed in range(2 * SLOTS):
                slot = slots.acquire()
                slot.pixels[:] = images(4, seed)
                assert slot.pixels.ctypes.data in gpu.pinned
                slot.submit(4)
                check(tiny, slot.result(), images(4, seed))
        assert gpu.live() == {}
        gpu.check_freed()


def test_without_cuda_python_the_rows_are_plain(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: object) -> None:
        raise DeviceError("the driver is too old")

    monkeypatch.setattr("lstn.runtime.engines.onnxruntime_engine.open_cuda", missing)
    with open_engine(tiny.path, threads=1) as engine:
        engine.on_gpu = True
        with engine.slots(4) as slots, slots.acquire() as slot:
            slot.pixels[:] = images(4, 0)
            slot.submit(4)
            check(tiny, slot.result(), images(4, 0))
