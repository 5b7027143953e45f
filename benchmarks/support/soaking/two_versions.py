"""Two versions of a small model, which take turns in one file, and what each answers."""

import io
import math
import re
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.support.serve_process import MODEL, Server
from lstn.images import Pixels
from lstn.runtime.engines.opening import open_engine

_SIDE = 32
IMAGES = 48
RELOAD_S = 60.0
"""A reload that takes longer hangs."""

_TOLERANCE = 1e-4
"""Of the largest logit: batches of another size are summed in another order."""


def write_versions(folder: Path) -> tuple[Path, Path]:
    """Export two models of the same contract with different weights, untrained; return their files."""
    from benchmarks.support.loads.made_models import write_model  # which imports PyTorch

    paths = folder / "0.onnx", folder / "1.onnx"
    for seed, path in enumerate(paths):
        write_model(path, "0123456789", (_SIDE, _SIDE), seed=seed)
    return paths


def sample_pixels(image_hw: tuple[int, int]) -> Pixels:
    """Return images of four colours each, (IMAGES, H, W, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(four).resize(image_hw[::-1])) for four in colours])


@dataclass(slots=True)
class _Period:
    """When a version may answer: from the moment that it replaced the other until the server said that it is gone."""

    version: int
    start_s: float
    stop_s: float = math.inf


class TwoVersions:
    """What is served, by which version, and whether an answer is right.

    sources: ONNX files of one contract, which answer differently
    path:    what the server opens; the first of them at the beginning
    pixels:  (IMAGES, H, W, 3) uint8
    files:   the same as PNG
    """

    def __init__(self, sources: tuple[Path, Path], path: Path) -> None:
        self._sources = sources
        self.path = path
        shutil.copyfile(sources[0], path)
        with open_engine(path, spin=False) as engine:
            self.pixels = sample_pixels(engine.contract.image_hw)
        self.files = [_png(image) for image in self.pixels]
        self._logits = [_logits_of(source, self.pixels) for source in sources]
        assert not _close(*self._logits), "the versions answer alike"
        self._periods = [_Period(0, 0.0)]
        self._lock = threading.Lock()

    def fault_of(self, chosen: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], asked_s: float) -> str:
        """Return what is wrong with the answer to images `chosen` that were asked for at `asked_s`; "" if nothing."""
        now = time.monotonic()
        with self._lock:
            allowed = {each.version for each in self._periods if each.stop_s >= asked_s and each.start_s <= now}
        if any(_close(logits, self._logits[version][chosen]) for version in allowed):
            return ""
        if any(_close(logits, answers[chosen]) for answers in self._logits):
            return "the answer is of the version that was replaced"
        return "the answer is not that of these images"

    def replace(self, server: Server) -> str:
        """Put the other version in place and let the server reload it; return what is wrong with that."""
        with self._lock:
            version = 1 - self._periods[-1].version
            self._periods.append(_Period(version, time.monotonic()))
        self._put(self._sources[version].read_bytes())
        told = _reloaded(server)
        with self._lock:
            self._periods[-2].stop_s = time.monotonic()
            del self._periods[:-4]
        return "" if told.endswith(f"reloaded: {MODEL}\n") else f"replaced, the server says {told!r}"

    def damage(self, server: Server) -> str:
        """Put a file in place that is cut off, let the server refuse it; return what is wrong with that."""
        good = self._sources[0].read_bytes()
        self._put(good[: len(good) // 2])
        told = _reloaded(server)
        right = f"{MODEL} is not reloaded: " in told and told.endswith("reloaded: nothing has changed\n")
        return "" if right else f"damaged, the server says {told!r}"

    def _put(self, data: bytes) -> None:
        new = self.path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(self.path)


def _reloaded(server: Server) -> str:
    """Send SIGHUP and return what the server says until it has reloaded."""
    before, stop = server.told.read_text(), time.monotonic() + RELOAD_S
    server.process.send_signal(signal.SIGHUP)
    while time.monotonic() < stop:
        told = server.told.read_text()[len(before) :]
        if re.search(r"^reloaded: .*\n", told, re.MULTILINE):
            return told
        time.sleep(0.02)
    return "nothing"


def _logits_of(path: Path, pixels: Pixels) -> npt.NDArray[np.float32]:
    with open_engine(path, spin=False) as engine:
        return engine.infer(pixels).logits


def _close(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> bool:
    if found.shape != wanted.shape:
        return False
    return bool(np.abs(found - wanted).max() <= _TOLERANCE * np.abs(wanted).max())


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
