"""One slot of a plan: its memory, its contexts and graphs, and the two halves of a batch."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from lstn.contract import LOGITS, THETA
from lstn.errors import LstnError
from lstn.images import Pixels
from lstn.runtime.engines.cuda.cuda_seam import Event, Stream
from lstn.runtime.engines.cuda.device_pixels import DevicePixels
from lstn.runtime.engines.plans.loaded_plan import LoadedPlan
from lstn.runtime.engines.plans.plan_launch import Launcher
from lstn.runtime.engines.plans.slot_memory import SlotMemory
from lstn.runtime.engines.prediction import Prediction, check_prediction


class PlanSlot:
    """`lstn.runtime.engines.slots.SlotWork` of a plan. Nothing waits but `finish` and `cancel`.

    pixels:   (rows, H, W, 3) uint8, page-locked
    stream:   on which all of it runs
    launcher: its contexts
    """

    def __init__(self, plan: LoadedPlan, rows: int) -> None:
        """Allocate for batches of up to `rows` images, and make contexts.

        Raises:
            DeviceError: there is not enough memory, or TensorRT makes no context.
        """
        self._plan = plan
        self._rows = 0
        self._clock: tuple[Event, Event] | None = None
        self._resources = ExitStack()
        plan.log.lines.clear()
        with plan.cuda.current(), ExitStack() as halfway:
            halfway.push(self._resources)
            room = max(plan.computed(count) for count in range(1, rows + 1))
            scratch = max(1, int(plan.engine.device_memory_size_v2))
            self._memory = SlotMemory(plan.contract, plan.cuda, room, scratch, self._resources)
            self.launcher = Launcher(plan, self._memory)
            self._resources.callback(self.launcher.close)
            self.launcher.open()
            halfway.pop_all()
        self.pixels: Pixels = self._memory.pixels[:rows]

    @property
    def stream(self) -> Stream:
        """On which all of it runs."""
        return self._memory.stream

    def start(self, count: int) -> None:
        """See `SlotWork`."""
        with self._working():
            self._rows = self.launcher.start(count)
            self._plan.cuda.record(self._memory.done, self._memory.stream)

    def start_on_gpu(self, source: DevicePixels, start: int, count: int) -> None:
        """Start to compute images that are on the GPU: `count` of them from `start` on."""
        with self._working():
            self._memory.copy_over(source.address, start, count)
            self._rows, run = self.launcher.prepare(count, often=False)
            run()
            self._memory.copy_out(self._rows)
            self._plan.cuda.record(self._memory.done, self._memory.stream)

    def finish(self, count: int) -> Prediction:
        """See `SlotWork`."""
        with self._working():
            self._plan.cuda.wait(self._memory.done)
        answers = self._memory.answers(self._rows, count)
        prediction = Prediction(answers[LOGITS], answers.get(THETA))
        return check_prediction(prediction, self._plan.contract, count, source=str(self._plan.path))

    def device_ms(self, source: DevicePixels | None, start: int, count: int, *, launches: int) -> float:
        """Return the milliseconds by the GPU's clock that it computes for `count` images: a mean over `launches`.

        source: where they are; None for those in the rows, which are copied before
        """
        with self._working():
            begin, end = self._clock = self._clock or (self._new_event(), self._new_event())
            if source is None:
                self._memory.copy_in(count)
            else:
                self._memory.copy_over(source.address, start, count)
            _, run = self.launcher.prepare(count, often=True)
            run()  # warms up
            self._plan.cuda.record(begin, self._memory.stream)
            for _ in range(launches):
                run()
            self._plan.cuda.record(end, self._memory.stream)
            self._plan.cuda.synchronize(self._memory.stream)
            return self._plan.cuda.elapsed_ms(begin, end) / launches

    def cancel(self) -> None:
        """See `SlotWork`."""
        with suppress(LstnError), self._plan.cuda.current():
            self._plan.cuda.synchronize(self._memory.stream)

    def close(self) -> None:
        """See `SlotWork`. It never raises: after a fault every call fails, and the fault itself was told already."""
        with ExitStack() as last:
            with suppress(LstnError):
                last.enter_context(self._plan.cuda.current())
            self._resources.close()

    def _new_event(self) -> Event:
        event = self._plan.cuda.new_event(timed=True)
        self._resources.callback(self._plan.cuda.destroy_event, event)
        return event

    @contextmanager
    def _working(self) -> Iterator[None]:
        """On the GPU, with nothing under way once it fails: the GPU may read what the caller frees next."""
        self._plan.log.lines.clear()
        try:
            with self._plan.cuda.current():
                yield
        except BaseException:
            self.cancel()
            raise
