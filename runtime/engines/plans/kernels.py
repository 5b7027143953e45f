"""The kernels that TensorRT for RTX compiles for this GPU when a plan first runs, kept from one process to the next."""

from pathlib import Path
from typing import Any

from lstn.errors import LstnError
from lstn.formats.plan_file import Flavour
from lstn.machine.caches import cache_path, read_cache, write_cache
from lstn.machine.gpu import find_gpus
from lstn.runtime.engines.plans.plan_loading import Log
from lstn.terminal import warn


class KernelCache:
    """The IRuntimeCache that all contexts of one engine share; it has to outlive them.

    It only saves time: whatever is wrong with it is told once, and the engine runs without.
    Of two processes at the same time the later one's kernels stay, as with `lstn.export.tensorrt.timings`.
    """

    def __init__(self, trt: Any, log: Log) -> None:
        """Nothing yet: the first context brings it."""
        self._version = str(trt.__version__)
        self._log = log
        self._opened = self._refused = False
        self._path: Path | None = None
        self._cache: Any = None
        self._kept_bytes = 0

    def share(self, config: Any) -> None:
        """Let the context that is made of an IRuntimeConfig take its kernels from here, and leave new ones here.

        The GPU's context has to be current: TensorRT compares it with the one that the kernels were compiled in.
        """
        if not self._opened:
            self._opened = True
            self._open(config)
        if self._cache is None or self._refused or config.set_runtime_cache(self._cache):
            return
        self._refused = True  # and not let go of: earlier contexts may have it
        self._warn("takes no kernel cache", "kernels are compiled again")

    def keep(self) -> None:
        """Write it back, if there is more in it than there was."""
        if self._cache is None or self._path is None:
            return
        compiled = self._cache.serialize()
        if compiled is None:
            self._warn("can't give its kernels out", "the next run compiles them again")
        elif memoryview(compiled).nbytes > self._kept_bytes:
            write_cache(self._path, memoryview(compiled))

    def _open(self, config: Any) -> None:
        try:
            (gpu, *_) = find_gpus()
            path = cache_path(Flavour.TRT_RTX, self._version, gpu)
        except LstnError as error:
            warn(f"{error.message}; kernels are compiled again")
            return
        cache = config.create_runtime_cache()
        if cache is None:
            self._warn("makes no kernel cache", "kernels are compiled again")
            return
        kept = read_cache(path)
        if kept and not cache.deserialize(kept):  # it is as empty as before then
            self._warn(f"refuses {path}", "the cache is created again")
            kept = b""
        self._path, self._cache, self._kept_bytes = path, cache, len(kept)

    def _warn(self, what: str, outcome: str) -> None:
        """Say so, with what TensorRT said of it, which is then no longer there for a later error to repeat."""
        warn(f"{Flavour.TRT_RTX.product} {self._version} {what}: {self._log.text()}; {outcome}")
        self._log.lines.clear()
