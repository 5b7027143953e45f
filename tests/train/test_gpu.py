"""What only an NVIDIA GPU can tell about training. `make gpu-check` runs these."""

from pathlib import Path

import pytest
import torch
from short_runs import SILENT, options

from lstn.contract import Contract, Loc
from lstn.nn.checkpoint import load_checkpoint
from lstn.nn.classifier import Classifier
from lstn.train import batch_finding
from lstn.train.batch_finding import find_batch_size
from lstn.train.loop import train_to_end
from lstn.train.objectives.classifier_objective import forward

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")]


@pytest.mark.parametrize("loc", [Loc.STN, Loc.VSTN, Loc.LSTN])
def test_gpu_and_cpu_see_the_same_crop(loc: Loc) -> None:
    torch.manual_seed(0)
    model = Classifier(Contract(loc, "cnn", (224, 224), ("a", "b"))).eval()
    assert model.transformer is not None
    torch.nn.init.normal_(model.transformer.localizer.head[-1].weight, std=0.05)  # type: ignore[index,union-attr]
    pixels = torch.randint(0, 256, (4, 224, 224, 3), dtype=torch.uint8)
    with torch.no_grad():
        images, theta = model.transform(pixels)
        images_gpu, theta_gpu = model.cuda().transform(pixels.cuda())
    assert theta is not None
    assert theta_gpu is not None
    assert torch.allclose(theta_gpu.cpu(), theta, atol=1e-4)
    assert (images_gpu.cpu() - images).abs().mean() < 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_on_the_gpu_learns_and_its_checkpoint_loads_on_the_cpu(precision: str, tmp_path: Path) -> None:
    chosen = options("digits", image_size=64, epochs=6, batch_size=32, lr=0.001, precision=precision)
    result = train_to_end(
        chosen, tmp_path / "run", device=torch.device("cuda"), workers=0, watcher=SILENT, resume=False
    )
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    model = load_checkpoint(result.checkpoint).model
    assert forward(model, torch.zeros((1, 64, 64, 3), dtype=torch.uint8), "fp32").shape == (1, 10)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_batch_size_is_found_and_its_limit_is_that_of_memory(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set large enough for any batch; a fiftieth of the GPU's memory, so that it runs out soon."""
    monkeypatch.setattr(batch_finding, "_SHARE", 0.02)
    monkeypatch.setattr(batch_finding, "FEWEST_STEPS", 1)
    heard: list[int] = []
    chosen = options("digits", model="resnet-18", image_size=224, precision=precision)
    found = find_batch_size(chosen, device=torch.device("cuda"), workers=0, hear=heard.append)
    assert heard[-1] == 2 * found
    again = find_batch_size(chosen, device=torch.device("cuda", 0), workers=0)
    assert again == found
    step = torch.zeros(int(0.05 * torch.cuda.get_device_properties(0).total_memory), dtype=torch.uint8, device="cuda")
    assert step.numel()  # the limit is gone
