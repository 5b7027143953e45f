"""A GPU in plain memory; `fake_cudart` and `fake_pycuda` stand in front of it.

Work waits on its stream until somebody waits for the stream, so that whoever forgets to wait sees nothing. Whatever a
real GPU would answer with garbage or a crash is an AssertionError here: memory that is not there any more or too small,
host memory that isn't page-locked or changes while it is copied, a thread on another device, a stream that still
records, two streams in the same memory for activations.

Time is counted, not taken: work begins when its stream, what does it (`in`, `out`, `compute`) and the host have come so
far, and takes what it is said to take. `now_ms` is the host's, which gets on by waiting alone.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Run = Callable[[], None]

COPY_MS, LEGACY, PER_THREAD = 10.0, 1, 2


@dataclass(frozen=True)
class Work:
    """begin: looks at what is there when it is started, and returns what does it. does: which part of the GPU."""

    begin: Callable[[], Run]
    does: str = ""
    ms: float = 0.0


class FakeStream:
    def __init__(self, gpu: "FakeGpu") -> None:
        self.gpu = gpu
        self.pending: deque[Run] = deque()
        self.recording: list[Work] | None = None
        self.end_ms = 0.0

    def start(self, started: Work | Run) -> None:
        work = started if isinstance(started, Work) else Work(lambda: started)
        if self.recording is not None:
            self.recording.append(work)
            return
        self.pending.append(work.begin())
        begins = max(self.end_ms, self.gpu.now_ms, self.gpu.busy_ms.get(work.does, 0.0) if work.does else 0.0)
        self.end_ms = begins + work.ms
        if work.does:
            self.gpu.busy_ms[work.does] = self.end_ms


class FakeEvent:
    def __init__(self, *, timing: bool, blocking: bool) -> None:
        self.timing, self.blocking = timing, blocking
        self.at_ms, self.stream, self.mark, self.done = None, None, None, False


class FakeGpu:
    """Memory, streams, events and graphs, counted; and which call fails, of all that anybody makes."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self.freed: list[np.ndarray] = []
        self.lost: list[str] = []
        self.streams: dict[int, FakeStream] = {}
        self.others = {LEGACY: FakeStream(self), PER_THREAD: FakeStream(self)}
        self.events: set[FakeEvent] = set()
        self.graphs: dict[int, list[Work]] = {}
        self.recording_threads: set[int] = set()
        self.calls: list[str] = []
        self.fails: Callable[[int, str], bool] = lambda index, name: False
        self.error, self.last_error = (2, b"out of memory"), 0
        self.now_ms, self.busy_ms = 0.0, dict[str, float]()
        self.copy_ms = {"in": COPY_MS, "out": COPY_MS, "over": COPY_MS}
        self.integrated, self.mapped = False, dict[int, np.ndarray]()
        self.working: dict[int, list[FakeStream]] = {}
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

    def map(self, address: int) -> int:
        assert self.integrated
        seen = next(self.addresses)
        self.mapped[seen] = self.pinned[address]
        return seen

    def unpin(self, address: int) -> None:
        self.freed.append(self.pinned.pop(address))
        self.mapped = {seen: block for seen, block in self.mapped.items() if block is not self.freed[-1]}
        self.freed[-1][...] = 0xDD

    def on_gpu(self, address: int, size: int) -> np.ndarray:
        return _within({**self.memory, **self.mapped}, address, size, "GPU")

    def copy(self, kind: str, target: Callable[[], np.ndarray], source: Callable[[], np.ndarray], stream: int) -> None:
        """kind: in, out or over."""
        target(), source()  # the real thing looks at once, too

        def begin() -> Run:
            return self.unchanged(source, copied) if kind == "in" else copied

        def copied() -> None:
            target()[...] = source()

        self.any_stream(stream).start(Work(begin, kind, self.copy_ms[kind]))

    def unchanged(self, source: Callable[[], np.ndarray], run: Run) -> Run:
        """Return what runs, once nobody has written into the source since now."""
        before = source().copy()

        def checked() -> None:
            assert (source() == before).all(), "the host wrote into a batch under way"
            run()

        return checked

    def mapped_rows(self, address: int, size: int) -> np.ndarray:
        """Return memory of the host in which an integrated GPU reads; nothing of a GPU's own."""
        found = [block for start, block in self.mapped.items() if start <= address < start + len(block)]
        return found[0][:size] if found else np.zeros(0, np.uint8)

    def alone(self, scratch: int, stream: FakeStream, run: Run) -> Run:
        """Return what runs in memory for activations in which nothing of another stream is under way."""
        streams = self.working.setdefault(scratch, [])
        assert all(each is stream for each in streams), "two streams compute in the same memory"
        streams.append(stream)

        def finished() -> None:
            streams.remove(stream)
            run()

        return finished

    def host(self, address: int, size: int) -> np.ndarray:
        return _within(self.pinned, address, size, "page-locked host")

    def any_stream(self, handle: int) -> FakeStream:
        found = {**self.streams, **self.others}.get(handle)
        assert found is not None, f"no stream {handle}"
        return found

    def drain(self, stream: FakeStream, until: Run | None = None) -> None:
        assert stream.recording is None, "a stream that records can't be waited for"
        while stream.pending:
            run = stream.pending.popleft()
            run()
            if run is until:
                return

    def synchronize(self, stream: FakeStream) -> None:
        self.drain(stream)
        self.now_ms = max(self.now_ms, stream.end_ms)

    def drain_all(self) -> None:
        for stream in (*self.streams.values(), *self.others.values()):
            self.synchronize(stream)

    def record(self, event: FakeEvent, handle: int) -> None:
        assert event in self.events

        def mark() -> None:
            event.done = True

        event.stream, event.mark, event.done = self.any_stream(handle), mark, False
        assert event.stream.recording is None
        event.stream.start(mark)
        event.at_ms = event.stream.end_ms

    def wait(self, event: FakeEvent) -> None:
        assert event in self.events
        assert event.blocking, "whoever waits keeps a core busy"
        assert event.stream is not None, "waits for a moment that nobody marked"
        if not event.done:
            self.drain(event.stream, event.mark)
        self.now_ms = max(self.now_ms, event.at_ms)

    def wait_for(self, handle: int, event: FakeEvent) -> None:
        assert event in self.events
        stream, mark = event.stream, event.mark
        waiting = self.any_stream(handle)
        waiting.start(lambda: self.drain(stream, mark) if mark in stream.pending else None)
        waiting.end_ms = max(waiting.end_ms, event.at_ms)

    def elapsed_ms(self, begin: FakeEvent, end: FakeEvent) -> float:
        assert begin.timing
        assert end.timing
        assert begin.done
        assert end.done
        return end.at_ms - begin.at_ms


def _within(blocks: dict[int, np.ndarray], address: int, size: int, where: str) -> np.ndarray:
    for start, block in blocks.items():
        if start <= address and address + size <= start + len(block):
            return block[address - start : address - start + size]
    raise AssertionError(f"{size} bytes at {address:#x} are not in {where} memory")
