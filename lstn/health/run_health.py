"""Health of a training run, read from its metrics.jsonl: above all whether its transformer is alive."""

import json
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, TypedDict, get_args

from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import what_is
from lstn.health.chance import FEWEST_EPOCHS, at_chance, chance_cure, chance_warning
from lstn.health.follow import follow_of, in_detail
from lstn.health.liveness import Health, State

METRICS = "metrics.jsonl"
_MODELS = (".onnx", ".plan", ".xml", ".safetensors")

_MOST_BYTES = 64 << 20
_STATES = frozenset(get_args(State))
_SHARES = ("outside_share", "accuracy", "accuracy_identity", "accuracy_swapped")


class _Figures(TypedDict):
    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class Epoch(_Figures, total=False):
    """One line of metrics.jsonl. Losses in nats, accuracies 0..1, seconds of training and validation.

    chance:      the validation accuracy up to which a model is at chance (`lstn.health.chance`); older runs lack it
    transformer: how it was after the epoch; not there without one
    """

    chance: float
    transformer: Health


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a run came to so far.

    epochs:         whole epochs
    best_epoch:     the first one with the highest validation accuracy, whose weights are the checkpoint
    best_accuracy:  that accuracy, 0..1
    test_accuracy:  0..1; None for a run that hasn't ended
    transformer:    how it was after the last epoch; None for a run without one, or of an older lstn
    since:          the epoch from which on the transformer is in its present state
    at_best:        its state in the best epoch
    chance:         the validation accuracy up to which a model is at chance, 0..1; None for a run of an older lstn
    """

    epochs: int
    best_epoch: int
    best_accuracy: float
    test_accuracy: float | None
    transformer: Health | None
    since: int | None
    at_best: State | None
    chance: float | None = None

    @property
    def at_chance(self) -> bool:
        """Whether the model of a run that had time to begin knows no more than the commonest class."""
        early = self.test_accuracy is None and self.epochs < FEWEST_EPOCHS
        return not early and at_chance(self.best_accuracy, self.chance)


def diagnose(run: Path) -> Diagnosis:
    """Read `run`, a run's folder or its metrics.jsonl.

    Raises:
        UsageError: no metrics there.
        ArtifactError: damaged.
    """
    path = run / METRICS if run.is_dir() else run
    if path.is_file() and path.suffix in _MODELS:
        raise UsageError(f"{run} is not a run", hint=f"see what it is with: lstn inspect {run}; doctor looks at runs")
    if not path.is_file():
        raise UsageError(
            f"{path}: {what_is(path)}", hint="name the folder of a run that has finished an epoch, such as runs/NAME"
        )
    if path.stat().st_size > _MOST_BYTES:
        raise ArtifactError(f"{path}: larger than {_MOST_BYTES >> 20} MiB, so no metrics of lstn")
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return _diagnosis([row for row in rows if "epoch" in row], rows[-1])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ArtifactError(f"{path}: not the metrics of a run of lstn, or damaged ({error!r:.120})") from error


def finished_epochs(run: Path) -> int:
    """Return how many epochs a run has finished; 0 where there is no run, or one that can't be read."""
    try:
        return diagnose(run).epochs
    except LstnError:
        return 0


def describe(found: Diagnosis, run: Path) -> list[str]:
    """Return the diagnosis in a few lines."""
    ended = "not ended" if found.test_accuracy is None else f"test {found.test_accuracy:.1%}"
    best = f"best validation {found.best_accuracy:.1%} in epoch {found.best_epoch}"
    lines = [f"{run}: {found.epochs} epoch{'s' * (found.epochs > 1)}, {best}; {ended}"]
    if found.at_chance:
        lines += [f"accuracy: {chance_warning(found.best_accuracy)}", f"  likely cure: {chance_cure()}"]
    seen = found.transformer
    if seen is None:
        return [*lines, "transformer: none, or a run from before it was watched"]
    since = f" since epoch {found.since}" if found.since != 1 else ""
    lines.append(f"transformer: {seen['state']}{since}" + (f": {seen['warning']}" if seen["warning"] else ""))
    if seen["cure"]:
        lines.append(f"  likely cure: {seen['cure']}")
    if found.at_best not in (None, seen["state"]):
        lines.append(f"  the checkpoint is of epoch {found.best_epoch}, when it was {found.at_best}")
    share = seen["gradient_share"]
    reaches = "no weight has a gradient any more" if share is None else f"{share:.2g} of its norm reaches the localizer"
    if seen["follow"] is not None:
        lines.append(f"follow of known moves, 0 to 1: {in_detail(seen['follow'])}")
    return [
        *lines,
        f"gradient: {reaches}",
        f"window: {seen['displacement_px']:.2f} px from the image's corners on average, {seen['spread_px']:.2f} px "
        f"spread over images, {seen['outside_share']:.1%} of it outside of the frame",
        f"accuracy on {seen['images']} validation images: {seen['accuracy']:.1%}; with the identity for theta "
        f"{seen['accuracy_identity']:.1%}, with the theta of another image {seen['accuracy_swapped']:.1%}",
    ]


def _diagnosis(epochs: list[dict[str, Any]], last: dict[str, Any]) -> Diagnosis:
    numbers = [_count(row["epoch"]) for row in epochs]
    accuracies = [share(row["val_accuracy"]) for row in epochs]
    best = accuracies.index(max(accuracies))
    watched = [health(row["transformer"]) if "transformer" in row else None for row in epochs]
    now, at_best = watched[-1], watched[best]
    same = list(takewhile(lambda each: each and now and each["state"] == now["state"], reversed(watched)))
    return Diagnosis(
        epochs=len(epochs),
        best_epoch=numbers[best],
        best_accuracy=accuracies[best],
        test_accuracy=share(last["test_accuracy"]) if "test_accuracy" in last else None,
        transformer=now,
        since=numbers[-len(same)] if same else None,
        at_best=at_best["state"] if at_best else None,
        chance=share(epochs[best]["chance"]) if "chance" in epochs[best] else None,
    )


def health(found: dict[str, Any]) -> Health:
    """Check what a run says of its transformer.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: it is damaged.
    """
    gradient = found["gradient_share"]
    if found["state"] not in _STATES:
        raise ValueError(f"{found['state']!r:.40} is not a state")
    displacement = number(found["displacement_px"], sys.float_info.max)
    outside, accuracy, identity, swapped = (share(found[name]) for name in _SHARES)
    return Health(
        images=_count(found["images"]),
        gradient_share=None if gradient is None else share(gradient),
        spread_px=number(found["spread_px"], sys.float_info.max),
        displacement_px=displacement,
        moved_px=number(found.get("moved_px", displacement), sys.float_info.max),
        outside_share=outside,
        accuracy=accuracy,
        accuracy_identity=identity,
        accuracy_swapped=swapped,
        follow=follow_of(found["follow"]) if found.get("follow") is not None else None,
        state=found["state"],
        warning=str(found["warning"]),
        cure=str(found["cure"]),
    )


def share(value: object) -> float:
    """Return `value`, a number within 0..1.

    Raises:
        ValueError: it is none.
    """
    return number(value, 1.0)


def number(value: object, most: float) -> float:
    """Return `value`, a number within 0..most.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{value!r:.40} is out of range")
    return float(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r:.40} is not a count")
    return value
