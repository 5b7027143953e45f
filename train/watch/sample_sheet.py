"""Samples of a generator, of the same noise after every epoch: one picture an epoch, in the folder of the run."""

from pathlib import Path

import torch
from PIL import Image

from lstn.contract import Contract
from lstn.files import replacing
from lstn.nn.generation.generator import Generator
from lstn.warps.drawn_warp import contact_sheet

SAMPLES = "samples"
"""Name of the folder inside a run's."""

_NOISES, _MOST_CLASSES = 8, 16
_SEED = 7


class SampleSheet:
    """Eight rows of pictures, with a column for each of up to 16 classes. A row has one noise: only classes differ."""

    def __init__(self, contract: Contract) -> None:
        self._classes = min(len(contract.labels), _MOST_CLASSES)
        noise = torch.randn(_NOISES, contract.noise, generator=torch.Generator().manual_seed(_SEED))
        self._noise = noise.repeat_interleave(self._classes, dim=0)
        self._labels = torch.arange(self._classes).repeat(_NOISES)

    @torch.no_grad()
    def drawn(self, model: Generator) -> Image.Image:
        """Return what a model paints in evaluation mode, which it is left in."""
        device = model.scale.device
        answer = model.eval()(self._noise.to(device), self._labels.to(device))
        pixels = answer[0] if isinstance(answer, tuple) else answer
        return contact_sheet([Image.fromarray(each) for each in pixels.cpu().numpy()], columns=self._classes, gap=1)


def save_sheet(run: Path, epoch: int, sheet: Image.Image) -> None:
    """Write the sheet of an epoch into the folder of a run."""
    path = run / SAMPLES / f"epoch-{epoch:04d}.png"
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")
