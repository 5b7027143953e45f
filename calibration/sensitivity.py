"""Sensitivity of layers: which must stay in float32 for accuracy, or average precision, to fall by no more than so
much, measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from lstn.calibration.answer_judge import Answered, AnswerJudge, judge_of
from lstn.calibration.emulate import emulated
from lstn.calibration.kept_layers import layer_names
from lstn.contract import LOGITS, PIXELS, Contract
from lstn.data.dataset import Split
from lstn.data.splits import spaced
from lstn.errors import LstnError
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.machine.memory import batch_of
from lstn.precision import Precision
from lstn.waiting import worked

PROBE_IMAGES = 64
"""How many images a layer's own noise is measured on; whole thousands of logits, and a session for each layer."""

_BATCH = 16

Lower: TypeAlias = Callable[[frozenset[str]], onnx.ModelProto]
"""Kept layers -> the model with all others lowered."""


@dataclass(frozen=True, slots=True)
class SearchStep:
    """One model that was measured on the way: what it keeps beyond what is always kept, and its drop in points."""

    kept: tuple[str, ...]
    drop: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the layers to keep were found.

    noise: layer -> mean square that lowering it alone adds to the logits, over the logits' own; the noisiest first
    steps: in the order in which they were measured
    kept:  all layers to keep
    drop:  what is left of the drop, in points
    """

    noise: dict[str, float]
    steps: tuple[SearchStep, ...]
    kept: frozenset[str]
    drop: float


def fewest_to_keep(
    model: onnx.ModelProto,
    precision: Precision,
    lower: Lower,
    split: Split,
    *,
    contract: Contract,
    always: frozenset[str],
    max_drop: float,
    count: int,
) -> Outcome:
    """Find a set of layers to keep so that top-1 accuracy falls by at most `max_drop` points on `count` images.

    Of a detector it is the average precision.

    Layers are ranked by the noise that each alone brings to the logits. The fewest of the noisiest that suffice are
    looked for by doubling and halving; then each of them is given back if accuracy allows it without. So none of the
    layers kept can be left out, though another choice of as few may exist.

    always: layers that are kept in any case

    Raises:
        LstnError: accuracy falls by more even with a single layer lowered.
    """
    numbers = spaced(len(split), count)
    pixels, labels = zip(*(split[number] for number in numbers), strict=True)
    judge = judge_of(contract, split, numbers, labels)
    search = _Search(model, precision, lower, judge, np.stack(pixels), always)
    if search.drop(()) <= max_drop:
        return search.found({}, ())
    noise = search.rank()
    ranked = tuple(noise)
    needed = _fewest(lambda kept: search.drop(ranked[:kept]) <= max_drop, len(ranked))
    if needed == len(ranked):
        raise LstnError(
            f"no layer can be lowered to {precision.value} within {max_drop:g} points: "
            f"even the least sensitive alone costs {search.drop(ranked[:-1]):.2f}",
            hint="allow a larger drop, or use another precision",
        )
    kept = list(ranked[:needed])
    for layer in reversed(ranked[:needed]):
        without = [other for other in kept if other != layer]
        if search.drop(tuple(without)) <= max_drop:
            kept = without
    return search.found(noise, tuple(kept))


def _fewest(suffices: Callable[[int], bool], most: int) -> int:
    """Return the smallest number that suffices, if more always do; `most` if none below does. 0 doesn't."""
    below, above = 0, 1
    while above < most and not suffices(above):
        below, above = above, 2 * above
    above = min(above, most)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if suffices(middle) else (middle, above)
    return above


class _Search:
    """Measures lowered models, each at most once."""

    def __init__(
        self,
        model: onnx.ModelProto,
        precision: Precision,
        lower: Lower,
        judge: AnswerJudge,
        pixels: Pixels,
        always: frozenset[str],
    ) -> None:
        self._precision, self._lower, self._judge, self._always = precision, lower, judge, always
        self._free = tuple(layer for layer in layer_names(model) if layer not in always)
        self._pixels = pixels
        self._reference = self._answers(model, self._pixels)
        self._right = judge.score(self._reference)
        self._drops: dict[frozenset[str], float] = {}
        self._steps: list[SearchStep] = []

    def drop(self, kept: Sequence[str]) -> float:
        """Return by how many points accuracy falls with these kept too."""
        key = frozenset(kept)
        if key not in self._drops:
            model = emulated(self._lower(self._always | key), self._precision)
            drop = 100 * (self._right - self._judge.score(self._answers(model, self._pixels)))
            self._drops[key] = drop
            self._steps.append(SearchStep(tuple(kept), drop))
        return self._drops[key]

    def rank(self) -> dict[str, float]:
        """Return layer -> noise of lowering it alone, the noisiest first; what all classes share changes no answer."""
        few = spaced(len(self._pixels), PROBE_IMAGES)
        probe = self._pixels[few]
        reference = {name: values[few] for name, values in self._reference.items()}
        exact = reference[LOGITS].astype(np.float64)
        power = _power(exact) or 1.0
        noise = {}
        for layer in worked("lowering each layer alone", self._free, len(self._free)):
            alone = self._always | (frozenset(self._free) - {layer})
            found = self._answers(emulated(self._lower(alone), self._precision), probe)
            noise[layer] = _power(self._judge.logits_like(found, reference) - exact) / power
        return dict(sorted(noise.items(), key=lambda entry: -entry[1]))

    def found(self, noise: dict[str, float], kept: tuple[str, ...]) -> Outcome:
        """Return the outcome."""
        return Outcome(noise, tuple(self._steps), self._always | set(kept), self._drops[frozenset(kept)])

    def _answers(self, model: onnx.ModelProto, pixels: Pixels) -> Answered:
        session = OnnxSession(model.SerializeToString())
        names = list(self._judge.outputs)
        batches = [session.run({PIXELS: batch}, names) for batch in _batches(pixels)]
        return {name: np.concatenate(parts) for name, parts in zip(names, zip(*batches, strict=True), strict=True)}


def _batches(pixels: Pixels) -> Iterator[Pixels]:
    batch = batch_of((pixels.shape[1], pixels.shape[2]), _BATCH)
    for start in range(0, len(pixels), batch):
        yield pixels[start : start + batch]


def _power(logits: npt.NDArray[np.float64]) -> float:
    return float(np.square(logits - logits.mean(axis=-1, keepdims=True)).mean())
