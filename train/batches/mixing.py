"""Training batches mixed through torchvision: each image with the one before it, and their labels alike."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0
"""Of the Beta distribution that draws the shares: as in the papers on mixup (Zhang et al. 2018, on ImageNet) and CutMix
(Yun et al. 2019)."""


class Mixing:
    """Mixes the batches of a run. It can be sent to a worker process.

    kinds: mixup, cutmix or both, of which each batch then gets one, at random
    classes: how many labels there are
    """

    def __init__(self, kinds: tuple[str, ...], *, classes: int, seed: int) -> None:
        known = {
            "mixup": v2.MixUp(alpha=MIXUP_ALPHA, num_classes=classes),
            "cutmix": v2.CutMix(alpha=CUTMIX_ALPHA, num_classes=classes),
        }
        self._seed = seed
        self._steps = [known[kind] for kind in kinds]

    def __call__(self, pixels: Tensor, labels: Tensor, indices: list[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Return mixed images (N, H, W, 3) uint8, and how much each shows of each class, (N, K) float32.

        indices: the numbers of the images. The mixture is the same one for one seed, epoch and batch, always
        """
        key = np.random.SeedSequence([self._seed, epoch, *indices]).generate_state(1, np.uint64)
        before = torch.get_rng_state()  # torchvision draws from the global generator, which dropout draws from as well
        try:
            torch.default_generator.manual_seed(int(key[0] >> np.uint64(1)))
            step = self._steps[int(torch.randint(len(self._steps), (1,)))]
            mixed, targets = step(pixels.permute(0, 3, 1, 2).float(), labels)
        finally:
            torch.set_rng_state(before)
        return mixed.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), targets
