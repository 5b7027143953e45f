"""Health of a training run, read from its metrics.jsonl: above all whether its transformer is alive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from lstn.contract import Task
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import what_is
from lstn.health.chance import FEWEST_EPOCHS, at_chance, chance_cure, chance_warning
from lstn.health.follow import in_detail
from lstn.health.generator_health import GeneratorHealth, describe_generator
from lstn.health.liveness import Health, State
from lstn.health.pose_error import brief_pose
from lstn.report.wording import counted
from lstn.untrusted.checked_json import Count, Magnitude, Share, checked, parsed, read_bytes

METRICS = "metrics.jsonl"
FIGURES: dict[Task, dict[str, str]] = {
    Task.CLASSIFY: {},
    Task.TAG: {"train_accuracy": "train_labels_right", "val_accuracy": "val_map", "test_accuracy": "test_map"},
    Task.DETECT: {"train_accuracy": "train_regions_right", "val_accuracy": "val_ap50", "test_accuracy": "test_ap50"},
    Task.READ: {
        "train_accuracy": "train_symbols_right",
        "val_accuracy": "val_texts_right",
        "test_accuracy": "test_texts_right",
    },
    Task.ALIGN: {
        "train_accuracy": "train_sentences_found",
        "val_accuracy": "val_pairs_found",
        "test_accuracy": "test_pairs_found",
    },
    Task.GENERATE: {
        "train_accuracy": "train_told_apart",
        "val_accuracy": "val_taken_for_real",
        "test_accuracy": "test_taken_for_real",
    },
}
"""What metrics.jsonl calls a figure of a run, by the task; total over `Task`. Older files of detectors have the names
of classifiers."""

_MODELS = (".onnx", ".plan", ".xml", ".safetensors")

_MOST_BYTES = 64 << 20


class _Figures(TypedDict):
    epoch: Count
    train_loss: Magnitude
    train_accuracy: Annotated[float, Meta(ge=0, le=1.001)]  # a sum of shares may be a rounding error over 1
    val_loss: Magnitude
    val_accuracy: Share
    seconds: Magnitude


class Epoch(_Figures, total=False):
    """One line of metrics.jsonl, but for the names of FIGURES. Losses in nats, accuracies 0..1, seconds of training and
    validation. Of a model that tags, accuracies are the share of labels that are right, and the mean average precision;
    of a detector, the share of regions whose class is right, and AP50;
    of a reader, the share of symbols that are right, and of texts without an error; of an aligner, the share of
    sentences that are found in a batch, and the mean recall at 1 of both ways; of a generator, the share of pictures
    that its discriminator tells rightly, real ones and painted ones, and of those that pass for real ones with a
    classifier that learns nothing from it (`lstn.synthesis.two_samples`). Its losses are the discriminator's.

    chance:      the validation accuracy up to which a model is at chance (`lstn.health.chance`); older runs lack it
    planned, hours: epochs that the run was to have when this one began, and its time budget; others lack them
    transformer: how it was after the epoch; not there without one
    generator:   how a generator was after the epoch; others lack it
    """

    chance: Share
    planned: Count
    hours: Magnitude
    transformer: Health
    generator: GeneratorHealth


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """Return the first epoch with the highest validation accuracy; if nothing is right in any, with the lowest loss.

    A caption of a photograph is hardly ever, word by word, what somebody wrote.
    """
    return max(history, key=lambda row: (row["val_accuracy"], 0 if row["val_accuracy"] else -row["val_loss"]))


@dataclass(frozen=True, slots=True)
class _Ended:
    """The last line of a run that has ended; other lines lack this."""

    test_accuracy: Share | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a run came to so far.

    epochs:         whole epochs
    best_epoch:     as `best_epoch` says it; its weights are the checkpoint
    best_accuracy:  that accuracy, 0..1
    test_accuracy:  0..1; None for a run that hasn't ended
    transformer:    how it was after the last epoch; None for a run without one, or of an older lstn
    since:          the epoch from which on the transformer is in its present state
    at_best:        its state in the best epoch
    chance:         the validation accuracy up to which a model is at chance, 0..1; None for a run of an older lstn
    task:           of the model; of one that tags, accuracies are mean average precisions, of a detector AP50, of a
                    reader the share of texts without an error, of a generator the share of pictures that pass for real
    generator:      how a generator was after the last epoch; None of other models
    """

    epochs: int
    best_epoch: int
    best_accuracy: float
    test_accuracy: float | None
    transformer: Health | None
    since: int | None
    at_best: State | None
    chance: float | None = None
    task: Task = Task.CLASSIFY
    generator: GeneratorHealth | None = None

    @property
    def at_chance(self) -> bool:
        """Whether the model of a run that had time to begin knows no more than the commonest class."""
        early = self.test_accuracy is None and self.epochs < FEWEST_EPOCHS
        return not early and at_chance(self.best_accuracy, self.chance)


def diagnose(run: Path, named: str = "") -> Diagnosis:
    """Read `run`, a run's folder or its metrics.jsonl.

    named: what the user calls it, if that isn't its path

    Raises:
        UsageError: no metrics there.
        ArtifactError: damaged.
    """
    path = run / METRICS if run.is_dir() else run
    if path.is_file() and path.suffix in _MODELS:
        what = named or str(run)
        raise UsageError(f"{what} is not a run", hint=f"see what it is with: lstn inspect {what}; doctor looks at runs")
    if not path.is_file():
        images = f"; images are looked at by: lstn doctor --data folder:{run}" if run.is_dir() else ""
        raise UsageError(
            f"{path}: {what_is(path)}",
            hint=f"name the folder of a run that has finished an epoch, such as runs/NAME{images}",
        )
    data = read_bytes(path, most=_MOST_BYTES, what="the metrics of a run")
    try:
        return _diagnosis(data.splitlines())
    except ValueError as error:
        raise ArtifactError(f"{path}: not the metrics of a run of lstn, or damaged ({error!s:.300})") from error


JUDGED: dict[Task, str] = {
    Task.CLASSIFY: "",
    Task.TAG: " mean average precision",
    Task.DETECT: " AP50",
    Task.READ: " texts right",
    Task.ALIGN: " pairs found",
    Task.GENERATE: " taken for real",
}
"""What the accuracies of a task are, where they are none. Total over `Task`."""


def finished_epochs(run: Path) -> int:
    """Return how many epochs a run has finished; 0 where there is no run, or one that can't be read."""
    try:
        return diagnose(run).epochs
    except LstnError:
        return 0


def diagnosis_text(found: Diagnosis, run: Path) -> list[str]:
    """Return the diagnosis in a few lines."""
    ended = "not ended" if found.test_accuracy is None else f"test {found.test_accuracy:.1%}"
    best = f"best validation{JUDGED[found.task]} {found.best_accuracy:.1%} in epoch {found.best_epoch}"
    lines = [f"{run}: {counted(found.epochs, 'epoch')}, {best}; {ended}"]
    if found.at_chance:
        lines += [f"accuracy: {chance_warning(found.best_accuracy)}", f"  likely cure: {chance_cure()}"]
    if found.generator is not None:
        return lines + describe_generator(found.generator)
    seen = found.transformer
    if seen is None:
        return [*lines, "transformer: none that is watched"]
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
    if seen["pose"] is not None:
        lines.append(f"crops against {counted(seen['pose']['images'], 'true pose')}: {brief_pose(seen['pose'])}")
    what = "labels right" if found.task is Task.TAG else "accuracy"
    return [
        *lines,
        f"gradient: {reaches}",
        f"crop: {seen['displacement_px']:.2f} px from the image's corners on average, {seen['spread_px']:.2f} px "
        f"spread over images, {seen['outside_share']:.1%} of it outside of the frame",
        f"{what} on {counted(seen['images'], 'validation image')}: {seen['accuracy']:.1%}; with the identity "
        f"for theta {seen['accuracy_identity']:.1%}, with the theta of another image {seen['accuracy_swapped']:.1%}",
    ]


def _diagnosis(lines: list[bytes]) -> Diagnosis:
    written = [checked(parsed(line), dict[str, Any]) for line in lines]
    tasks = [task for task, named in FIGURES.items() if any(named.get("val_accuracy") in row for row in written)]
    rows = [_plain(row) for row in written]
    epochs = [epoch_of(row) for row in rows if "epoch" in row]
    if not epochs:
        raise ValueError("no epoch")
    best = best_epoch(epochs)
    watched = [row.get("transformer") for row in epochs]
    now, at_best = watched[-1], best.get("transformer")
    same = list(takewhile(lambda each: each and now and each["state"] == now["state"], reversed(watched)))
    return Diagnosis(
        epochs=len(epochs),
        best_epoch=best["epoch"],
        best_accuracy=best["val_accuracy"],
        test_accuracy=checked(rows[-1], _Ended).test_accuracy,
        transformer=now,
        since=epochs[-len(same)]["epoch"] if same else None,
        at_best=at_best["state"] if at_best else None,
        chance=best.get("chance"),
        task=tasks[0] if tasks else Task.CLASSIFY,
        generator=epochs[-1].get("generator"),
    )


def in_file(row: Mapping[str, object], task: Task) -> dict[str, object]:
    """Return figures of a run as metrics.jsonl has them."""
    return {FIGURES[task].get(name, name): value for name, value in row.items()}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures of a run, from a line of metrics.jsonl, by the names that every task has."""
    names = {written: name for each in FIGURES.values() for name, written in each.items()}
    return {names.get(name, name): value for name, value in row.items()}


def epoch_of(row: object) -> Epoch:
    """Check what a run says of an epoch, and add what an older lstn didn't say.

    Raises:
        ValueError: it is damaged.
    """
    if isinstance(row, dict) and isinstance(seen := row.get("transformer"), dict):
        row = row | {"transformer": {"moved_px": seen.get("displacement_px"), "follow": None, "pose": None} | seen}
    return checked(row, Epoch)
