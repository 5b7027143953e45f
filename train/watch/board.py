"""Board of a run: what metrics.jsonl says as curves, and the warps epoch by epoch, for trackers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from lstn.health.follow import judged_kinds
from lstn.health.run_health import Epoch
from lstn.images import Pixels
from lstn.terminal import warn
from lstn.train.watch.pictures import draw_sheet
from lstn.train.watch.trackers import TRACKERS, Tracker, TrackerName
from lstn.warps.warp import CropSampling, Theta


class Board:
    """Tells trackers of a run, from its first epoch here.

    A tracker that fails then, such as a server that is gone, ends no training: it is told no more.

    run:     its folder, which must not exist before the run is sure of its options; so trackers begin late
    choices: of the run, as `Options.values` has them

    Raises:
        MissingExtra: a tracker is not installed.
        UsageError: a tracker can't be reached.
    """

    def __init__(self, names: Sequence[TrackerName], run: Path, choices: Mapping[str, object]) -> None:
        self._names, self._run, self._choices = list(names), run, choices
        self._trackers: dict[TrackerName, Tracker] = {}
        for name in names:
            TRACKERS[name].check()

    def epoch(self, row: Epoch) -> None:
        """Log the figures of one epoch."""
        figures = curves_of(row)
        self._each(list(self._names), lambda tracker: tracker.log(row["epoch"], figures), row["epoch"])

    def warped(self, number: int, pixels: Pixels, theta: Theta, sampling: CropSampling) -> None:
        """Log what the transformer does to images (n, H, W, 3) by theta (n, …) in epoch `number`."""
        sheet = draw_sheet(pixels, theta, sampling)
        self._each(list(self._names), lambda tracker: tracker.picture(number, sheet), number)

    def painted(self, number: int, sheet: Image.Image) -> None:
        """Log the sheet of what a generator paints in epoch `number`."""
        self._each(list(self._names), lambda tracker: tracker.picture(number, sheet), number)

    def close(self) -> None:
        """Write what is left. A board that heard of no epoch leaves nothing."""
        self._each(list(self._trackers), lambda tracker: tracker.close())

    def _tracker(self, name: TrackerName, number: int) -> Tracker:
        if name not in self._trackers:
            self._trackers[name] = TRACKERS[name](self._run, self._choices, number)
        return self._trackers[name]

    def _each(self, names: Sequence[TrackerName], what: Callable[[Tracker], None], number: int = 0) -> None:
        for name in names:
            try:
                what(self._tracker(name, number))
            except Exception as error:  # what another program raises is its own affair
                self._names.remove(name)
                self._trackers.pop(name, None)
                warn(f"--{name} failed, and is left out from here on: {error!s:.200}")


def curves_of(row: Epoch) -> dict[str, float]:
    """Return what is a curve of an epoch's figures, by names with their kind before a slash."""
    figures = {
        "loss/train": row["train_loss"],
        "loss/validation": row["val_loss"],
        "accuracy/train": row["train_accuracy"],
        "accuracy/validation": row["val_accuracy"],
    }
    if "generator" in row:
        figures |= {f"generator/{name}": value for name, value in row["generator"].items() if isinstance(value, float)}
    if "transformer" not in row:
        return figures
    health = row["transformer"]
    figures |= {f"transformer/{name}": value for name, value in health.items() if isinstance(value, float)}
    if (pose := health["pose"]) is not None:
        errors = {"rotation_deg": pose["rotation_deg"], "centre_px": pose["centre_px"], "overlap": pose["overlap"]}
        figures |= {f"pose/{name}": error for name, error in errors.items() if error is not None}
    if (follow := health["follow"]) is not None:
        figures |= {f"follow/{name}": followed["value"] for name, followed in judged_kinds(follow)}
    return figures
