"""Train a network of your own behind a transformer on a folder of images, and export it for every engine.

    python examples/train_on_own_images.py photos/ runs/mine

PHOTOS holds a folder of images for each class. Without arguments it is drawn.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from own_images import SIDE, sign_folder
from torch import nn

import lstn


def network(classes: int) -> nn.Module:
    """Any module will do that makes logits (N, classes) of images (N, 3, 32, 32)."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 5 * 5, classes),
    )  # fmt: skip


def train(photos: Path, folder: Path) -> None:
    """Train, export, save, and load again."""
    labels = sorted(path.name for path in photos.iterdir() if path.is_dir())
    model = lstn.nn.Classifier.around(network(len(labels)), labels=labels, image_hw=(SIDE, SIDE), loc="stn")
    result = lstn.fit(
        model,
        photos,
        folder,
        epochs=4,
        on_epoch=lambda epoch: print(f"epoch {epoch['epoch']}: validation accuracy {epoch['val_accuracy']:.1%}"),
    )
    print(f"{result.test_accuracy:.1%} of {result.test_images} test images")
    print(lstn.export_onnx(model, folder / "model.onnx"))
    # The checkpoint doesn't hold the network's code, so loading it takes the network again.
    again = lstn.nn.load_checkpoint(result.checkpoint, backbone=network(len(labels)))
    print(f"loaded {again.contract.loc.value} + {again.contract.backbone}, epoch {again.training.epoch}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with TemporaryDirectory() as temporary:
            train(sign_folder(Path(temporary) / "signs", each=40), Path(temporary) / "run")
