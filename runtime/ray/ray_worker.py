"""Workers on the nodes of a Ray cluster: one lists names in pieces, each engine of a pool answers piece by piece.

Between them goes JSON: {"names": […]} or {"listed": count, "skipped": text} or {"failure": …}, and {"rows": […]} for
the first. It holds every name that a file can have, and Ray's columns can't. A failure that a user can understand
travels as an answer, because Ray would wrap an exception in its own, or retry what can't succeed.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.contract import Contract
from lstn.data.folders.listing import Skipped
from lstn.errors import LstnError, UsageError
from lstn.files import scratch_folder
from lstn.images import DecodeLimits
from lstn.imports import require
from lstn.machine.gpu import Device
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.inference.predict import answer_in
from lstn.runtime.inference.row_text import fields_of
from lstn.runtime.inference.sources import is_url, list_images
from lstn.runtime.ray.result_parts import key_of

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class RayModel:
    """An engine that any node can open.

    files:   reference to name -> bytes of the engine's file and of those that belong to it
    threads: of ONNX Runtime or OpenVINO; None for an engine on a GPU
    """

    name: str
    files: Any
    device: Device
    threads: int | None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a node found when it opened the engine."""

    contract: Contract
    max_batch: int


def list_pieces(
    _: dict[str, npt.NDArray[np.object_]], sources: list[str], done: Any, size: int
) -> Iterator[dict[str, npt.NDArray[np.object_]]]:
    """Yield the names that `sources` stand for in pieces of `size`, each name once and without those that are done.

    done: reference to the keys of those, one after the other

    The last piece says how many there were, or what went wrong.
    """
    keys: bytes = require("ray", extra="ray").get(done)
    seen = {keys[start : start + _KEY_BYTES] for start in range(0, len(keys), _KEY_BYTES)}
    before, names = len(seen), list[str]()
    skipped = Skipped()
    try:
        for name in list_images(sources, skipped):
            key = key_of(name)
            if key not in seen:
                seen.add(key)
                names.append(name)
            if len(names) == size:
                yield _cell("piece", {"names": names})
                names = []
        yield _cell("piece", {"names": names})
        yield _cell("piece", {"listed": len(seen) - before, "skipped": skipped.describe()})
    except LstnError as error:
        yield _cell("piece", _failure(error))


class EngineActor:
    """One engine of the pool. The file is gone once it is open, so that a killed process leaves nothing behind."""

    def __init__(
        self, model: RayModel, batch: int, top: int, least: float | None, workers: int, limits: DecodeLimits
    ) -> None:
        self._stack = ExitStack()
        engine, self._folder = _open(model, self._stack)
        slots = self._stack.enter_context(engine.slots(batch))
        self._answers = partial(
            answer_in,
            slots,
            engine.contract,
            batch=batch,
            top=top,
            least=least,
            workers=workers,
            limits=limits,
        )

    def __call__(self, pieces: dict[str, npt.NDArray[np.object_]]) -> Iterator[dict[str, npt.NDArray[np.object_]]]:
        """Yield an answer for each piece."""
        for text in pieces["piece"]:
            piece = json.loads(text)
            yield _cell("answer", self._answer(piece["names"]) if "names" in piece else piece)

    def _answer(self, names: list[str]) -> dict[str, Any]:
        paths = [name if is_url(name) else Path(name) for name in names]
        try:
            return {"rows": [fields_of(row) for rows in self._answers(paths) for row in rows]}
        except LstnError as error:
            return _failure(_renamed(error, self._folder))


def try_engine(model: RayModel) -> Opened | LstnError:
    """Open the engine as the pool will, and return what it is, or why not."""
    with ExitStack() as stack:
        try:
            engine, _ = _open(model, stack)
        except LstnError as error:
            return error
        return Opened(engine.contract, engine.max_batch)


def _open(model: RayModel, stack: ExitStack) -> tuple[Engine, Path]:
    """Return the engine, and the folder that its file was opened in."""
    files: dict[str, bytes] = require("ray", extra="ray").get(model.files)
    with scratch_folder() as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        opening = open_engine(folder / model.name, device=model.device, threads=model.threads, spin=False)
        try:
            return stack.enter_context(opening), folder
        except LstnError as error:
            raise _renamed(error, folder) from error


def _renamed(error: LstnError, folder: Path) -> LstnError:
    """The user knows the engine's file by its name, not where a node had it."""
    message, hint = (text.replace(f"{folder}/", "") for text in (error.message, error.hint))
    return type(error)(message, hint=hint)


def _failure(error: LstnError) -> dict[str, Any]:
    return {"failure": error.message, "hint": error.hint, "usage": isinstance(error, UsageError)}


def _cell(column: str, value: dict[str, Any]) -> dict[str, npt.NDArray[np.object_]]:
    cell = np.empty(1, object)
    cell[0] = json.dumps(value)
    return {column: cell}
