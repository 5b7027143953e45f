"""A cache of pictures that holds up to a number of bytes, and forgets first what was not asked for longest."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from PIL import Image


class PictureCache:
    """Pictures by key. Several threads may ask; a copy in another process starts empty."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pictures: OrderedDict[Hashable, Image.Image] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["PictureCache"], tuple[int]]:
        return PictureCache, (self._most_bytes,)

    def get(self, key: Hashable, make: Callable[[], Image.Image]) -> Image.Image:
        """Return the picture of this key, made if it isn't there. Nobody may change it."""
        with self._lock:
            found = self._pictures.get(key)
            if found is not None:
                self._pictures.move_to_end(key)
                return found
        made = make()
        with self._lock:
            if key not in self._pictures:
                self._bytes += _size(made)
            self._pictures[key] = made
            while self._bytes > self._most_bytes:
                _, dropped = self._pictures.popitem(last=False)
                self._bytes -= _size(dropped)
        return made


def _size(picture: Image.Image) -> int:
    """Bytes in memory: Pillow takes four for a pixel of several channels."""
    return picture.width * picture.height * (1 if picture.mode == "L" else 4)
