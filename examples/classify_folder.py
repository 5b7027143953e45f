"""Classify a folder of images with an engine, and say where the transformer looked.

    python examples/classify_folder.py photos/ model.onnx

Without arguments it makes both: a folder of signs, and a small model that was trained on them for a few seconds.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from own_images import sign_folder, small_model

import lstn


def classify(folder: Path, engine_file: Path) -> None:
    """Print the label, its probability, and the centre of the crop for every image of a folder."""
    images = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    with lstn.open_engine(engine_file) as engine:
        for path, answer in zip(images, engine.classify(images), strict=True):
            x, y = (0.0, 0.0) if answer.theta is None else answer.theta[:, 2]
            print(f"{path.name:10} {answer}, looking at x {x:+.2f}, y {y:+.2f}")  # from -1 to 1 over the image


if __name__ == "__main__":
    if len(sys.argv) == 3:
        classify(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with TemporaryDirectory() as temporary:
            photos = sign_folder(Path(temporary) / "signs", each=40)
            model_file = small_model(photos, Path(temporary))
            classify(photos / "stop", model_file)
