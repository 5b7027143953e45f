"""Several processes: the same run as one, told by one, ended by all."""

import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from boxed_spots import boxed_copy
from forked import Forked
from hypothesis import given
from hypothesis import strategies as st
from published_sets import write_cifar10
from safetensors.torch import save_file

from lstn.cli.app import main
from lstn.contract import Contract, Loc
from lstn.data.dataset import open_data
from lstn.errors import UsageError
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, read_tensors
from lstn.nn.classifier import build_backbone
from lstn.train.batches.loading import Images
from lstn.train.computing.distributed import ALONE, Shares, World, joined_world
from lstn.train.objectives.classifier_objective import loss_and_accuracy
from lstn.train.runs.run_state import LAST

SMALL = ("--model", "cnn", "--image-size", "32", "--loc", "stn", "--batch-size", "10", "--recipe", "robust")
TORCHRUN_ITSELF = (sys.executable, "-m", "torch.distributed.run")
TRAIN = ("-m", "lstn", "train")
TORCHRUN = (*TORCHRUN_ITSELF, "--nproc-per-node", "2", "-m", "--", *TRAIN[1:])


def indices(count: int, batch: int, world: World, seed: int | None) -> list[list[int]]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    shares = Shares(count, batch, generator, world)
    found = list(shares)
    assert len(found) == len(shares)
    return found


@given(count=st.integers(1, 60), batch=st.integers(8, 20), size=st.integers(1, 4), seed=st.integers(0, 9))
def test_shares_of_a_batch_are_the_batch(count: int, batch: int, size: int, seed: int) -> None:
    whole = indices(count, batch, ALONE, seed)
    parts = [indices(count, batch, World(rank, size), seed) for rank in range(size)]
    assert all(len(part) == len(whole) for part in parts)
    for number, images in enumerate(whole):
        shares = [part[number] for part in parts]
        if len(images) >= 2 * size:
            assert sorted(image for share in shares for image in share) == sorted(images)
            assert min(map(len, shares)) >= 2
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
        else:  # too small to be shared out
            assert all(share == images for share in shares)


@given(count=st.integers(1, 60), batch=st.integers(1, 20), seed=st.integers(0, 9))
def test_alone_the_batches_are_torchs(count: int, batch: int, seed: int) -> None:
    """But for the loader's first draw, which it makes from the same generator (as it did before)."""
    generator = torch.Generator().manual_seed(seed)
    last_of_one = count % batch == 1 < count
    torchs = torch.utils.data.BatchSampler(
        torch.utils.data.RandomSampler(range(count), generator=generator), batch, drop_last=last_of_one
    )
    assert indices(count, batch, ALONE, seed) == list(torchs)


@given(count=st.integers(1, 60), batch=st.integers(1, 20), size=st.integers(1, 4))
def test_evaluation_sees_every_image_once(count: int, batch: int, size: int) -> None:
    parts = [indices(count, batch, World(rank, size), None) for rank in range(size)]
    assert sorted(image for part in parts for share in part for image in share) == list(range(count))
    assert all(0 < len(share) <= batch for part in parts for share in part)


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "2"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_SIZE": "2", "RANK": "0"},
        {
            "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1",
            "OMPI_COMM_WORLD_SIZE": "2",
        },
    ],
)  # fmt: skip
def test_one_of_several_that_are_not_connected_is_refused(environment: dict[str, str]) -> None:
    said = "processes were asked for, but this one would train alone"
    with pytest.raises(UsageError, match=said) as caught, joined_world("cpu", environment):
        pytest.fail("it trains alone")
    said_so = shlex.split(caught.value.hint.removeprefix("start with: torchrun ").removesuffix(" …").replace("N", "2"))
    assert (*TORCHRUN_ITSELF, *said_so) == TORCHRUN


def test_alone_is_what_nobody_asked_to_share() -> None:
    for environment in ({}, {"WORLD_SIZE": "1"}):
        with joined_world("cpu", environment) as (world, device):
            assert (world, device) == (ALONE, torch.device("cpu"))


def test_a_single_gpu_is_not_for_several() -> None:
    environment = dict.fromkeys(("RANK", "LOCAL_RANK", "MASTER_PORT"), "0") | {"WORLD_SIZE": "2", "MASTER_ADDR": "x"}
    with pytest.raises(UsageError, match="--device cuda:1 is one device"), joined_world("cuda:1", environment):
        pytest.fail("it went on")


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def ran_by_two(folder: Path, *command: object) -> None:
    """Run `python *command` in two processes that find each other as torchrun tells its own to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    with ExitStack() as stack:
        ranks = [os.environ | where | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
        started = [stack.enter_context(Forked(*command, cwd=folder, env=env)) for env in ranks]
        for process in started:
            _, told = process.communicate(timeout=300)
            assert process.returncode == 0, told


def ran_alone(folder: Path, *words: str) -> str:
    """Run `lstn train …` in this process, and return what it told: starting Python and PyTorch takes most of a run."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as told:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lstn", "train", *words])
        with pytest.raises(SystemExit) as ended, redirect_stdout(io.StringIO()):
            main()
    assert not ended.value.code, told.getvalue()
    return told.getvalue()


@pytest.fixture(scope="module")
def two(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by one process, and by two and then one: 48 images in batches of 10, the last of them of 8."""
    folder = tmp_path_factory.mktemp("two")
    given = (*SMALL, "--data", data, "--epochs", "2")
    began = ran(folder, *TORCHRUN, *given, "--name", "both")
    assert began.returncode == 0, began.stderr
    for told in (began.stderr, ran_alone(folder, *given, "--name", "one")):
        assert [line.split()[0] for line in told.splitlines() if line.startswith("epoch")] == ["epoch", "epoch"]
    for name in ("one", "both"):
        ran_alone(folder, "--resume", f"runs/{name}", "--epochs", "3")
    return folder


def test_two_processes_end_where_one_does(two: Path) -> None:
    """But for sums in another order, after Adam, which divides by small numbers."""
    for name in (LAST, CHECKPOINT):
        one, both = (read_tensors(two / "runs" / run / name)[0] for run in ("one", "both"))
        assert one.keys() == both.keys()
        for key in one:
            torch.testing.assert_close(both[key], one[key], rtol=1e-4, atol=1e-5)


def test_figures_are_of_all_images(two: Path) -> None:
    one, both = (
        [json.loads(line) for line in (two / "runs" / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "both")
    )
    for mine, theirs in zip(one, both, strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"):
            assert mine.get(name) == pytest.approx(theirs.get(name), abs=1e-4)


def test_true_poses_count_alike_in_shares_that_know_more_or_fewer(data: str, tmp_path: Path) -> None:
    given = (*SMALL, "--data", boxed_copy(data, tmp_path / "boxed"), "--epochs", "1", "--supervise", "1")
    ran_alone(tmp_path, *given, "--name", "one")
    ran_by_two(tmp_path, *TRAIN, *given, "--name", "both")
    one, both = (read_tensors(tmp_path / "runs" / run / LAST)[0] for run in ("one", "both"))
    for key in one:
        torch.testing.assert_close(both[key], one[key], rtol=1e-4, atol=1e-5)


def test_choices_of_the_fit_mean_the_same_in_two_processes(data: str, tmp_path: Path) -> None:
    """Gradients that wait for a second batch, repeated images, and weights that get none in the first epoch."""
    weights = tmp_path / "backbone.safetensors"
    save_file(build_backbone(Contract(Loc.NONE, "cnn", (32, 32), ("left", "right"))).state_dict(), weights)
    given = (*SMALL, "--data", data, "--epochs", "2", "--weights", str(weights), "--freeze", "1")
    given += ("--accumulate", "2", "--optimizer", "adamw", "--balance", "sampling", "--label-smoothing", "0.1")
    ran_alone(tmp_path, *given, "--name", "one")
    ran_by_two(tmp_path, *TRAIN, *given, "--name", "both")
    one, both = (read_tensors(tmp_path / "runs" / run / LAST)[0] for run in ("one", "both"))
    assert one.keys() == both.keys()
    for key in one:
        torch.testing.assert_close(both[key], one[key], rtol=1e-4, atol=1e-5)


NORMALISED = """
import sys
from pathlib import Path
data, folder = sys.argv[1:]
from short_runs import SILENT, options
from lstn.train.computing.distributed import joined_world
from lstn.train.loop import train_to_end
with joined_world("cpu") as (world, device):
    given, folder = options(data, epochs=3), Path(folder, "run")
    train_to_end(given, folder, device=device, workers=0, watcher=SILENT, resume=False, world=world)
"""


def test_what_all_evaluate_is_what_the_first_one_keeps(data: str, tmp_path: Path) -> None:
    """With BatchNorm, whose running statistics are each process's own."""
    ran_by_two(tmp_path, "-c", NORMALISED, data, tmp_path)
    images = Images(open_data(data, image_hw=(32, 32)).val)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    kept = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    loss, accuracy = loss_and_accuracy(kept.model, images, 8, 0, torch.device("cpu"))
    row = rows[kept.training.epoch - 1]
    assert row["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert row["val_accuracy"] == kept.training.val_accuracy == accuracy


def test_weights_that_no_gradient_reaches_keep_nobody_waiting(data: str, tmp_path: Path) -> None:
    """The control whose output is dropped."""
    ran_by_two(tmp_path, *TRAIN, *SMALL, "--loc", "dead", "--data", data, "--epochs", "1", "--name", "dead")
    assert read_tensors(tmp_path / "runs/dead" / CHECKPOINT)[0]


COUNTED = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from lstn.data.folders import checking
from lstn.data.published import named_sets as named_data
from lstn.cli.app import main
from lstn.data.published.published_files import md5_of

root = Path(sys.argv[1])
entry = named_data.NAMED["cifar10"]
check = checking._check

def unpack(files, folder):
    (root / f"unpacked-{os.getpid()}").touch()
    time.sleep(1)  # a process that doesn't wait begins meanwhile
    entry.unpack(files, folder)

def counted(*given):
    (root / f"checked-{os.getpid()}").touch()
    return check(*given)

files = tuple(replace(file, md5=md5_of(root / file.path)) for file in entry.files)
named_data.NAMED["cifar10"] = replace(entry, files=files, unpack=unpack)
checking._check, checking._SETTLED_NS = counted, 0  # files of this second count as finished
sys.argv = ["lstn", "train", "--data", f"cifar10:{root}", *sys.argv[2:]]
main()
"""


def test_a_set_is_unpacked_and_checked_by_one(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    ran_by_two(tmp_path, "-c", COUNTED, tmp_path, *SMALL, "--epochs", "1", "--name", "named")
    assert (tmp_path / "runs/named" / CHECKPOINT).is_file()
    assert len(list(tmp_path.glob("unpacked-*"))) == len(list(tmp_path.glob("checked-*"))) == 1


def test_what_fails_in_both_is_said_once(two: Path) -> None:
    before = (two / "runs/one" / LAST).read_bytes()
    failed = ran(two, *TORCHRUN, "--resume", "runs/one", "--lr", "1")
    assert failed.returncode == 1
    assert failed.stderr.count("error: --lr can't change") == 1
    assert (two / "runs/one" / LAST).read_bytes() == before


def test_when_one_dies_the_other_ends_in_a_line(two: Path, data: str) -> None:
    command = [*TORCHRUN, *SMALL, "--data", data, "--name", "dies", "--epochs", "9999", "--patience", "9999"]
    process = subprocess.Popen(command, cwd=two, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("epoch   1/"):
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Traceback" not in said.split("torch/distributed/elastic", 1)[0]
    time.sleep(0.1)
    assert not any(Path(f"/proc/{child}/fd").exists() for child in children)
    assert read_tensors(two / "runs/dies" / LAST)[0]
