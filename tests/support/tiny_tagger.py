"""A model that tags, small enough to be worked out by hand: its labels hang on the mean colour of the image."""

from pathlib import Path

import numpy as np
from tiny import SIDE, Tiny, proto_of

from lstn.contract import Contract, Loc, Task

TAGS = ("=1", "cat", "<b>dog</b>", "é")
THRESHOLDS = (0.5, 0.4, 0.7, 0.3)


def tiny_tagger(path: Path, *, seed: int = 27, loc: Loc = Loc.LSTN, image_hw: tuple[int, int] = (SIDE, SIDE)) -> Tiny:
    """Write an ONNX file that gives images of different colours none, one or several labels."""
    contract = Contract(loc, "cnn", image_hw, TAGS, task=Task.TAG, thresholds=THRESHOLDS)
    contract.check()
    random = np.random.default_rng(seed)
    weights, theta_weights = random.normal(size=(3, len(TAGS))) / 100, random.normal(size=(3, 6)) / 600
    tiny = Tiny(path, contract, weights.astype(np.float32), theta_weights.astype(np.float32))
    path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny
