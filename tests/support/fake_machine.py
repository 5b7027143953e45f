"""A machine with a GPU: the fakes in place of TensorRT and of what speaks to CUDA, for a conftest.py to import."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cudart import FakeCudart
from fake_gpu import FakeGpu
from fake_pycuda import FakePycuda
from fake_tensorrt import FakeTensorrt
from tiny import MakeTiny, Tiny

from lstn.contract import Loc
from lstn.errors import MissingExtra
from lstn.files import sha256_of
from lstn.formats.plan_file import Flavour, Sidecar, read_sidecar, sidecar_path
from lstn.machine.gpu import Gpu
from lstn.runtime.engines.prediction import Prediction

L4 = Gpu("NVIDIA L4", "sm89", 23034)
TRT_VERSION = "10.13.0.35"


@dataclass(frozen=True)
class Machine:
    plan: Path
    gpu: FakeGpu
    trt: FakeTensorrt
    api: FakeCudart | FakePycuda
    tiny: Tiny

    def images(self, count: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)

    def check(self, prediction: Prediction, pixels: np.ndarray) -> None:
        np.testing.assert_allclose(prediction.logits, self.tiny.logits(pixels), rtol=1e-5)
        if self.tiny.contract.loc is Loc.NONE:
            assert prediction.theta is None
        else:
            np.testing.assert_allclose(prediction.theta, self.tiny.theta(pixels), atol=1e-6)

    def check_all_given_back(self) -> None:
        assert self.gpu.live() == {}
        assert list(self.trt._contexts) == []
        self.gpu.check_freed()
        self.check_others_see_nothing()

    def check_others_see_nothing(self) -> None:
        """PyTorch in the same thread, for example: no error of ours, and no other context."""
        assert self.gpu.last_error == 0
        assert not isinstance(self.api, FakePycuda) or self.api._stack() == []


MakeMachine = Callable[..., Machine]


def found(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
    for module in ("preflight", "kernels"):
        monkeypatch.setattr(f"lstn.runtime.engines.plans.{module}.find_gpus", lambda: gpus)


def rewrite(plan: Path, **changes: object) -> None:
    """Change the sidecar, or its hash after the plan was changed."""
    changes = {"plan_sha256": sha256_of(plan)} | changes
    sidecar_path(plan).write_text(dataclasses.replace(_parsed(plan), **changes).to_json())


def _parsed(plan: Path) -> Sidecar:
    fields = json.loads(sidecar_path(plan).read_text())
    fields["plan_sha256"] = sha256_of(plan)
    sidecar_path(plan).write_text(json.dumps(fields))
    return read_sidecar(plan)


@pytest.fixture
def make_machine(
    plan: Path, make_tiny: MakeTiny, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> MakeMachine:
    """Make a machine with a plan for it, and with no cache but those of a folder that is given.

    wide: logits that the contract doesn't know; pycuda: without cuda-python.

    The files stay as they are if the next machine is made with the same arguments.
    """
    written: dict[object, Tiny] = {}
    rtx_version = read_sidecar(plan).version

    def make(
        *,
        flavour: Flavour = Flavour.TRT,
        pycuda: bool = False,
        loc: Loc = Loc.LSTN,
        profiles: Sequence[tuple[int, int, int]] = ((1, 4, 8),),
        wide: int = 0,
        caches: Path | None = None,
    ) -> Machine:
        key = (flavour, loc, tuple(profiles))
        there = key in written
        tiny = written[key] if there else make_tiny(loc=loc)
        outputs: dict[str, tuple[int, ...]] = {"logits": (4 + wide,)}
        if loc is not Loc.NONE:
            outputs["theta"] = (2, 3)

        def answer(pixels: np.ndarray) -> dict[str, np.ndarray]:
            both = {"logits": tiny.logits(pixels), "theta": tiny.theta(pixels)}
            return {name: both[name].astype(np.float32) for name in outputs}

        gpu, rtx = FakeGpu(), flavour is Flavour.TRT_RTX
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches") if caches is None else caches))
        version = rtx_version if rtx else TRT_VERSION
        trt = FakeTensorrt(gpu, answer, outputs=outputs, profiles=profiles, version=version, rtx=rtx)
        api = FakePycuda(gpu) if pycuda else FakeCudart(gpu)
        found(monkeypatch, L4)
        monkeypatch.setattr("lstn.runtime.engines.plans.preflight.require", lambda *_, **__: trt)
        put_cuda(monkeypatch, api)
        if not there:
            written.clear()
            written[key] = tiny
            plan.write_bytes((b"vtrt" if rtx else b"ftrt") + plan.read_bytes()[4:])
            rewrite(plan, contract=tiny.contract, flavour=flavour, version=version, profiles=tuple(profiles))
        return Machine(plan, gpu, trt, api, tiny)

    return make


def put_cuda(monkeypatch: pytest.MonkeyPatch, api: FakeCudart | FakePycuda) -> None:
    def missing(*_: Any, **__: Any) -> ModuleType:
        raise MissingExtra("cuda-python is not installed", hint="run: pip install 'lstn[trt]'")

    there = isinstance(api, FakeCudart)
    monkeypatch.setattr("lstn.runtime.engines.cuda.cuda_python.require", (lambda *_, **__: api) if there else missing)
    monkeypatch.setattr("lstn.runtime.engines.cuda.pycuda_calls.require", missing if there else (lambda *_, **__: api))
    monkeypatch.setattr("lstn.runtime.engines.cuda.cuda_opening.find_spec", lambda name: None if there else object())
