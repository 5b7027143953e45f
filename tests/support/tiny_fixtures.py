"""The tiny model as an ONNX file and as a plan, and the command line in this process, for a conftest.py to import."""

import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Ran, RunLstn
from tiny import SIDE, MakeTiny, Tiny, proto_of

from lstn.contract import Contract, Loc, ThetaForm
from lstn.files import sha256_of, write_text
from lstn.formats.plan_file import Flavour, Sidecar, Tensor, sidecar_path

LABELS = ("ant", "bee", "cat", "dog")


def tiny_at(path: Path, *, loc: Loc, labels: tuple[str, ...], seed: int, form: ThetaForm = ThetaForm.AFFINE) -> Tiny:
    contract = Contract(loc, "cnn", (SIDE, SIDE), labels, theta=form)
    random = np.random.default_rng(seed)
    weights = random.normal(size=(3, len(labels))) / 20
    theta_weights = random.normal(size=(3, math.prod(contract.theta_shape))) / 1000
    return Tiny(path, contract, weights.astype(np.float32), theta_weights.astype(np.float32))


@pytest.fixture
def make_tiny(tmp_path: Path) -> MakeTiny:
    """Write the model; `edit` may spoil it first."""

    def make(
        name: str = "model.onnx",
        *,
        loc: Loc = Loc.LSTN,
        labels: tuple[str, ...] = LABELS,
        seed: int = 0,
        form: ThetaForm = ThetaForm.AFFINE,
        edit: Callable[[onnx.ModelProto], object] = lambda model: None,
        **options: object,
    ) -> Tiny:
        tiny = tiny_at(tmp_path / name, loc=loc, labels=labels, seed=seed, form=form)
        model = proto_of(tiny, **options)
        edit(model)
        tiny.path.parent.mkdir(exist_ok=True)
        tiny.path.write_bytes(model.SerializeToString())
        return tiny

    return make


@pytest.fixture
def tiny(make_tiny: MakeTiny) -> Tiny:
    return make_tiny()


@pytest.fixture(scope="session")
def built_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for sm86 and sm89 and batches from 1 to 8, built by TensorRT for RTX, without a GPU."""
    import tensorrt_rtx as trt

    folder = tmp_path_factory.mktemp("plan")
    tiny = tiny_at(folder / "model.onnx", loc=Loc.LSTN, labels=LABELS, seed=0)
    tiny.path.write_bytes(proto_of(tiny).SerializeToString())
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    assert trt.OnnxParser(network, builder.logger).parse(tiny.path.read_bytes())
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("pixels", *((size, SIDE, SIDE, 3) for size in (1, 4, 8)))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 2
    for index, target in enumerate((trt.ComputeCapability.SM86, trt.ComputeCapability.SM89)):
        config.set_compute_capability(target, index)
    plan = folder / "model.plan"
    plan.write_bytes(builder.build_serialized_network(network, config))
    sidecar = Sidecar(
        contract=tiny.contract,
        plan_sha256=sha256_of(plan),
        onnx_sha256=sha256_of(tiny.path),
        flavour=Flavour.TRT_RTX,
        version=trt.__version__,
        targets=("sm86", "sm89"),
        profiles=((1, 4, 8),),
        precision="fp32",
        inputs=(Tensor("pixels", "UINT8", (-1, SIDE, SIDE, 3)),),
        outputs=(Tensor("logits", "FLOAT", (-1, 4)), Tensor("theta", "FLOAT", (-1, 2, 3))),
    )
    write_text(sidecar_path(plan), sidecar.to_json())
    return plan


@pytest.fixture
def plan(built_plan: Path, tmp_path: Path) -> Path:
    """A copy of the plan and its sidecar, to be spoilt. No ONNX file stands beside it."""
    for path in (built_plan, sidecar_path(built_plan)):
        shutil.copy(path, tmp_path)
    return tmp_path / built_plan.name


@pytest.fixture
def run_lstn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunLstn:
    """Run `lstn …` in this process, as its entry point does."""
    from lstn.cli.app import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lstn", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        code = exit_.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
