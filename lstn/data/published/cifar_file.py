"""CIFAR-10's batches, which are pickles of a dict with one array, read without letting a pickle call anything."""

import io
import pickle

import numpy as np
import numpy.typing as npt

_SIDE_BYTES = 3 * 32 * 32


class _Shape:
    """Stands for numpy.ndarray and numpy.dtype in the pickle: takes their arguments and state, and does nothing."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _reconstruct(*_arguments: object) -> _Shape:
    return _Shape()


def _encode(text: object, encoding: object) -> bytes:
    """What protocol 2 under Python 3 calls to make bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    return text.encode("latin1")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Shape,
    ("numpy", "dtype"): _Shape,
    ("_codecs", "encode"): _encode,
}


class _Batch(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """Nothing in a batch needs more than these, and none of them does anything."""
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise ValueError(f"it calls {module}.{name}") from None


def read_batch(data: bytes) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Return the images (N, 3072), red, green and blue planes of 32 x 32, and N labels 0..9.

    Raises:
        ValueError: no such batch.
    """
    try:
        batch = _Batch(io.BytesIO(data), encoding="latin1").load()
        _, shape, dtype, fortran, raw = batch["data"].state
        labels = batch["labels"]
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2's str
        if fortran or dtype.arguments[0] != "u1" or not isinstance(raw, bytes):
            raise ValueError("its array is not of bytes")
        pixels = np.frombuffer(raw, np.uint8).reshape(-1, _SIDE_BYTES)
        if tuple(shape) != pixels.shape or not all(type(label) is int for label in labels):
            raise ValueError("its array or its labels are of another shape")
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle raises a dozen types
        raise ValueError(f"no batch of CIFAR-10: {error!r}") from error
    return pixels, list(labels)
