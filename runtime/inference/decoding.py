"""Decoding of image files by threads: one after the other, or a batch at a time into the rows of a slot."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType

from lstn.contract import Contract
from lstn.errors import ImageError
from lstn.images import USUAL, DecodeLimits, Pixels, decode
from lstn.imaging.framing import framing_of
from lstn.runtime.inference.sources import decode_url

_THREADS = "decode"


def decode_ahead(
    paths: Sequence[Path | str],
    contract: Contract,
    *,
    workers: int,
    window: int,
    limits: DecodeLimits = USUAL,
) -> Generator[tuple[Path | str, Pixels | ImageError], None, None]:
    """Decode files for a model in `workers` threads; yield each with its pixels (H, W, 3) or its error, in their order.

    At most `window` images are decoded, or being decoded, and not yet taken.
    """
    waiting: deque[tuple[Path | str, Future[Pixels]]] = deque()
    remaining = iter(paths)
    executor = ThreadPoolExecutor(workers, thread_name_prefix=_THREADS)
    try:
        while True:
            for path in islice(remaining, window - len(waiting)):
                future = executor.submit(load, path, contract, limits)
                waiting.append((path, future))
            if not waiting:
                return
            path, future = waiting.popleft()
            try:
                yield path, future.result()
            except ImageError as error:
                yield path, error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def load(path: Path | str, contract: Contract, limits: DecodeLimits = USUAL) -> Pixels:
    """Decode a file, or an object by its URL (str), to the input (H, W, 3) of a model.

    Raises:
        ImageError: it can't be read or decoded.
    """
    if isinstance(path, Path):
        return decode(path, contract.image_hw, limits=limits, framing=framing_of(contract))
    return decode_url(path, contract, limits)


class DecodedBatch:
    """Images of one batch, on their way into rows.

    paths:  files (Path) and objects by their URL (str)
    errors: of those that can't be decoded, by their row, whose pixels are black
    kept:   what was decoded, by row, where it is to be kept
    """

    def __init__(self, paths: Sequence[Path | str], rows: Pixels) -> None:
        self.paths = paths
        self.errors: dict[int, ImageError] = {}
        self.kept: dict[int, Pixels] = {}
        self.tasks: list[Future[None]] = []
        self._rows = rows
        self._left = iter(range(len(paths)))
        self._stopped = False

    @property
    def decoded(self) -> bool:
        """Whether every row is there, or a thread failed."""
        return all(task.done() for task in self.tasks)

    @property
    def good(self) -> bool:
        """Whether there is an image among them that could be decoded, once all are."""
        return len(self.errors) < len(self.paths)

    def wait(self) -> None:
        """Wait until every row is there; raise what a thread failed with."""
        for task in self.tasks:
            task.result()

    def work(self, contract: Contract, limits: DecodeLimits, *, keep: bool) -> None:
        """Decode one image after the other that no other thread has begun. Several threads do so at once."""
        for row in self._left:
            if self._stopped:
                return
            path = self.paths[row]
            try:
                pixels = load(path, contract, limits)
            except ImageError as error:
                self.errors[row] = error
                self._rows[row] = 0
                continue
            self._rows[row] = pixels
            if keep:
                self.kept[row] = pixels

    def stop(self) -> None:
        """Begin no image more."""
        self._stopped = True


class Decoders:
    """Threads that decode batches in the order in which they are begun, for a `with`: at its end none of them runs.

    keep: whether what was decoded stays, as `DecodedBatch.kept`
    """

    def __init__(self, workers: int, contract: Contract, limits: DecodeLimits, *, keep: bool) -> None:
        self._workers = workers
        self._contract, self._limits, self._keep = contract, limits, keep
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=_THREADS)
        self._begun: deque[DecodedBatch] = deque()

    def begin(self, paths: Sequence[Path | str], rows: Pixels) -> DecodedBatch:
        """Begin to decode `paths` into the first of `rows`."""
        batch = DecodedBatch(paths, rows)
        for _ in range(min(self._workers, len(paths))):
            work = self._threads.submit(batch.work, self._contract, self._limits, keep=self._keep)
            batch.tasks.append(work)
        while self._begun and self._begun[0].decoded:
            self._begun.popleft()
        self._begun.append(batch)
        return batch

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for batch in self._begun:
            batch.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
