"""Clips that PyAV writes for tests: an embedded digit that moves over a coloured ground."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lstn.data.digits import digit_rasters
from lstn.images import Pixels

RATE = 25
SIDES = (48, 64)


def moving_digit(count: int, *, step: float = 1.0, number: int = 3, hw: tuple[int, int] = SIDES) -> list[Pixels]:
    """Frames (H, W, 3) uint8 of a white digit that goes to the right by `step` pixels a frame, from the left edge."""
    raster = digit_rasters("test")[0][number].astype(np.uint8) * np.uint8(17)
    frames = []
    for index in range(count):
        frame = np.zeros((*hw, 3), np.uint8)
        frame[..., 2] = 90
        left = round(index * step) % (hw[1] - raster.shape[1] + 1)
        frame[10 : 10 + raster.shape[0], left : left + raster.shape[1]] = raster[..., None]
        frames.append(frame)
    return frames


def write_clip(path: Path, frames: Sequence[Pixels], *, codec: str = "libx264", format_: str | None = None) -> Path:
    """Write frames as a video of RATE frames a second, as exactly as the codec can."""
    with av.open(str(path), "w", format=format_) as container:
        stream = container.add_stream(codec, rate=RATE, options={"crf": "1"} if codec == "libx264" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, RATE)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
