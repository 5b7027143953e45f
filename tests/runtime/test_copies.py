"""Who copies pixels: decoders and feeders, each byte once, and never the thread that waits for the engine."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_machine import Machine, MakeMachine
from PIL import Image
from tiny import Tiny

from lstn.contract import Contract, Loc
from lstn.formats.plan_file import Flavour
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.openvino_engine import open_openvino
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import Slot
from lstn.runtime.inference.predict import predict
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.models.generation import Batching
from lstn.runtime.serving.models.metrics import Metrics
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.requests.request import Input, Request
from lstn.testing import FakeEngine

IMAGE_BYTES = 8 * 8 * 3


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes that were written into slots, or put together by NumPy, by the name of the thread."""
    found: Counter[str] = Counter()

    def count(size: int) -> None:
        found[threading.current_thread().name.rpartition("_")[0] or threading.current_thread().name] += size

    class Counted(np.ndarray[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            count(np.asarray(self)[key].nbytes)
            super().__setitem__(key, value)

        def __array_finalize__(self, source: object) -> None:
            """A copy that NumPy makes of rows counts too, a view doesn't."""
            if isinstance(source, np.ndarray) and self.base is None:
                count(self.nbytes)

    rows = Slot.pixels.fget
    monkeypatch.setattr(Slot, "pixels", property(lambda slot: rows(slot).view(Counted)))
    for name in ("stack", "concatenate"):
        real = getattr(np, name)

        def counting(arrays: Any, *rest: Any, real: Callable[..., Any] = real, **options: Any) -> Any:
            made = real(arrays, *rest, **options)
            if made.dtype == np.uint8:
                count(made.nbytes)
            return made

        monkeypatch.setattr(np, name, counting)
    return found


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        Image.new("RGB", (20, 10), (8 * number, 100, 200)).save(path)
    return paths


@contextmanager
def opened_plan(machine: Machine) -> Iterator[Engine]:
    with open_engine(machine.plan) as engine:
        yield engine
    machine.check_all_given_back()


@pytest.fixture(params=["onnxruntime", "openvino", "trt", "trt-rtx"])
def opening(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[Engine]]:
    if request.param in ("onnxruntime", "openvino"):
        tiny: Tiny = request.getfixturevalue("tiny")
        return lambda: (open_engine if request.param == "onnxruntime" else open_openvino)(tiny.path, threads=1)
    make_machine: MakeMachine = request.getfixturevalue("make_machine")
    return lambda: opened_plan(make_machine(flavour=Flavour(request.param)))


def test_decoders_write_every_pixel_once(
    opening: Callable[[], AbstractContextManager[Engine]], photos: list[Path], copied: Counter[str]
) -> None:
    with opening() as engine:
        rows = [row for rows in predict(engine, photos, batch=8, workers=3) for row in rows]
    assert [row.path for row in rows] == photos
    assert not any(row.error for row in rows)
    assert copied == {"decode": 30 * IMAGE_BYTES}


def test_a_server_copies_requests_once_and_not_where_it_waits_for_the_engine(
    tmp_path: Path, copied: Counter[str]
) -> None:
    contract = Contract(Loc.NONE, "cnn", (8, 8), ("dark", "light"))

    @contextmanager
    def opener(path: Path) -> Iterator[Engine]:
        yield FakeEngine(contract, lambda pixels: Prediction(np.zeros((len(pixels), 2), np.float32), None))

    async def ask(model: ServedModel) -> None:
        await model.load()
        copied.clear()  # of the warm-up
        one, two = (Request((Input("pixels", "UINT8", (n, 8, 8, 3), bytes(n * IMAGE_BYTES)),)) for n in (1, 2))
        await asyncio.gather(*(model.answer(request) for request in (one, two) * 10))

    with ThreadPoolExecutor(1) as decoders:
        model = ServedModel(
            "m",
            tmp_path / "model.onnx",
            Batching(4, 0.0, 100),
            lock=FairLock(),
            metrics=Metrics(),
            decoders=decoders,
            opener=opener,
        )
        asyncio.run(ask(model))
        model.close()
        assert model.generation is not None
        assert model.generation.ended.wait(10)
    assert copied == {"feeder-m": 30 * IMAGE_BYTES}
