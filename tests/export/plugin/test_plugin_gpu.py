"""What only an NVIDIA GPU can tell about the fused sampler. `make gpu-check` runs these."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from host_kernels import ROOT, torch_answer
from small_models import SIDE, warping_model

from benchmarks import sampler
from lstn.contract import Loc
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.plugin.kernel import KERNELS
from lstn.formats.plan_file import Flavour
from lstn.machine.gpu import Device
from lstn.runtime.engines.opening import open_engine

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")]


@pytest.mark.parametrize("name", KERNELS.values())
@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (32, 3, 224, 224), (3, 8, 33, 47), (300, 1, 5, 3)])
def test_kernels_compute_what_pytorch_does(name: str, shape: tuple[int, int, int, int]) -> None:
    images = sampler.in_memory(name, torch.rand(shape))
    theta = sampler.thetas(shape[0])
    theta[0, :, 2] = 3  # wholly outside
    found = sampler.load_kernels()[name](images, theta.cuda()).cpu().numpy()
    wanted = torch_answer(images.cpu().numpy(), theta.numpy())
    assert np.abs(found - wanted).max() < sampler.TOLERANCE[name[-3:]]
    assert (found[0] == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_theta_that_is_no_number_shows(value: float) -> None:
    theta = torch.eye(2, 3).repeat(2, 1, 1)
    theta[1, 0, 0] = value
    for name, kernel in sampler.load_kernels().items():
        warped = kernel(sampler.in_memory(name, torch.rand(2, 3, 9, 12)), theta.cuda()).cpu()
        assert torch.isfinite(warped[0]).all()
        assert torch.isnan(warped[1]).all()


INFER = """
import sys, numpy as np
from pathlib import Path
from lstn.runtime.engines.opening import open_engine
with open_engine(Path("model.plan")) as engine:
    images = np.load("images.npy")
    np.savez("found.npz", *(engine.infer(images[:batch]).logits for batch in (1, 20, 3)))
assert not {"tensorrt.plugin", "lstn.export"} & set(sys.modules)
"""


def test_a_plan_carries_the_kernel_and_runs_where_nobody_knows_the_plugin(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt")
    if tuple(int(part) for part in trt.__version__.split(".")[:2]) < (10, 9):
        pytest.skip("no plugins of this kind before TensorRT 10.9")
    from lstn.export.tensorrt.builder import count_parsed_layers
    from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
    from lstn.export.tensorrt.targets import choose_targets
    from lstn.export.tensorrt.to_plan import write_plan

    model, contract = warping_model(Loc.LSTN)
    images = sample_images("digits", (SIDE, SIDE), seed=0, count=20)
    onnx_file, plan = tmp_path / "model.onnx", tmp_path / "model.plan"
    write_onnx(model, onnx_file, contract, images, fused=True)
    layers = {kind for kind, _ in count_parsed_layers(onnx_file, flavour=Flavour.TRT)}
    assert "PLUGIN_V3" in layers
    assert "GRID_SAMPLE" not in layers
    targets = choose_targets(Flavour.TRT, ())
    write_plan(onnx_file, plan, BuildSettings(flavour=Flavour.TRT, profiles=(BatchRange(1, 4, 32),), targets=targets))
    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-c", INFER], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    found = np.load(tmp_path / "found.npz")
    with open_engine(onnx_file, device=Device.CPU) as engine:
        for name, batch in zip(found.files, (1, 20, 3), strict=True):
            np.testing.assert_allclose(found[name], engine.infer(images[:batch]).logits, rtol=1e-3, atol=1e-3)
