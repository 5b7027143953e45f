"""Arrays of bytes out of a MATLAB 5 file, such as SVHN's. ("MAT-File Format", The MathWorks, chapter 1.)"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_HEADER = 128
_UINT8, _MATRIX, _COMPRESSED = 2, 14, 15


def read_mat(data: bytes, wanted: dict[str, tuple[int | None, ...]], limit: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the arrays that `wanted` names, whose shapes must fit, None being any length.

    limit: in bytes, of all that the file may unpack to

    Raises:
        ValueError: another format, damaged, too large, or without those arrays.
    """
    if len(data) < _HEADER or data[124:128] != b"\x00\x01IM":
        raise ValueError("no little-endian MATLAB 5 file")
    found = {}
    for kind, body in _elements(data[_HEADER:]):
        if kind == _COMPRESSED:
            unzip = zlib.decompressobj()
            inside = unzip.decompress(body, limit)
            limit -= len(inside)
            if limit <= 0 or not unzip.eof:
                raise ValueError("it is cut off, or unpacks to too much")
            kind, body = next(_elements(inside), (0, body))
        if kind == _MATRIX:
            name, array = _matrix(body)
            found[name] = array
    for name, shape in wanted.items():
        array = found.get(name, np.empty(0, np.uint8))
        if array.ndim != len(shape) or any(w not in (None, h) for w, h in zip(shape, array.shape, strict=True)):
            raise ValueError(f"no {name} of {shape} bytes in it, but {array.shape}")
    return {name: found[name] for name in wanted}


def _elements(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """(data type, its bytes) of every element: a tag of 8 bytes and the data, or both in 8 for up to 4."""
    view, start = memoryview(data), 0
    while start + 8 <= len(view):
        kind, size = struct.unpack_from("<II", view, start)
        if kind >> 16:
            kind, size, body = kind & 0xFFFF, kind >> 16, start + 4
            after = start + 8
        else:
            body = start + 8
            after = body + size + (-size % 8 if kind != _COMPRESSED else 0)
        if body + size > len(view):
            raise ValueError("it is cut off")
        yield kind, view[body : body + size]
        start = after


def _matrix(data: memoryview) -> tuple[str, npt.NDArray[np.uint8]]:
    """Name and values of a matrix: array flags, dimensions, name, real part."""
    parts = list(_elements(data))
    if len(parts) < 4:
        raise ValueError("a matrix without its parts")
    (_, lengths), (_, name), (kind, values) = parts[1:4]
    shape = tuple(np.frombuffer(lengths, "<i4").tolist())
    if kind != _UINT8 or min(shape, default=-1) < 0 or math.prod(shape) != len(values):
        raise ValueError("a matrix that is not of bytes, or of another length than its shape")
    return bytes(name).decode("ascii"), np.frombuffer(values, np.uint8).reshape(shape, order="F")
