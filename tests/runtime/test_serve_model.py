"""A model within the server: when it is ready, what an engine's failure becomes, and what several share."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from lstn.contract import Contract, Loc
from lstn.errors import ArtifactError, LstnError
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.models.generation import Batching
from lstn.runtime.serving.models.metrics import Metrics
from lstn.runtime.serving.models.registry import ModelRegistry
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.protocols.descriptions import metadata_of
from lstn.runtime.serving.requests.access import Guard
from lstn.runtime.serving.requests.limits import MAX_HELD_BYTES
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import Input, Request
from lstn.testing import FakeEngine

CONTRACT = Contract(Loc.NONE, "cnn", (2, 2), ("dark", "light"))


def brightness(pixels: Pixels) -> Prediction:
    light = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
    return Prediction(np.stack([255 - light, light], axis=1), None)


def opening(answer: Callable[[Pixels], Prediction]) -> Callable[[Path], AbstractContextManager[Engine]]:
    @contextmanager
    def opener(path: Path) -> Iterator[Engine]:
        yield FakeEngine(CONTRACT, answer, max_batch=64)

    return opener


def request(value: int, count: int = 1) -> Request:
    return Request((Input("pixels", "UINT8", (count, 2, 2, 3), bytes([value]) * 12 * count),))


@contextmanager
def registry_of(tmp_path: Path, **answers: Callable[[Pixels], Prediction]) -> Iterator[ModelRegistry]:
    lock, metrics, batching = FairLock(), Metrics(), Batching(None, 0.0, 100)
    with ThreadPoolExecutor(1) as decoders:
        models = {
            name: ServedModel(
                name,
                tmp_path / "model.onnx",
                batching,
                lock=lock,
                metrics=metrics,
                decoders=decoders,
                opener=opening(answer),
            )
            for name, answer in answers.items()
        }
        yield ModelRegistry(models, Guard(), metrics)
        for model in models.values():
            if model.generation is not None:
                model.generation.batcher.close()
                assert model.generation.ended.wait(10)


async def light(registry: ModelRegistry, name: str, value: int) -> float:
    (logits,) = await registry.answer(name, "", "http", request(value))
    assert isinstance(logits.values, np.ndarray)
    return float(logits.values[0, 1])


def reason_of(registry: ModelRegistry, name: str) -> tuple[Reason, str]:
    with pytest.raises(Refusal) as refused:
        asyncio.run(light(registry, name, 7))
    return refused.value.reason, refused.value.message


def test_nothing_is_ready_before_its_warm_up_batch_is_answered(tmp_path: Path) -> None:
    go, seen = threading.Event(), []

    def slow(pixels: Pixels) -> Prediction:
        seen.append(len(pixels))
        assert go.wait(10)
        return brightness(pixels)

    async def run(registry: ModelRegistry) -> None:
        loading = asyncio.ensure_future(registry.load())
        while not seen:
            await asyncio.sleep(0.01)
        assert not registry.ready
        assert not registry.model_ready("slow", "")
        with pytest.raises(Refusal, match="not ready"):
            await light(registry, "slow", 1)
        with pytest.raises(Refusal, match="not ready"):
            metadata_of(registry.find("slow", ""))
        go.set()
        await loading
        assert registry.ready
        assert seen == [1, 32]
        assert await light(registry, "slow", 200) == 200

    with registry_of(tmp_path, slow=slow) as registry:
        asyncio.run(run(registry))


@pytest.mark.parametrize("error", [ArtifactError("bad"), RuntimeError("/secret/path.py")])
def test_an_engine_that_fails_on_its_first_batch_is_never_ready(tmp_path: Path, error: Exception) -> None:
    def broken(pixels: Pixels) -> Prediction:
        raise error

    with registry_of(tmp_path, broken=broken) as registry:
        with pytest.raises(LstnError):
            asyncio.run(registry.load())
        assert not registry.ready


def test_a_model_whose_answers_are_no_numbers_is_never_ready(tmp_path: Path) -> None:
    def lost(pixels: Pixels) -> Prediction:
        return Prediction(np.full((len(pixels), 2), np.nan, np.float32), None)

    with registry_of(tmp_path, lost=lost) as registry, pytest.raises(ArtifactError, match="not a number"):
        asyncio.run(registry.load())


def test_an_engine_that_fails_later_goes_on_and_says_nothing_of_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def moody(pixels: Pixels) -> Prediction:
        if pixels.max() == 7:
            raise RuntimeError("/secret/path.py")
        if pixels.max() == 8:
            return Prediction(np.full((len(pixels), 2), np.inf, np.float32), None)
        return brightness(pixels)

    with registry_of(tmp_path, moody=moody) as registry:
        asyncio.run(registry.load())
        assert reason_of(registry, "moody") == (Reason.FAILED, "the engine failed")
        with pytest.raises(Refusal, match=r"^the model's answer is not a number$"):
            asyncio.run(light(registry, "moody", 8))
        assert asyncio.run(light(registry, "moody", 9)) == 9
        page = registry.metrics_page()[0].decode()
        assert 'lstn_engine_errors_total{model="moody"} 1.0' in page
        assert 'lstn_requests_total{model="moody",outcome="failed",protocol="http"} 2.0' in page


def test_several_models_compute_in_turn(tmp_path: Path) -> None:
    running, most = [], []

    def counted(pixels: Pixels) -> Prediction:
        running.append(1)
        most.append(len(running))
        threading.Event().wait(0.002)
        running.pop()
        return brightness(pixels)

    async def run(registry: ModelRegistry) -> None:
        await registry.load()
        values = await asyncio.gather(*(light(registry, "ab"[n % 2], n) for n in range(60)))
        assert values == list(range(60))

    with registry_of(tmp_path, a=counted, b=counted) as registry:
        asyncio.run(run(registry))
    assert max(most) == 1


def test_a_stopping_server_answers_what_it_accepted(tmp_path: Path) -> None:
    go = threading.Event()

    def slow(pixels: Pixels) -> Prediction:
        assert pixels.max() == 0 or go.wait(10)
        return brightness(pixels)

    async def run(registry: ModelRegistry) -> None:
        await registry.load()
        accepted = [asyncio.ensure_future(light(registry, "m", n)) for n in range(1, 6)]
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(registry.drain())
        await asyncio.sleep(0.05)
        assert not registry.ready
        assert not draining.done()
        with pytest.raises(Refusal, match="stopping"):
            await light(registry, "m", 9)
        go.set()
        assert await asyncio.gather(*accepted) == [1, 2, 3, 4, 5]
        await asyncio.wait_for(draining, 10)

    with registry_of(tmp_path, m=slow) as registry:
        asyncio.run(run(registry))


def test_the_older_engine_is_closed_once_it_has_answered(tmp_path: Path) -> None:
    async def run(registry: ModelRegistry) -> None:
        await registry.load()
        older = registry.models["m"].generation
        assert await registry.reload() == []
        assert registry.models["m"].generation is older
        (tmp_path / "model.onnx").write_text("newer")
        assert await registry.reload() == ["m"]
        assert await light(registry, "m", 5) == 5
        assert older is not None
        assert older.ended.wait(10)

    with registry_of(tmp_path, m=brightness) as registry:
        asyncio.run(run(registry))


def test_bodies_in_memory_have_a_limit_together(tmp_path: Path) -> None:
    with registry_of(tmp_path, m=brightness) as registry:
        registry.hold(MAX_HELD_BYTES)
        with pytest.raises(Refusal) as refused:
            registry.hold(1)
        assert refused.value.reason is Reason.OVERLOADED
        registry.hold(-1)
        registry.hold(1)
