"""The start of TensorRT's objects, which answers with nothing, or with less than nothing, under a driver too old."""

import ctypes
from collections.abc import Callable
from typing import Protocol, TypeVar

from lstn.formats.plan_file import Flavour
from lstn.nvidia_driver import refused_by_driver


class _Lines(Protocol):
    def __len__(self) -> int: ...

    def clear(self) -> None: ...


class Heard(Protocol):
    """A logger of TensorRT, as far as a start needs it: the errors since they were last cleared."""

    @property
    def lines(self) -> _Lines:
        """The errors, oldest first."""

    def text(self) -> str:
        """All of them on one line."""


T = TypeVar("T")


def start(make: Callable[[], T], log: Heard, flavour: Flavour, version: str) -> T:
    """Return what `make` makes: TensorRT's Builder or Runtime.

    Where the driver is too old, TensorRT logs an error and returns nothing, which its binding makes a TypeError of; or
    it returns a hollow object, whose next use, or end, is a segmentation fault (10.16 and 11.4). So the log is read
    before the object is touched, and a hollow one is kept for ever.

    Raises:
        DeviceError: it doesn't start. Names the driver, and the extra of lstn for it.
    """
    who = f"{flavour.product} {version}"
    log.lines.clear()
    try:
        made = make()
    except TypeError as error:
        raise refused_by_driver(who, log.text(), extra=flavour.value) from error
    if len(log.lines):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        raise refused_by_driver(who, log.text(), extra=flavour.value)
    return made
