"""TensorBoard: what metrics.jsonl says as curves, and the warps epoch by epoch, in a run's folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstn.health.follow import judged_kinds
from lstn.health.run_health import Epoch
from lstn.images import Pixels
from lstn.imports import require
from lstn.train.watch.pictures import draw_sheet
from lstn.warps.warp import CropSampling, Theta

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

BOARD = "tensorboard"
"""Name of the logs' folder inside a run's."""


class Board:
    """Writes event files below a run's folder, from the first epoch that it is told of.

    A resumed run goes on with a new file, whose first line has TensorBoard forget any later epochs of the older ones.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, run: Path) -> None:
        require("tensorboard", extra="tensorboard")
        self._folder = run / BOARD
        self._writer: SummaryWriter | None = None

    def epoch(self, row: Epoch) -> None:
        """Log the figures of one epoch, so that they can be seen at once."""
        number, writer = row["epoch"], self._at(row["epoch"])
        writer.add_scalar("loss/train", row["train_loss"], number)
        writer.add_scalar("loss/validation", row["val_loss"], number)
        writer.add_scalar("accuracy/train", row["train_accuracy"], number)
        writer.add_scalar("accuracy/validation", row["val_accuracy"], number)
        if "transformer" in row:
            for name, value in row["transformer"].items():
                if isinstance(value, float):
                    writer.add_scalar(f"transformer/{name}", value, number)
            if (pose := row["transformer"]["pose"]) is not None:
                for figure in ("rotation_deg", "centre_px", "overlap"):
                    if (error := pose[figure]) is not None:
                        writer.add_scalar(f"pose/{figure}", error, number)
            if (follow := row["transformer"]["follow"]) is not None:
                for name, followed in judged_kinds(follow):
                    writer.add_scalar(f"follow/{name}", followed["value"], number)
        writer.flush()

    def warped(self, number: int, pixels: Pixels, theta: Theta, sampling: CropSampling) -> None:
        """Log what the transformer does to images (n, H, W, 3) by theta (n, …) in epoch `number`."""
        sheet = np.asarray(draw_sheet(pixels, theta, sampling))
        self._at(number).add_image("warps", sheet, number, dataformats="HWC")

    def close(self) -> None:
        """Write what is left. A board that heard of no epoch leaves nothing."""
        if self._writer is not None:
            self._writer.close()

    def _at(self, number: int) -> "SummaryWriter":
        """Made late, since the run's folder must not exist before the run is sure of its options."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=number)
        return self._writer
