"""The stack that a thread's signal handlers run on, kept from libraries that put up their own and take it away."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """Linux's stack_t: address, flags, size in bytes."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give this thread its signal stack back at the end, where a library replaced it meanwhile.

    OpenVINO 2026.4 puts one up in the thread that compiles its first model, and frees it in the thread that drops the
    last one. If that is another thread, the next signal, such as Ctrl-C, finds no stack, and the kernel ends the
    process with a segmentation fault. Does nothing outside of Linux.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    system, before = ctypes.CDLL(None), _Stack()
    system.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        system.sigaltstack(ctypes.byref(before), None)
