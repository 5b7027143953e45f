"""`lstn infer --ray`, on a cluster of two nodes in this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command import RunLstn
from PIL import Image
from tiny import MakeTiny, Tiny

from lstn.errors import UsageError
from lstn.gpu import Device
from lstn.imports import require
from lstn.runtime import parts as parts_module
from lstn.runtime.parts import Fields, Parts, Run, open_parts, run_of
from lstn.runtime.ray_infer import open_pool

COUNT = 300
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a core each; the driver joins the first."""
    utils = require("ray.cluster_utils", extra="ray")
    made = utils.Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    try:
        made.second = made.add_node(**NODE)
        yield made
    finally:
        made.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in three folders, of which two are broken."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        path = folder / str(index % 3) / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    (folder / "0" / "000.png").write_bytes(b"junk")
    (folder / "1" / "001.png").write_bytes(b"")
    return folder


def rows_in(folder: Path) -> list[Fields]:
    return [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.open()]


def by_path(rows: Sequence[Fields]) -> dict[str, Fields]:
    """By path, each of which comes once."""
    found = {row["path"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def plain(run_lstn: RunLstn, images: Path, tiny: Tiny, output: Path) -> dict[str, Fields]:
    run_lstn("infer", images, "--engine", tiny.path, "--output", output, "--top", 2)
    return by_path(json.loads(output.read_text()))


def assert_same(found: dict[str, Fields], wanted: dict[str, Fields]) -> None:
    assert set(found) == set(wanted)
    for path, row in found.items():
        assert row.get("error") == wanted[path].get("error")
        assert row.get("label") == wanted[path].get("label")
        np.testing.assert_allclose(row.get("theta", 0), wanted[path].get("theta", 0), atol=2e-6)
        guesses = [[guess["probability"] for guess in each.get("top", [])] for each in (row, wanted[path])]
        np.testing.assert_allclose(*guesses, atol=2e-6)


def test_the_answers_are_those_of_a_run_without_ray(
    run_lstn: RunLstn, cluster: Any, images: Path, tiny: Tiny, tmp_path: Path
) -> None:
    wanted = plain(run_lstn, images, tiny, tmp_path / "plain.json")
    command = ["infer", images / "0", f"{images}/[12]/*.png", images / "0", "--engine", tiny.path, "--top", 2]
    command += ["--ray", cluster.address, "--batch", 4, "--output", tmp_path / "rows"]
    ran = run_lstn(*command)
    assert_same(by_path(rows_in(tmp_path / "rows")), wanted)
    assert ran.code == 1
    assert f"error: 2 of {COUNT} images have no answer" in ran.err
    assert ran.err.startswith(f"{COUNT} images in ")

    second = run_lstn(*command)
    assert second.err.startswith("0 images in ")
    assert f"{COUNT} done before" in second.err
    assert_same(by_path(rows_in(tmp_path / "rows")), wanted)


def test_a_cluster_started_here_ends_with_the_run(images: Path, tiny: Tiny, tmp_path: Path) -> None:
    parquet = require("pyarrow.parquet", extra="ray")
    output, urls = tmp_path / "rows", tmp_path / "list.txt"
    mark = f"LSTN_TEST={tmp_path}"
    urls.write_text("".join(f"file://{path}\n" for path in sorted((images / "2").iterdir())) + "gone.png\n")
    words = [urls, "--engine", tiny.path, "--ray", "local", "--output", output, "--format", "parquet"]
    ran = subprocess.run(
        [sys.executable, "-m", "lstn", "infer", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"LSTN_TEST": str(tmp_path)},
    )
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 3, ran.stderr
    rows = [row for part in output.glob("*.parquet") for row in parquet.read_table(part).to_pylist()]
    found = by_path(rows)
    assert len(found) == COUNT // 3 + 1
    assert found.pop(str(tmp_path / "gone.png"))["error"] == "No such file or directory"
    for url, row in found.items():
        pixels = np.asarray(Image.open(url.removeprefix("file://")).resize((8, 8), Image.Resampling.BILINEAR))
        assert row["label"] == tiny.contract.labels[int(tiny.logits(pixels[None]).argmax())]
        assert row["error"] is None
        np.testing.assert_allclose(row["theta"], tiny.theta(pixels[None])[0], atol=1e-4)
    gone_within_s(30, mark)


def gone_within_s(seconds: float, word: str) -> None:
    """Wait until no process has `word` in its environment."""
    end = time.monotonic() + seconds
    while still := [pid for pid in Path("/proc").iterdir() if pid.name.isdecimal() and _mentions(pid, word)]:
        assert time.monotonic() < end, still
        time.sleep(0.2)


def _mentions(process: Path, word: str) -> bool:
    try:
        return word.encode() in (process / "environ").read_bytes()
    except OSError:
        return False


def test_a_driver_killed_in_the_middle_is_taken_up(
    run_lstn: RunLstn, cluster: Any, images: Path, tiny: Tiny, tmp_path: Path
) -> None:
    wanted = plain(run_lstn, images, tiny, tmp_path / "plain.json")
    output = tmp_path / "rows"
    words = ["infer", images, "--engine", tiny.path, "--ray", cluster.address, "--batch", 1, "--output", output]
    words = [str(word) for word in [*words, "--top", 2]]
    script = "import sys, time, lstn.runtime.parts as parts; parts.PART_ROWS = 20; add = parts.Parts.add\n"
    script += "parts.Parts.add = lambda self, rows: (time.sleep(0.1), add(self, rows))[1]\n"
    script += f"sys.argv[1:] = {words!r}; from lstn.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as driver:
        while not (output / "part-000002.jsonl").exists():
            assert driver.poll() is None, driver.stderr and driver.stderr.read()
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
    before = rows_in(output)
    assert 60 <= len(before) < COUNT
    ran = run_lstn(*words)
    assert f"{len(before)} done before" in ran.err
    assert ran.err.startswith(f"{COUNT - len(before)} images in ")
    assert_same(by_path(rows_in(output)), wanted)


class Counting(Parts):
    """Parts that end a node when the fifth piece comes."""

    def __init__(self, folder: Path, run: Run, cluster: Any) -> None:
        super().__init__(folder, run)
        self.cluster, self.pieces, self.offered = cluster, 0, 0

    def add(self, rows: Sequence[Fields]) -> int:
        self.pieces += bool(rows)
        self.offered += len(rows)
        if self.pieces == 5 and self.cluster.second:
            self.cluster.remove_node(self.cluster.second, allow_graceful=False)
            self.cluster.second = None
        return super().add(rows)


def test_a_node_killed_in_the_middle_loses_nothing(
    run_lstn: RunLstn,
    cluster: Any,
    images: Path,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = plain(run_lstn, images, tiny, tmp_path / "plain.json")
    monkeypatch.setattr(parts_module, "Parts", lambda folder, run: Counting(folder, run, cluster))
    with (
        open_parts(tmp_path / "rows", run_of(tiny.path, top=2, format_="json")) as parts,
        open_pool(cluster.address, tiny.path, device=Device.AUTO, threads=None) as pool,
    ):
        assert isinstance(parts, Counting)
        pool.infer([str(images)], parts, batch=1, top=2, workers=None)
        parts.offered = 0
        pool.infer([str(images)], parts, batch=1, top=2, workers=None)
        assert parts.offered == 0, "what was done was computed again"
    assert cluster.second is None
    assert "going on with the rest" in capsys.readouterr().err
    assert_same(by_path(rows_in(tmp_path / "rows")), wanted)


class Losing(Parts):
    """Parts that the first piece never reaches."""

    lost: int = 0

    def add(self, rows: Sequence[Fields]) -> int:
        if rows and not self.lost:
            self.lost = len(rows)
            return 0
        return super().add(rows)


def test_rows_that_never_came_are_asked_for_again(
    cluster: Any, images: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "Parts", Losing)
    with (
        open_parts(tmp_path / "rows", run_of(tiny.path, top=2, format_="json")) as parts,
        open_pool(cluster.address, tiny.path, device=Device.AUTO, threads=None) as pool,
    ):
        assert isinstance(parts, Losing)
        pool.infer([str(images)], parts, batch=1, top=2, workers=None)
        assert parts.lost
    assert len(by_path(rows_in(tmp_path / "rows"))) == COUNT


def test_a_failure_on_a_node_is_one_line_and_keeps_what_there_is(
    run_lstn: RunLstn, cluster: Any, images: Path, tiny: Tiny, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    def lose_a_label(model: onnx.ModelProto) -> None:
        weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
        weights.CopyFrom(onnx.numpy_helper.from_array(tiny.weights[:, :3], "weights"))
        model.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")

    wrong = make_tiny("wrong.onnx", edit=lose_a_label)
    ran = run_lstn("infer", images, "--engine", wrong.path, "--ray", cluster.address, "--output", tmp_path / "wrong")
    assert ran.code == 1
    assert ran.err.startswith("error: wrong.onnx: answered ")
    assert len(ran.err.splitlines()) == 2

    with (
        open_parts(tmp_path / "rows", run_of(tiny.path, top=2, format_="json")) as parts,
        open_pool(cluster.address, tiny.path, device=Device.AUTO, threads=None) as pool,
        pytest.raises(UsageError, match="/nowhere: no such file or folder"),
    ):
        pool.infer([str(images), f"{images}/nowhere"], parts, batch=1, top=2, workers=None)
    assert 0 < len(by_path(rows_in(tmp_path / "rows"))) <= COUNT


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:10001", "nonsense"])
def test_no_cluster_is_one_line(run_lstn: RunLstn, images: Path, tiny: Tiny, tmp_path: Path, address: str) -> None:
    ran = run_lstn("infer", images, "--engine", tiny.path, "--ray", address, "--output", tmp_path / "rows")
    assert ran.code == 2
    assert ran.err.startswith(f"error: --ray {address}: ")
    assert len(ran.err.splitlines()) == 2


def test_what_does_not_fit_is_refused_before_ray_starts(
    run_lstn: RunLstn, images: Path, tiny: Tiny, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    command = ("infer", images, "--engine", tiny.path, "--ray", "local")
    output = ("--output", tmp_path / "rows")
    for options, message in [
        ((), "--ray needs --output"),
        ((*output, "--format", "csv"), "--format csv: not with --ray"),
        ((*output, "--warps", tmp_path / "warps"), "--warps: not with --ray"),
        (("--output", images), "holds other files"),
        ((tmp_path / "nowhere", *output), "nowhere: no such file or folder"),
    ]:
        ran = run_lstn(*command, *options)
        assert ran.code == 2
        assert message in ran.err
    ran = run_lstn("infer", images, "--engine", tiny.path, "--format", "parquet")
    assert "--format parquet: only with --ray" in ran.err


def test_a_model_that_the_nodes_cannot_open_is_one_line(
    run_lstn: RunLstn, cluster: Any, images: Path, tiny: Tiny, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny.path.read_bytes()[:-7])
    output = ("--ray", cluster.address, "--output", tmp_path / "rows")
    ran = run_lstn("infer", images, "--engine", broken, *output)
    assert ran.code == 1
    assert ran.err.startswith("error: broken.onnx: ")
    ran = run_lstn("infer", images, "--engine", tiny.path, "--threads", 99, *output)
    assert "--threads 99: the cluster's nodes have 1 cores at most" in ran.err
    ran = run_lstn("infer", images, "--engine", tiny.path, "--batch", 9999, *output)
    assert "--batch 9999: " in ran.err
