"""Page-locked memory for images: what a GPU copies from without a detour."""

from contextlib import suppress

import numpy as np

from lstn.errors import LstnError
from lstn.images import Pixels
from lstn.runtime.engines.cuda.cuda_seam import Cuda


class PageLockedRows:
    """Rows for images in page-locked memory.

    pixels: (rows, H, W, 3) uint8
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...]) -> None:
        """Allocate.

        Raises:
            DeviceError: there is not enough memory.
        """
        self._cuda = cuda
        with cuda.current():
            self._memory = cuda.pin(int(np.prod(shape)))
        self.pixels: Pixels = self._memory.reshape(shape)

    def close(self) -> None:
        """Give the memory back; nobody may look into it any more."""
        with suppress(LstnError), self._cuda.current():
            self._cuda.unpin(self._memory)
