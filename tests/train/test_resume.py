"""A run that stopped goes on as if it hadn't, or not at all."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from forked import Forked, forked
from PIL import Image
from safetensors.torch import save_file
from short_runs import assert_same_weights, options, run, weights_of, without_time

from lstn.contract import IMAGENET_MEAN, Loc, ThetaForm
from lstn.errors import ArtifactError, UsageError
from lstn.health.run_health import METRICS
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, read_tensors
from lstn.train.runs.run_state import LAST, read_options


def test_a_run_stopped_after_an_epoch_ends_with_the_same_weights(data: str, tmp_path: Path) -> None:
    whole = run(options(data, epochs=4), tmp_path / "whole")
    run(options(data, epochs=2), tmp_path / "parts")
    parts = run(options(data, epochs=4), tmp_path / "parts", resume=True)
    assert without_time(parts.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
    assert_same_weights(weights_of(tmp_path / "parts", CHECKPOINT), weights_of(tmp_path / "whole", CHECKPOINT))


KILLED = """
import sys
from pathlib import Path
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.watch.watcher import Watcher
import torch
step = lambda epoch, seen, loss, accuracy: print(epoch, seen, flush=True)
watcher = Watcher(lambda outlook: None, step, lambda row, best: None)
options, folder = Options.from_json(sys.argv[1], source="test"), Path(sys.argv[2])
resume = (folder / "last.safetensors").is_file()
train_to_end(options, folder, device=torch.device("cpu"), workers=0, watcher=watcher, resume=resume)
"""


EVERYTHING: dict[str, object] = {
    "warmup_epochs": 1.5, "cosine": True, "in_frame": 0.1, "theta": ThetaForm.SIMILARITY,
    "equivariance": 0.5,
}  # fmt: skip


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(data: str, tmp_path: Path) -> None:
    """SIGKILL five times, each somewhere else in an epoch, then once more to the end; with all that has a state."""
    given = options(data, epochs=5, **EVERYTHING)
    run(given, tmp_path / "whole")
    folder = tmp_path / "killed"
    command = ("-c", KILLED, given.to_json(), folder)
    for steps in (0, 2, 8, 13, 6):
        with Forked(*command) as process:
            for _ in range(steps):
                process.stdout.readline()
            time.sleep(0.005 * steps)
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
    assert forked(*command)[0] == 0
    assert_same_weights(weights_of(folder), weights_of(tmp_path / "whole"))
    assert_same_weights(weights_of(folder, CHECKPOINT), weights_of(tmp_path / "whole", CHECKPOINT))
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {CHECKPOINT, LAST, METRICS}


def test_a_run_whose_data_set_changed_is_not_resumed(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    for split in ("train", "val", "test"):
        (copy / split / "left").rename(copy / split / "write")  # now the last class, and as many as before
    with pytest.raises(ArtifactError, match="2 labels, without 'left', with 'write'; the run began with 2"):
        run(replace(given, epochs=2), tmp_path / "a", resume=True)


def test_a_run_that_gained_a_class_is_not_resumed(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    shutil.copytree(copy / "train/left", copy / "train/middle")
    with pytest.raises(ArtifactError, match="3 labels, with 'middle'; the run began with 2") as caught:
        run(replace(given, epochs=2), tmp_path / "a", resume=True)
    assert "start a new run" in caught.value.hint


def test_a_run_that_lost_an_image_is_not_resumed(data: str, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    (copy / "train/left/3.png").unlink()
    with pytest.raises(ArtifactError, match="the data set is not the one"):
        run(replace(given, epochs=2), tmp_path / "a", resume=True)


def test_a_run_whose_images_were_overwritten_is_not_resumed(data: str, tmp_path: Path) -> None:
    """With others of the same names, and of the same time of writing."""
    copy = tmp_path / "data"
    shutil.copytree(data.removeprefix("folder:"), copy)
    given = options(f"folder:{copy}", epochs=1)
    run(given, tmp_path / "a")
    for split, number in (("train", 3), ("val", 3), ("test", 7)):
        path = copy / split / "left" / f"{number}.png"
        before, status = path.read_bytes(), path.stat()
        Image.new("RGB", (32, 32), (128, 128, 128)).save(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(ArtifactError, match="the data set is not the one that this run began with"):
            run(replace(given, epochs=2), tmp_path / "a", resume=True)
        path.write_bytes(before)
    assert len(run(replace(given, epochs=2), tmp_path / "a", resume=True).history) == 2


def test_a_run_from_before_there_were_recipes_goes_on(data: str, tmp_path: Path) -> None:
    """Its state as it was then: no recipe among its options, no contract, no steps, and no optimizer but Adam."""
    given = options(data, epochs=4)
    whole = run(given, tmp_path / "whole")
    run(replace(given, epochs=2), tmp_path / "old")
    tensors, metadata = read_tensors(tmp_path / "old" / LAST)
    rest = json.loads(metadata["lstn.state"])
    known = ("loc", "model", "data", "weights", "image_size", "epochs", "patience", "batch_size", "lr", "loc_lr_scale")
    stored = json.loads(rest["options"])
    rest["options"] = json.dumps({name: stored[name] for name in (*known, "precision", "seed")})
    old = {name: rest[name] for name in ("options", "history", "scaler", "identity")}
    save_file(tensors, tmp_path / "old" / LAST, {"lstn.state": json.dumps(old)})
    assert read_options(tmp_path / "old" / LAST) == replace(given, epochs=2)
    resumed = run(given, tmp_path / "old", resume=True)
    assert without_time(resumed.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "old"), weights_of(tmp_path / "whole"))


def test_a_run_that_averaged_its_weights_goes_on_without(data: str, tmp_path: Path) -> None:
    """As runs until 0.1 could: an average beside the weights, and the option and a count that belong to it."""
    given = options(data, epochs=3)
    run(given, tmp_path / "whole")
    run(replace(given, epochs=2), tmp_path / "old")
    tensors, metadata = read_tensors(tmp_path / "old" / LAST)
    rest = json.loads(metadata["lstn.state"]) | {"steps": 12}
    rest["options"] = json.dumps(json.loads(rest["options"]) | {"ema_epochs": 1.0})
    averaged = {name.replace("model.", "averaged.", 1): each + 1 for name, each in tensors.items() if "model." in name}
    save_file(tensors | averaged, tmp_path / "old" / LAST, {"lstn.state": json.dumps(rest)})
    run(given, tmp_path / "old", resume=True)
    assert_same_weights(weights_of(tmp_path / "old"), weights_of(tmp_path / "whole"))


def test_resuming_another_model_is_refused(data: str, folder: Path) -> None:
    run(options(data, epochs=1), folder)
    with pytest.raises(ArtifactError, match="the state of another model"):
        run(options(data, epochs=2, loc=Loc.STN), folder, resume=True)


def test_weights_start_the_backbone_and_are_not_needed_to_resume(data: str, tmp_path: Path) -> None:
    source = load_checkpoint(run(options(data, epochs=1), tmp_path / "source").checkpoint)
    file = tmp_path / "backbone.safetensors"
    save_file(source.model.backbone.state_dict(), file)
    given = options(data, weights=str(file), seed=5, lr=0.0)
    started = load_checkpoint(run(given, tmp_path / "started").checkpoint)
    assert_same_weights(started.model.backbone.state_dict(), source.model.backbone.state_dict())
    assert started.contract.mean == IMAGENET_MEAN
    file.unlink()
    assert len(run(replace(given, epochs=4), tmp_path / "started", resume=True).history) == 4


def test_a_run_that_trains_is_not_resumed_by_another_process(data: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Forked("-c", KILLED, options(data, epochs=1000).to_json(), folder) as first:
        first.stdout.readline()  # it has taken a step
        with pytest.raises(UsageError, match=f"process {first.pid} on .* writes there now"):
            run(options(data, epochs=1000), folder, resume=True)
    run(options(data, epochs=1), folder, resume=True)
    assert not (folder / ".lock").exists()
