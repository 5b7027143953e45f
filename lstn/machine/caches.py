"""Caches that one machine keeps between runs: TensorRT's kernel timings, and the kernels that RTX compiled.

A cache only saves time, so nothing that is wrong with one stops anybody: it is told, and made anew.
"""

import hashlib
import os
import re
from pathlib import Path

from lstn.errors import LstnError
from lstn.files import replacing
from lstn.formats.plan_file import Flavour
from lstn.machine.gpu import Gpu
from lstn.terminal import warn, warn_once

_DIGEST_BYTES = 32


def cache_path(flavour: Flavour, version: str, gpu: Gpu) -> Path:
    """Where TensorRT's cache for this version and this GPU is kept, in the user's cache folder.

    For TensorRT that is the builder's timing cache; for TensorRT for RTX the runtime cache, which holds the kernels
    compiled for this GPU, of whatever plan. Neither may be used by another version or model of GPU, so both are named.

    Raises:
        LstnError: neither XDG_CACHE_HOME nor a home folder says where.
    """
    kind = {Flavour.TRT: "timing", Flavour.TRT_RTX: "kernels"}[flavour]
    named = "-".join((flavour.module, version, gpu.target, gpu.name)).lower()
    return cache_folder() / f"{kind}-{re.sub(r'[^a-z0-9.]+', '-', named):.150}.bin"


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/lstn`, or `~/.cache/lstn`. A relative XDG_CACHE_HOME doesn't count, as its specification says.

    Raises:
        LstnError: there is no home folder either.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "lstn"
    try:
        return Path.home() / ".cache" / "lstn"
    except RuntimeError as error:
        raise LstnError("there is no home folder for a cache", hint="set XDG_CACHE_HOME to a folder") from error


def read_cache(path: Path) -> bytes:
    """Return what `write_cache` kept; nothing if there is none, or, with a warning, if it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        _warn(path, error, f"{path}: {error.strerror or error}; continuing without this cache")
        return b""
    digest, kept = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    # TensorRT's own readers are native code, which damaged bytes are better kept away from.
    if digest != hashlib.sha256(kept).digest():
        warn(f"{path}: damaged; the cache is created again")
        return b""
    return kept


def write_cache(path: Path, data: bytes | memoryview) -> None:
    """Keep `data` at `path`, behind its SHA-256. What stood there is replaced whole, or, with a warning, not at all."""
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
    except LstnError as error:
        _warn(path, error.__cause__, f"{error.message}; the next run starts without this cache")


def _warn(path: Path, error: BaseException | None, text: str) -> None:
    """Warn of a file; of a folder that takes or shows none, once for all files in it."""
    if isinstance(error, OSError) and not isinstance(error, IsADirectoryError):
        warn_once(text.replace(str(path), str(path.parent)))
    else:
        warn(text)
