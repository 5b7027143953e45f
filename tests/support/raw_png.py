"""PNG files of every colour type, depth and interlacing, written chunk by chunk; Pillow writes only some of them."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> samples of a pixel (PNG third edition, table 8)."""

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour type -> bits that a sample may have."""

_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass, and their steps (section 8.2)."""


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(
    values: np.ndarray, colour: int, depth: int, *, extra: Sequence[tuple[bytes, bytes]] = (), interlaced: bool = False
) -> bytes:
    """Write samples (H, W, channels) of `depth` bits; extra: chunks in front of the pixels, each its kind and body."""
    rows = []
    for column, row, across, down in _ADAM7 if interlaced else _WHOLE:
        part = values[row::down, column::across]
        if part.size:
            bits = ((part[..., None] >> np.arange(depth)[::-1]) & 1).astype(np.uint8)
            rows += [b"\0" + np.packbits(line).tobytes() for line in bits.reshape(len(part), -1)]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, interlaced)
    parts = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def random_png(
    colour: int, depth: int, *, hw: tuple[int, int], key: bool, interlaced: bool = False, seed: int
) -> bytes:
    """Write random samples; key: with a transparent colour that occurs, or of a palette an alpha for each entry."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**depth, (*hw, CHANNELS[colour]))
    extra = [(b"PLTE", rng.bytes(3 * 2**depth))] if colour == 3 else []
    if key:
        extra.append((b"tRNS", rng.bytes(2**depth) if colour == 3 else values[1, 2].astype(">u2").tobytes()))
    return png_of(values, colour, depth, extra=extra, interlaced=interlaced)
