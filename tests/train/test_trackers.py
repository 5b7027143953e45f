"""Figures of a run in Weights & Biases and MLflow, read back; `test_pictures` reads TensorBoard's."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from command import RunLstn
from mlflow import MlflowClient
from wandb.proto.wandb_internal_pb2 import Record

from lstn.install import install_line
from lstn.train.watch.board import Board
from lstn.train.watch.trackers import TRACKERS, TrackerName

RUN = Path("runs/a")
SMALL = ("--loc", "stn", "--model", "cnn", "--image-size", "32", "--name", "a", "--recipe", "paper")


@pytest.fixture(autouse=True)
def _nothing_leaves_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'tracked.db'}")
    yield
    wandb.teardown()  # it keeps what the environment said


def rows_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "epoch" in row]


def wandb_records(run: Path) -> list[Record]:
    """Return what the files of a run that was kept here say, the older first. LevelDB's logs are such files, too."""
    found, whole = [], b""
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        content, place = path.read_bytes(), 7
        while place < len(content):
            if 0x8000 - place % 0x8000 < 7:  # a block ends in fewer bytes than a header has
                place += 0x8000 - place % 0x8000
                continue
            _, length, kind = struct.unpack_from("<IHB", content, place)
            whole += content[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # all of a record, or its last part
                found.append(Record.FromString(whole))
                whole = b""
    return found


def test_a_resumed_run_is_one_run_of_both(data: str, run_lstn: RunLstn) -> None:
    assert run_lstn("train", "--data", data, *SMALL, "--epochs", 1, "--wandb", "--mlflow").code == 0
    assert run_lstn("train", "--resume", RUN, "--epochs", 2, "--wandb", "--mlflow").code == 0
    rows, client = rows_of(RUN), MlflowClient()
    assert [row["epoch"] for row in rows] == [1, 2]

    experiment = client.get_experiment_by_name("lstn")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.data.params["model"], run.data.params["lr"]) == ("a", "cnn", "0.001")
    for name, figure in (("loss/train", "train_loss"), ("accuracy/validation", "val_accuracy")):
        points = client.get_metric_history(run.info.run_id, name)
        assert [(point.step, point.value) for point in points] == [(row["epoch"], row[figure]) for row in rows]

    records = wandb_records(RUN)
    assert {record.run.run_id for record in records if record.WhichOneof("record_type") == "run"} == {
        (RUN / "wandb.id").read_text()
    }
    logged = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    losses = [
        json.loads(item.value_json)
        for history in logged
        for item in history.item
        if "loss/train" in (item.key, *item.nested_key)
    ]
    assert losses == [row["train_loss"] for row in rows]


def test_epochs_that_mlflow_has_are_not_logged_again(tmp_path: Path) -> None:
    """Of a run that was killed after it logged an epoch, and before it kept it."""
    for epochs in ([1, 2, 3], [2, 3, 4]):
        tracker = TRACKERS["mlflow"](tmp_path, {}, epochs[0])
        for epoch in epochs:
            tracker.log(epoch, {"loss/train": 0.5})
        tracker.close()
    points = MlflowClient().get_metric_history((tmp_path / "mlflow.id").read_text(), "loss/train")
    assert [point.step for point in points] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", TRACKERS)
def test_without_it_the_extra_is_named_and_no_run_begins(
    name: TrackerName, data: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    ran = run_lstn("train", "--data", data, f"--{name}", *SMALL)
    assert ran.code == 1
    assert install_line(name) in ran.err
    assert len(ran.err.splitlines()) == 2
    assert not RUN.exists()


def test_nobody_logged_in_is_said_before_a_run_begins(
    data: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ran = run_lstn("train", "--data", data, "--wandb", *SMALL)
    assert ran.code == 2
    assert "WANDB_MODE=offline" in ran.err
    assert not RUN.exists()


def test_a_tracker_that_fails_on_the_way_ends_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(["mlflow", "tensorboard"], tmp_path / "run", {})
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 1.0}
    board.epoch(row)
    run = (tmp_path / "run/mlflow.id").read_text()
    MlflowClient().delete_run(run)
    board.epoch(row | {"epoch": 2})
    board.epoch(row | {"epoch": 3})
    board.close()
    assert capsys.readouterr().err.count("--mlflow failed") == 1
    assert list((tmp_path / "run/tensorboard").iterdir())
