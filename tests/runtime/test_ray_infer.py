"""`lstn infer --ray`, on a cluster of two nodes in this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import RunLstn
from PIL import Image
from ray_apart import Cluster, drive, ray_cluster, run_apart
from tiny import MakeTiny, Tiny
from tiny_detector import tiny_detector

from lstn.imports import require
from lstn.runtime.ray.result_parts import Fields

COUNT = 300


def said_then(err: str, first: str = "joining the cluster at ") -> str:
    """What is said after the first line, which says what may take a while."""
    line, _, rest = err.partition("\n")
    assert line.startswith(first)
    return rest


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster() as made:
        yield made


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
    run_lstn: RunLstn, cluster: Cluster, images: Path, tiny: Tiny, tmp_path: Path
) -> None:
    wanted = plain(run_lstn, images, tiny, tmp_path / "plain.json")
    command = ["infer", images / "0", f"{images}/[12]/*.png", images / "0", "--engine", tiny.path, "--top", 2]
    command += ["--ray", cluster.address, "--batch", 4, "--out", tmp_path / "rows"]
    ran = run_apart(*command)
    assert_same(by_path(rows_in(tmp_path / "rows")), wanted)
    assert ran.code == 1
    assert f"error: no answer for 2 of {COUNT} images" in ran.err
    assert said_then(ran.err).startswith(f"{COUNT} images in ")

    second = run_apart(*command)
    assert said_then(second.err).startswith("0 images in ")
    assert f"{COUNT} done before" in second.err
    assert_same(by_path(rows_in(tmp_path / "rows")), wanted)


def test_objects_are_those_of_a_run_without_ray(
    run_lstn: RunLstn, cluster: Cluster, images: Path, tmp_path: Path
) -> None:
    """With a lowest score that isn't the usual one, and all objects; some images are broken."""
    detector = tiny_detector(tmp_path / "detector.onnx")
    command = ["infer", images, "--engine", detector.path, "--score", 0.2]
    run_lstn(*command, "--output", tmp_path / "plain.json", "--batch", 4)
    wanted = by_path(json.loads((tmp_path / "plain.json").read_text()))
    command += ["--ray", cluster.address, "--batch", 4]
    ran = run_apart(*command, "--out", tmp_path / "rows")
    assert f"error: no answer for 2 of {COUNT} images" in ran.err
    found = by_path(rows_in(tmp_path / "rows"))
    assert set(found) == set(wanted)
    for path, row in found.items():
        assert row.get("error") == wanted[path].get("error")
        assert_same_objects(row.get("objects", []), wanted[path].get("objects", []))
    assert any(0.2 <= each["score"] < 0.3 for row in found.values() for each in row.get("objects", []))
    refused = run_apart(*command[:-4], "--ray", cluster.address, "--out", tmp_path / "rows", "--score", 0.5)
    assert "holds the results of another run: score 0.2, not 0.5" in refused.err


def assert_same_objects(found: list[Fields], wanted: list[Fields]) -> None:
    assert [each["label"] for each in found] == [each["label"] for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert list(one) == list(other) == ["label", "score", "box", "theta"]
        for name in ("score", "box", "theta"):
            np.testing.assert_allclose(one[name], other[name], atol=2e-6)


def test_a_cluster_started_here_ends_with_the_run(images: Path, tiny: Tiny, tmp_path: Path) -> None:
    parquet = require("pyarrow.parquet", extra="ray")
    output, urls = tmp_path / "rows", tmp_path / "list.txt"
    mark = f"LSTN_TEST={tmp_path}"
    urls.write_text("".join(f"file://{path}\n" for path in sorted((images / "2").iterdir())) + "gone.png\n")
    words = [urls, "--engine", tiny.path, "--ray", "local", "--out", output, "--format", "parquet"]
    ran = subprocess.run(
        [sys.executable, "-m", "lstn", "infer", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"LSTN_TEST": str(tmp_path)},
    )
    assert ran.returncode == 1
    assert len(said_then(ran.stderr, "starting Ray on this machine").splitlines()) == 3, ran.stderr
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


@contextmanager
def slow_driver(words: Sequence[object], output: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `lstn …` in a process of its own, in parts of 20 rows; yield it when a few of them are there."""
    script = "import math, sys, time, lstn.runtime.ray.result_parts as parts; add = parts.Parts.add\n"
    script += "parts.PART_ROWS, parts.PART_S = 20, math.inf\n"  # parts by rows alone, however slow the machine is
    script += "parts.Parts.add = lambda self, rows: (time.sleep(0.1), add(self, rows))[1]\n"
    script += f"sys.argv[1:] = {list(map(str, words))!r}; from lstn.cli.app import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], **pipes, text=True) as driver:
        while not (output / "part-000002.jsonl").exists():
            assert driver.poll() is None, driver.stderr and driver.stderr.read()
            time.sleep(0.02)
        yield driver


def test_a_driver_killed_in_the_middle_is_taken_up(
    run_lstn: RunLstn, cluster: Cluster, images: Path, tiny: Tiny, tmp_path: Path
) -> None:
    wanted = plain(run_lstn, images, tiny, tmp_path / "plain.json")
    output = tmp_path / "rows"
    words = ["infer", images, "--engine", tiny.path, "--ray", cluster.address, "--batch", 1, "--out", output]
    words += ["--top", 2]
    with slow_driver(words, output) as driver:
        driver.send_signal(signal.SIGKILL)
    before = rows_in(output)
    assert 60 <= len(before) < COUNT
    ran = run_apart(*words)
    assert f"{len(before)} done before" in ran.err
    assert said_then(ran.err).startswith(f"{COUNT - len(before)} images in ")
    assert_same(by_path(rows_in(output)), wanted)


def test_a_node_killed_in_the_middle_loses_nothing(
    run_lstn: RunLstn, cluster: Cluster, images: Path, tiny: Tiny, tmp_path: Path
) -> None:
    wanted = plain(run_lstn, images, tiny, tmp_path / "plain.json")
    words = (cluster.address, tiny.path, tmp_path / "rows", images)
    seen, err = drive("counting", *words, on_fifth=cluster.kill_second)
    assert seen["first"] >= COUNT
    assert seen["again"] == 0, "what was done was computed again"
    assert err == "" or "continuing with the rest" in err  # a node that had nothing in hand yet takes nothing with it
    assert_same(by_path(rows_in(tmp_path / "rows")), wanted)


def test_rows_that_never_came_are_asked_for_again(cluster: Cluster, images: Path, tiny: Tiny, tmp_path: Path) -> None:
    seen, _ = drive("losing", cluster.address, tiny.path, tmp_path / "rows", images)
    assert seen["lost"]
    assert len(by_path(rows_in(tmp_path / "rows"))) == COUNT


def test_a_failure_on_a_node_is_one_line_and_keeps_what_there_is(
    cluster: Cluster, images: Path, tiny: Tiny, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    def lose_a_label(model: onnx.ModelProto) -> None:
        weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
        weights.CopyFrom(onnx.numpy_helper.from_array(tiny.weights[:, :3], "weights"))
        model.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")

    wrong = make_tiny("wrong.onnx", edit=lose_a_label)
    ran = run_apart("infer", images, "--engine", wrong.path, "--ray", cluster.address, "--out", tmp_path / "wrong")
    assert ran.code == 1
    assert said_then(ran.err).startswith("error: wrong.onnx: answered ")
    assert len(ran.err.splitlines()) == 3

    words = (cluster.address, tiny.path, tmp_path / "rows", images, f"{images}/nowhere")
    seen, _ = drive("failing", *words)
    assert seen["refused"] == f"{images}/nowhere: no such file or folder"
    assert 0 < len(by_path(rows_in(tmp_path / "rows"))) <= COUNT


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:10001", "nonsense"])
def test_no_cluster_is_one_line(images: Path, tiny: Tiny, tmp_path: Path, address: str) -> None:
    ran = run_apart("infer", images, "--engine", tiny.path, "--ray", address, "--out", tmp_path / "rows")
    assert ran.code == 2
    assert said_then(ran.err).startswith(f"error: --ray {address}: ")
    assert len(ran.err.splitlines()) == 3


def test_what_does_not_fit_is_refused_before_ray_starts(
    run_lstn: RunLstn, images: Path, tiny: Tiny, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    command = ("infer", images, "--engine", tiny.path, "--ray", "local")
    output = ("--out", tmp_path / "rows")
    for options, message in [
        ((), "--ray needs --out"),
        ((*output, "--format", "csv"), "--format csv: not with --ray"),
        ((*output, "--warps", tmp_path / "warps"), "--warps: not with --ray"),
        ((*output, "--output", tmp_path / "rows.csv"), "--output: not with --ray"),
        (
            ("--output", images),
            "--output is spelt --out with --ray now; the old spelling is to go with the next release\n"
            f"error: --out {images}: holds other files",
        ),
        ((tmp_path / "nowhere", *output), "nowhere: no such file or folder"),
    ]:
        ran = run_lstn(*command, *options)
        assert ran.code == 2
        assert message in ran.err
    ran = run_lstn("infer", images, "--engine", tiny.path, "--format", "parquet")
    assert "parquet is written with --ray only" in ran.err


def test_a_model_that_cannot_be_opened_is_one_line(
    cluster: Cluster, images: Path, tiny: Tiny, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny.path.read_bytes()[:-7])
    output = ("--ray", cluster.address, "--out", tmp_path / "rows")
    ran = run_apart("infer", images, "--engine", broken, *output)
    assert ran.code == 1
    assert ran.err.startswith(f"error: {broken}: ")
    unknown = make_tiny("unknown.onnx", edit=lambda model: setattr(model.graph.node[0], "op_type", "Nonsense"))
    ran = run_apart("infer", images, "--engine", unknown.path, *output)  # only the nodes try to open it
    assert ran.code == 1
    assert said_then(ran.err).startswith("error: unknown.onnx: ")
    ran = run_apart("infer", images, "--engine", tiny.path, "--threads", 99, *output)
    assert "--threads 99: the cluster's nodes have 1 core at most" in ran.err
    ran = run_apart("infer", images, "--engine", tiny.path, "--batch", 9999, *output)
    assert "--batch 9999: " in ran.err


def test_a_run_whose_cluster_dies_ends_with_one_line(cluster: Cluster, tiny: Tiny, tmp_path: Path) -> None:
    """The last one: no other can have the cluster after it."""
    many, output, count = tmp_path / "many.txt", tmp_path / "rows", 20_000
    many.write_text("".join(f"gone-{number}.png\n" for number in range(count)))
    with slow_driver(
        ["infer", many, "--engine", tiny.path, "--ray", cluster.address, "--out", output], output
    ) as driver:
        cluster.kill_head()
        out, err = driver.communicate(timeout=120)
    assert (driver.returncode, out) == (1, "")
    # Ray ends the process when the driver's node dies, unless the run has noticed before that its cluster has gone.
    line, hint = said_then(err).splitlines()[-2:]
    assert line.startswith(("error: the run was ended from outside, by Ray if its cl", "error: the cluster has gone: "))
    assert hint == "  run it again to go on from here"
    assert 60 <= len(by_path(rows_in(output))) < count
