"""Trackers: where programs for experiments keep the figures of a run: TensorBoard, Weights & Biases, and MLflow."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias
from uuid import uuid4

import numpy as np
from PIL import Image

from lstn.errors import UsageError
from lstn.files import replacing
from lstn.imports import require

TrackerName: TypeAlias = Literal["tensorboard", "wandb", "mlflow"]
"""Each is the name of an option, of an extra and of a module."""

PROJECT = "lstn"
"""Weights & Biases' project and MLflow's experiment, unless the environment names another."""


class Tracker(Protocol):
    """Keeps figures and pictures of a run, epoch by epoch."""

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of an epoch, by their names, so that they can be seen at once."""

    def picture(self, epoch: int, sheet: Image.Image) -> None:
        """Keep a picture of the warps."""

    def close(self) -> None:
        """Write what is left."""


class _TensorBoard:
    """Event files in the folder `tensorboard` of a run.

    A resumed run goes on with a new file, whose first line has TensorBoard forget any later epochs of the older ones.
    """

    def __init__(self, run: Path, choices: Mapping[str, object], first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=first)

    @staticmethod
    def check() -> None:
        """Raise MissingExtra where it is not installed."""
        require("tensorboard", extra="tensorboard")

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def picture(self, epoch: int, sheet: Image.Image) -> None:
        self._writer.add_image("warps", np.asarray(sheet), epoch, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run of Weights & Biases, in the project of WANDB_PROJECT, or in `lstn`. Its files are in the run's folder.

    A resumed run goes on with it. Epochs that it has already are not logged again.
    """

    def __init__(self, run: Path, choices: Mapping[str, object], first: int) -> None:
        self._wandb = require("wandb", extra="wandb")
        key = _kept_id(run, "wandb", lambda: uuid4().hex)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=key,
            resume="allow",
            dir=str(run),
            config=dict(choices),
            settings=self._wandb.Settings(silent=True, console="off"),
        )

    @staticmethod
    def check() -> None:
        """Raise MissingExtra where it is not installed, and UsageError where nobody is logged in."""
        wandb = require("wandb", extra="wandb")
        try:
            if wandb.setup().settings.mode == "online":
                wandb.login()
        except wandb.errors.Error as error:
            raise UsageError(
                f"--wandb: {error}", hint="log in with: wandb login; or keep the run here, with WANDB_MODE=offline"
            ) from error

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=epoch)

    def picture(self, epoch: int, sheet: Image.Image) -> None:
        self._run.log({"warps": self._wandb.Image(sheet)}, step=epoch)

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    """A run of MLflow's server at MLFLOW_TRACKING_URI, in the experiment MLFLOW_EXPERIMENT_NAME, or `lstn`.

    A resumed run goes on with it. Epochs that it has already are not logged again.
    """

    def __init__(self, run: Path, choices: Mapping[str, object], first: int) -> None:
        self._mlflow = require("mlflow", extra="mlflow")
        self._client = self._mlflow.MlflowClient()
        self._id = _kept_id(run, "mlflow", lambda: self._begun(run, choices))
        logged: list[Any] = self._client.get_metric_history(self._id, "loss/train")
        self._known = max((each.step for each in logged), default=0)

    def _begun(self, run: Path, choices: Mapping[str, object]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        key: str = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [self._mlflow.entities.Param(choice, str(value)) for choice, value in choices.items()]
        self._client.log_batch(key, params=params)
        return key

    @staticmethod
    def check() -> None:
        """Raise MissingExtra where it is not installed, and UsageError where no server answers."""
        mlflow = require("mlflow", extra="mlflow")
        try:
            mlflow.MlflowClient().search_experiments(max_results=1)
        except mlflow.exceptions.MlflowException as error:
            raise UsageError(
                f"--mlflow: {str(error).splitlines()[0]:.200}", hint="set MLFLOW_TRACKING_URI to a server that runs"
            ) from error

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        if epoch > self._known:
            now_ms, metric = int(time.time() * 1000), self._mlflow.entities.Metric
            metrics = [metric(name, value, now_ms, epoch) for name, value in figures.items()]
            self._client.log_batch(self._id, metrics=metrics)

    def picture(self, epoch: int, sheet: Image.Image) -> None:
        self._client.log_image(self._id, sheet, artifact_file=f"warps/{epoch:04d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._id)


def _kept_id(run: Path, tracker: str, made: Callable[[], str]) -> str:
    """Return what a tracker calls a run. The run's folder keeps it, so that a resumed one goes on there."""
    path = run / f"{tracker}.id"
    if not path.is_file():
        key = made()
        with replacing(path) as temporary:
            temporary.write_text(key)
    return path.read_text()


TRACKERS: dict[TrackerName, type[_TensorBoard | _WeightsAndBiases | _MLflow]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WeightsAndBiases,
    "mlflow": _MLflow,
}
"""Total over `TrackerName`."""
