"""Times of a call by layer and by part of the model, from what an engine's own profiler reports.

Whatever else the machine does falls on some layer of some call, and in a call of a hundred layers on one of them nearly
always. So the faster half of the calls counts: there, the medians of the layers add up to about the median call.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lstn.formats.node_names import ModelPart
from lstn.formats.onnx_file import Node
from lstn.runtime.bench.latency import Milliseconds
from lstn.runtime.bench.layer_places import OTHER, SEVERAL, Layer, LayerPlace, place_layers

PARTS = (*(part.value for part in ModelPart), SEVERAL, OTHER)
"""What a row of a profile by parts may be, in the order of computation."""


@dataclass(frozen=True, slots=True)
class Span:
    """One layer in one call; start_ms counts from the beginning of the call."""

    layer: Layer
    start_ms: float
    ms: float


@dataclass(frozen=True, slots=True)
class Call:
    """One `Engine.infer` under a profiler, with its spans in the order in which they ran.

    start_ms: from the beginning of the first call
    ms:       end to end, as `lstn bench` times it
    """

    start_ms: float
    ms: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class LayerTime:
    """A part or a layer: its median time in a call, and what share of the median call that is.

    layer:     None for a whole part
    operators: what runs there, the one that takes most first
    layers:    how many of the engine's there are
    """

    part: str
    layer: str | None
    operators: tuple[str, ...]
    layers: int
    ms: float
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Breakdown:
    """Where the time of one engine goes at one batch size.

    via:        what runs it, such as `ONNX Runtime`
    ran:        how many calls there were
    calls:      the faster half of them, in the order in which they ran
    places:     of the spans of each of these
    call_ms:    their median, end to end
    explained:  which share of such a call its layers are together, the median
    outside_ms: what of it is in no layer, the median: copies, launches, Python and the profiler itself
    parts:      those that have layers, in the order of PARTS; OTHER in any case
    layers:     slowest first
    """

    path: Path
    batch: int
    via: str
    ran: int
    calls: tuple[Call, ...]
    places: tuple[tuple[LayerPlace, ...], ...]
    call_ms: float
    explained: float
    outside_ms: float
    parts: tuple[LayerTime, ...]
    layers: tuple[LayerTime, ...]

    def share_of(self, part: str) -> float:
        """Return the share of the call that is spent in a part, 0 if the engine has no layer there."""
        return next((row.share for row in self.parts if row.part == part), 0.0)


def typical_ms(samples: Milliseconds) -> float:
    """Return the median of the faster half of (R,) ms, as `Breakdown.call_ms` is."""
    return float(np.median(samples[_faster_half(samples)]))


def summarize_calls(path: Path, batch: int, via: str, every: Sequence[Call], nodes: Sequence[Node]) -> Breakdown:
    """Say what calls, at least one, are made of; `nodes` are those of model.onnx, if that is what ran."""

    @cache  # every call runs the same layers
    def placed(layers: tuple[Layer, ...]) -> tuple[LayerPlace, ...]:
        return place_layers(layers, nodes)

    calls = [every[index] for index in _faster_half(np.array([call.ms for call in every]))]
    places = tuple(placed(tuple(span.layer for span in call.spans)) for call in calls)
    whole = np.array([call.ms for call in calls])
    inside = np.array([sum(span.ms for span in call.spans) for call in calls])
    call_ms = float(np.median(whole))
    parts = _rows(calls, places, call_ms, lambda place: (place.part, None))
    layers = _rows(calls, places, call_ms, lambda place: (place.part, place.layer))
    if not any(row.part == OTHER for row in parts):
        parts.append(LayerTime(OTHER, None, (), 0, 0.0, 0.0))
    return Breakdown(
        path=path,
        batch=batch,
        via=via,
        ran=len(every),
        calls=tuple(calls),
        places=places,
        call_ms=call_ms,
        explained=float(np.median(inside / whole)),
        outside_ms=float(np.median(whole - inside)),
        parts=tuple(sorted(parts, key=lambda row: PARTS.index(row.part))),
        layers=tuple(sorted(layers, key=lambda row: -row.ms)),
    )


def report_breakdown(breakdown: Breakdown) -> dict[str, object]:
    """Return a breakdown as JSON values, without the single calls."""
    return {
        "path": str(breakdown.path),
        "batch": breakdown.batch,
        "via": breakdown.via,
        "ran": breakdown.ran,
        "calls": len(breakdown.calls),
        "call_ms": breakdown.call_ms,
        "explained": breakdown.explained,
        "outside_ms": breakdown.outside_ms,
        "parts": [asdict(row) for row in breakdown.parts],
        "layers": [asdict(row) for row in breakdown.layers],
    }


def _faster_half(samples: Milliseconds) -> list[int]:
    """Which of (R,) samples they are, in their order; of an odd number the larger half."""
    order = np.argsort(samples, kind="stable")
    return sorted(order[: (len(order) + 1) // 2].tolist())


def _rows(
    calls: Iterable[Call],
    places: Iterable[Sequence[LayerPlace]],
    call_ms: float,
    key_of: Callable[[LayerPlace], tuple[str, str | None]],
) -> list[LayerTime]:
    """Add up within each call what has the same key, then take the median over calls."""
    taken: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    by_operator: dict[tuple[str, str | None], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    running: dict[Hashable, set[Layer]] = defaultdict(set)
    for index, (call, placed) in enumerate(zip(calls, places, strict=True)):
        for span, place in zip(call.spans, placed, strict=True):
            key = key_of(place)
            samples = taken[key]
            samples += [0.0] * (index + 1 - len(samples))
            samples[index] += span.ms
            by_operator[key][place.operator] += span.ms
            running[key].add(span.layer)
    rows = []
    for key, samples in taken.items():
        samples += [0.0] * (index + 1 - len(samples))
        operators = sorted((name for name in by_operator[key] if name), key=lambda name: -by_operator[key][name])
        ms = float(np.median(samples))
        rows.append(LayerTime(*key, tuple(operators), len(running[key]), ms, ms / call_ms))
    return rows
