"""TensorRT's timing cache: what a kernel took on this GPU is measured once, and not again in the next build."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lstn.errors import LstnError
from lstn.formats.plan_file import Flavour
from lstn.machine.caches import cache_path, read_cache, write_cache
from lstn.machine.gpu import Gpu
from lstn.terminal import warn


@contextmanager
def timing_cache(trt: Any, config: Any, gpu: Gpu | None) -> Iterator[None]:
    """Give a builder's configuration the timings of earlier builds, and keep them with the new ones if it ends well.

    gpu: the GPU that is built on; without one, as in TensorRT for RTX, which doesn't time kernels, nothing is kept

    Of two builds at the same time the later one's timings stay: a lock would cost more than it saves.
    """
    if gpu is None:
        yield
        return
    try:
        path = cache_path(Flavour.TRT, str(trt.__version__), gpu)
    except LstnError as error:
        warn(f"{error.message}; kernels are timed again")
        yield
        return
    kept = read_cache(path)
    cache = config.create_timing_cache(kept)
    # False asks for timings of this very GPU and version, and refuses any others.
    if kept and (cache is None or not config.set_timing_cache(cache, False)):
        warn(f"{path}: TensorRT {trt.__version__} refuses it; the cache is created again")
        kept, cache = b"", config.create_timing_cache(b"")
    if cache is None:
        warn(f"TensorRT {trt.__version__} makes no timing cache; kernels are timed again")
        yield
        return
    if not kept:
        config.set_timing_cache(cache, False)
    yield
    timed = cache.serialize()
    if timed is not None:
        write_cache(path, memoryview(timed))
