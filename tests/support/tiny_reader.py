"""A reader small enough to be worked out by hand: its symbols hang on the mean colour of the image."""

import math
from pathlib import Path

import numpy as np
from tiny import SIDE, Tiny, proto_of

from lstn.contract import Contract, Loc, Task

ALPHABET = ("0", "<", "é")
WORDS = ("a", "stop", "<é>")


def tiny_reader(
    path: Path,
    *,
    steps: int = 5,
    seed: int = 0,
    loc: Loc = Loc.GLANCE,
    image_hw: tuple[int, int] = (SIDE, SIDE),
    words: bool = False,
) -> Tiny:
    """Write an ONNX file whose symbols and places are random, and whose texts have different lengths.

    words: the symbols are WORDS
    """
    crop_hw = None if loc is Loc.NONE else (SIDE // 2, SIDE // 2)
    labels, between = (WORDS, " ") if words else (ALPHABET, "")
    contract = Contract(loc, "cnn", image_hw, labels, crop_hw=crop_hw, warps=steps, task=Task.READ, separator=between)
    contract.check()
    random = np.random.default_rng(seed)
    weights = random.normal(size=(3, math.prod(contract.logits_shape))) / 100
    theta_weights = random.normal(size=(3, math.prod(contract.theta_shape))) / 300
    tiny = Tiny(path, contract, weights.astype(np.float32), theta_weights.astype(np.float32))
    path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny
