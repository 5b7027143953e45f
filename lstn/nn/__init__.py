"""The network: localizers, the transformer, backbones, the classifier and other tasks' models, and the checkpoint.

    import lstn

    transformer = lstn.nn.SpatialTransformer("lstn", image_hw=(64, 64))
    model = lstn.nn.Classifier.around(my_network, labels=("cat", "dog"), image_hw=(64, 64))

Needs PyTorch and torchvision: pip install 'lstn[train]'. A name's module is imported when the name is first used.
"""

from typing import TYPE_CHECKING

from lstn.imports import lazily

if TYPE_CHECKING:
    from lstn.formats.training_record import Training
    from lstn.nn.aligner import Aligner
    from lstn.nn.backbones import BACKBONES
    from lstn.nn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from lstn.nn.classifier import Classifier
    from lstn.nn.detector import Detector
    from lstn.nn.generation.generator import Generator
    from lstn.nn.reader import Reader
    from lstn.nn.warping.forms import FORMS
    from lstn.nn.warping.grids import affine_grid
    from lstn.nn.warping.localizers import LOCALIZERS, Localizer, build_localizer
    from lstn.nn.warping.spatial_transformer import SpatialTransformer
    from lstn.nn.warping.transformer import compose, sample

__all__ = [
    "BACKBONES",
    "FORMS",
    "LOCALIZERS",
    "Aligner",
    "Checkpoint",
    "Classifier",
    "Detector",
    "Generator",
    "Localizer",
    "Reader",
    "SpatialTransformer",
    "Training",
    "affine_grid",
    "build_localizer",
    "compose",
    "load_checkpoint",
    "sample",
    "save_checkpoint",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "lstn.formats.training_record": "Training",
            "lstn.nn.aligner": "Aligner",
            "lstn.nn.backbones": "BACKBONES",
            "lstn.nn.checkpoint": "Checkpoint load_checkpoint save_checkpoint",
            "lstn.nn.classifier": "Classifier",
            "lstn.nn.detector": "Detector",
            "lstn.nn.generation.generator": "Generator",
            "lstn.nn.reader": "Reader",
            "lstn.nn.warping.forms": "FORMS",
            "lstn.nn.warping.grids": "affine_grid",
            "lstn.nn.warping.localizers": "LOCALIZERS Localizer build_localizer",
            "lstn.nn.warping.spatial_transformer": "SpatialTransformer",
            "lstn.nn.warping.transformer": "compose sample",
        },
    )
