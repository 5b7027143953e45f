"""Generators: noise and a class -> a picture of it, and where its object is: a backbone in front of a transformer."""

from dataclasses import replace

import torch

from lstn.contract import Contract, Loc
from lstn.nn.classifier import build_backbone
from lstn.nn.generation.object_localizer import ObjectLocalizer
from lstn.nn.generation.object_transformer import ObjectTransformer, Painted, tight
from lstn.nn.generation.painter import OF_CLASS, ObjectPainters
from lstn.nn.normalising import Normalising


class Generator(Normalising):
    """The network that a generator's contract describes, newly initialised.

    It is a classifier's two parts in the other order. There the transformer cuts the object out of the picture, and the
    backbone looks at the crop. Here the backbone paints the crop, and the transformer puts it into the picture: a
    localizer looks at the background and answers theta, the sampler warps the object by the inverse, and its mask mixes
    it with the background. Of loc `none` the backbone paints the picture (DCGAN, Radford et al. 2016).

    contract:      what it is, of the task generate
    backbone:      paints the object and the background, or the picture
    transformer:   puts the object into the picture; None for loc `none`
    discriminator: the contract's backbone as a classifier, whose logit of a class says how real a picture of that class
                   looks (Mescheder et al. 2018). What the generator answers does not depend on it

    Raises:
        UsageError: no such generator, or pictures too small for the localizer or the discriminator.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        contract.check()
        self.transformer = None if contract.loc is Loc.NONE else _transformer(contract)
        self.backbone = ObjectPainters(contract)
        self.discriminator = build_backbone(discriminated(contract))

    def paint(self, noise: torch.Tensor, labels: torch.Tensor) -> Painted:
        """Noise (N, Z) float32 and labels (N,) int64 -> pictures, and where their objects are."""
        painted, background, code = self.backbone(noise, labels)
        if self.transformer is None:
            return Painted(painted, None, None)
        of_object: Painted = self.transformer(painted, background, code)
        return of_object

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(N, Z) float32, (N,) int64 -> pixels (N, H, W, 3) uint8 RGB, and theta (N, 2, 3) float32 but for loc `none`.

        theta maps the upright object, from edge to edge of what of its mask is solid, to the picture: it is what
        `Pose.theta` is of a set that knows its poses, so boxes follow from it in the same way.
        """
        painted = self.paint(noise, labels)
        # Rounded, and not cut off, so that a difference of 1e-7 between engines seldom is one of a gray level.
        pixels = torch.round(painted.pictures.permute(0, 2, 3, 1) * 255).clamp(0, 255).to(torch.uint8)
        if painted.theta is None or painted.mask is None:
            return pixels
        return pixels, tight(painted.theta, painted.mask)

    def standardise(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) in 0..1 -> as the discriminator sees them, normalised by the contract's numbers."""
        return pictures * (255 * self.scale) + self.shift

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """How real the discriminator takes images of these classes to be: (N, 3, H, W) normalised, (N,) -> (N,)."""
        logits: torch.Tensor = self.discriminator(images)
        return logits.gather(1, labels[:, None])[:, 0]


def discriminated(contract: Contract) -> Contract:
    """Return the contract of a generator with the discriminator's view of it: no crop, but whole pictures."""
    return replace(contract, crop_hw=None)


def _transformer(contract: Contract) -> ObjectTransformer:
    localizer = ObjectLocalizer(
        contract.loc,
        contract.image_hw,
        view_hw=contract.view_hw,
        object_hw=contract.backbone_hw,
        code=contract.noise + OF_CLASS,
        theta=contract.theta,
    )
    return ObjectTransformer(localizer, contract.image_hw)
