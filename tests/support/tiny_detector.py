"""A detector small enough to be worked out by hand: its regions hang on the mean colour of the image."""

import math
from pathlib import Path

import numpy as np
from tiny import SIDE, Tiny, proto_of

from lstn.contract import Contract, Loc, Task

CLASSES = ("bus", "<b>car</b>", "Ölfaß")


def tiny_detector(path: Path, *, regions: int = 12, seed: int = 0, image_hw: tuple[int, int] = (SIDE, SIDE)) -> Tiny:
    """Write an ONNX file whose regions lie at random, with scores of every size."""
    contract = Contract(
        Loc.GLANCE,
        "cnn",
        image_hw,
        CLASSES,
        view_hw=(SIDE, SIDE),
        crop_hw=(SIDE // 2, SIDE // 2),
        warps=regions,
        task=Task.DETECT,
    )
    contract.check()
    random = np.random.default_rng(seed)
    weights = random.normal(size=(3, math.prod(contract.logits_shape))) / 100
    theta_weights = random.normal(size=(3, math.prod(contract.theta_shape))) / 300
    tiny = Tiny(path, contract, weights.astype(np.float32), theta_weights.astype(np.float32))
    path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny
