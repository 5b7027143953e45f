"""A GPU in plain memory; `fake_cudart` and `fake_pycuda` stand in front of it.

Work waits on its stream until somebody waits for the stream, so that whoever forgets to wait sees nothing. Whatever a
real GPU would answer with garbage or a crash is an AssertionError here: memory that is not there any more or too small,
host memory that isn't page-locked, a thread on another device, a stream that still records.
"""

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

Work = Callable[[], None]

COPY_MS, LEGACY, PER_THREAD = 10.0, 1, 2


class FakeStream:
    def __init__(self) -> None:
        self.pending: deque[Work] = deque()
        self.recording: list[Work] | None = None

    def start(self, work: Work) -> None:
        (self.pending if self.recording is None else self.recording).append(work)


class FakeEvent:
    def __init__(self, *, timing: bool) -> None:
        self.timing, self.at_ms, self.stream, self.mark = timing, None, None, None


class FakeGpu:
    """Memory, streams, events and graphs, counted; and which call fails, of all that anybody makes."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.freed: list[np.ndarray] = []
        self.lost: list[str] = []
        self.streams: dict[int, FakeStream] = {}
        self.others = {LEGACY: FakeStream(), PER_THREAD: FakeStream()}
        self.events: set[FakeEvent] = set()
        self.graphs: dict[int, list[Work]] = {}
        self.recording_threads: set[int] = set()
        self.calls: list[str] = []
        self.fails: Callable[[int, str], bool] = lambda index, name: False
        self.error, self.last_error = (2, b"out of memory"), 0
        self.now_ms = 0.0
        self.handles = iter(range(0x10, 1 << 30, 0x10))
        self.addresses = iter(range(1 << 40, 1 << 60, 1 << 32))

    def fails_now(self, name: str) -> bool:
        self.calls.append(name)
        return self.fails(len(self.calls), name)

    def live(self) -> dict[str, int]:
        """What somebody still has to give back."""
        kinds = ("memory", "pinned", "streams", "events", "graphs", "lost")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}

    def check_freed(self) -> None:
        """Nobody wrote into page-locked memory after it was freed."""
        assert all((block == 0xDD).all() for block in self.freed)

    def allocate(self, size: int) -> int:
        assert size > 0
        assert threading.get_ident() not in self.recording_threads, "no allocation while this thread records"
        address = next(self.addresses)
        self.memory[address] = np.full(size, 0xA5, np.uint8)
        return address

    def pin(self, size: int) -> np.ndarray:
        block = np.full(size, 0x5A, np.uint8)
        self.pinned[block.ctypes.data] = block
        return block

    def unpin(self, address: int) -> None:
        self.freed.append(self.pinned.pop(address))
        self.freed[-1][...] = 0xDD

    def on_gpu(self, address: int, size: int) -> np.ndarray:
        return _within(self.memory, address, size, "GPU")

    def copy(self, target: Callable[[], np.ndarray], source: Callable[[], np.ndarray], stream: int) -> None:
        target(), source()  # the real thing looks at once, too

        def work() -> None:
            target()[...] = source()
            self.now_ms += COPY_MS

        self.any_stream(stream).start(work)

    def host(self, address: int, size: int) -> np.ndarray:
        return _within(self.pinned, address, size, "page-locked host")

    def any_stream(self, handle: int) -> FakeStream:
        found = {**self.streams, **self.others}.get(handle)
        assert found is not None, f"no stream {handle}"
        return found

    def drain(self, stream: FakeStream, until: Work | None = None) -> None:
        assert stream.recording is None, "a stream that records can't be waited for"
        while stream.pending:
            work = stream.pending.popleft()
            work()
            if work is until:
                return

    def drain_all(self) -> None:
        for stream in (*self.streams.values(), *self.others.values()):
            self.drain(stream)

    def record(self, event: FakeEvent, handle: int) -> None:
        assert event in self.events

        def mark() -> None:
            event.at_ms = self.now_ms

        event.stream, event.mark, event.at_ms = self.any_stream(handle), mark, None
        assert event.stream.recording is None
        event.stream.start(mark)

    def wait_for(self, handle: int, event: FakeEvent) -> None:
        assert event in self.events
        stream, mark = event.stream, event.mark
        self.any_stream(handle).start(lambda: self.drain(stream, mark) if mark in stream.pending else None)

    def elapsed_ms(self, begin: FakeEvent, end: FakeEvent) -> float:
        assert begin.timing
        assert end.timing
        return end.at_ms - begin.at_ms


def _within(blocks: dict[int, np.ndarray], address: int, size: int, where: str) -> np.ndarray:
    for start, block in blocks.items():
        if start <= address and address + size <= start + len(block):
            return block[address - start : address - start + size]
    raise AssertionError(f"{size} bytes at {address:#x} are not in {where} memory")
