"""What a run leaves for a person to look at: pictures, TensorBoard's logs, and a checkpoint that can be evaluated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command import RunLstn
from matplotlib.font_manager import FontManager, fontManager
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lstn.data.dataset import open_data
from lstn.evaluation.scores import Scores
from lstn.install import install_line
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint, read_tensors
from lstn.train.runs.run_state import LAST
from lstn.train.watch.fonts import drawable
from lstn.train.watch.pictures import draw_animation, draw_confusion, draw_sheet
from lstn.warps.warp import CropSampling

RUN = Path("runs/a")
SMALL = ("--model", "cnn", "--image-size", "32", "--name", "a", "--recipe", "paper")

GRAY = (120, 120, 120)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as animation:
        frames = []
        for number in range(animation.n_frames):  # type: ignore[attr-defined]
            animation.seek(number)
            frames.append(np.asarray(animation.convert("RGB")).astype(int))
        return frames


def logged(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    return events


def test_a_resumed_run_leaves_the_pictures_and_logs_of_a_whole_one(data: str, run_lstn: RunLstn) -> None:
    given = ("train", "--loc", "stn", "--data", data, "--tensorboard", *SMALL)
    whole = Path("runs/whole")
    assert run_lstn(*given, "--epochs", 5).code == 0
    RUN.rename(whole)
    assert run_lstn(*given, "--epochs", 2).code == 0
    assert len(frames_of(RUN / "warps.gif")) <= 2
    assert run_lstn("train", "--resume", RUN, "--epochs", 5, "--tensorboard").code == 0
    for name in ("warps.gif", "test.json"):
        assert (RUN / name).read_bytes() == (whole / name).read_bytes(), name
    assert torch.equal(read_tensors(RUN / LAST)[0]["warps"], read_tensors(whole / LAST)[0]["warps"])
    one, other = logged(whole), logged(RUN)
    assert set(one.Tags()["scalars"]) == set(other.Tags()["scalars"]) >= {"loss/train", "transformer/spread_px"}
    rows = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()][:-1]
    for events in (one, other):
        for tag, figure in (("loss/validation", "val_loss"), ("accuracy/train", "train_accuracy")):
            points = events.Scalars(tag)
            assert [point.step for point in points] == [1, 2, 3, 4, 5]
            np.testing.assert_allclose([point.value for point in points], [row[figure] for row in rows], rtol=1e-6)
        spread = [point.value for point in events.Scalars("transformer/spread_px")]
        np.testing.assert_allclose(spread, [row["transformer"]["spread_px"] for row in rows], rtol=1e-6)
        assert [image.step for image in events.Images("warps")] == [1, 2, 3, 4, 5]


def test_epochs_that_are_repeated_count_once(data: str, run_lstn: RunLstn) -> None:
    """A run that was killed after it logged an epoch, and before it kept it."""
    given = ("train", "--loc", "stn", "--data", data, "--tensorboard", *SMALL)
    run_lstn(*given, "--epochs", 1)
    kept = (RUN / LAST).read_bytes()
    run_lstn("train", "--resume", RUN, "--epochs", 3, "--tensorboard")
    (RUN / LAST).write_bytes(kept)
    run_lstn("train", "--resume", RUN, "--epochs", 4, "--tensorboard")
    assert [point.step for point in logged(RUN).Scalars("loss/train")] == [1, 2, 3, 4]


def test_without_tensorboard_the_extra_is_named_and_no_run_begins(
    data: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    ran = run_lstn("train", "--data", data, "--tensorboard", *SMALL)
    assert ran.code == 1
    assert f"{install_line('tensorboard')}" in ran.err
    assert len(ran.err.splitlines()) == 2
    assert not RUN.exists()


def test_test_json_is_what_a_plain_loop_says(data: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("train", "--loc", "none", "--data", data, "--epochs", 1, "--lr", 0.0, *SMALL)
    model = load_checkpoint(RUN / CHECKPOINT).model
    split = open_data(data, image_hw=(32, 32)).test
    counts = np.zeros((2, 2), int)
    with torch.no_grad():
        for index in range(len(split)):
            pixels, label = split[index]
            counts[label, int(model(torch.from_numpy(pixels.copy())[None]).argmax())] += 1
    found = json.loads((RUN / "test.json").read_text())
    assert found["confusion_cells"] == Scores.of((), counts, 0).cells.tolist()
    assert counts.trace() < 16  # there is something to confuse
    worst = min(range(2), key=lambda index: counts[index, index] / counts[index].sum())
    assert f"worst classes: {('left', 'right')[worst]} {counts[worst, worst] / 8:.0%}" in ran.err


def test_a_checkpoint_is_evaluated_on_its_own_test_images(data: str, run_lstn: RunLstn) -> None:
    run_lstn("train", "--loc", "lstn", "--data", data, "--epochs", 2, *SMALL)
    test = json.loads((RUN / "test.json").read_text())
    assert run_lstn("export", RUN, "--engine", "onnx").code == 0
    found = []
    for source in ((RUN,), (RUN / CHECKPOINT,), ("model.onnx", "--data", data)):
        assert run_lstn("evaluate", *source, "--json", "kept.json", "--rotate", 45, "--shift", 0.2).code == 0
        found.append(json.loads(Path("kept.json").read_text()))
    for each in found:
        assert each["confusion_cells"] == test["confusion_cells"]
        assert each["disturbed"] == found[0]["disturbed"]
        assert (each["loc"], each["backbone"], each["data"]) == ("lstn", "cnn", data)


def test_the_animation_shows_the_warp_of_each_epoch() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    pixels = np.stack(
        [np.asarray(Image.fromarray(each).resize((24, 24)).reduce(8).resize((24, 24))) for each in pixels]
    )
    identity = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    warps = [np.stack([identity * (1 - 0.15 * number)] * 4) for number in range(5)]
    path = Path("warps.gif")
    draw_animation(path, pixels, warps, CropSampling(GRAY))
    frames = frames_of(path)
    assert len(frames) == 5
    for frame, theta in zip(frames, warps, strict=True):
        drawn = np.asarray(draw_sheet(pixels, theta, CropSampling(GRAY))).astype(int)
        errors = [np.abs(other[16:] - drawn).mean() for other in frames]
        assert np.abs(frame[16:] - drawn).mean() == min(errors) < 12  # 128 colours of a palette
    with Image.open(path) as animation:
        assert animation.info["loop"] == 0


def test_a_long_animation_stays_small_and_ends_with_the_last_epoch() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)  # noise: the worst case
    thetas = rng.normal(size=(60, 8, 2, 3)).astype(np.float32)
    draw_animation(Path("warps.gif"), pixels, thetas, CropSampling(GRAY))
    frames = frames_of(Path("warps.gif"))
    assert len(frames) == 48
    assert Path("warps.gif").stat().st_size < 6 << 20
    last = np.asarray(draw_sheet(pixels, thetas[-1], CropSampling(GRAY))).astype(int)
    others = [np.abs(frame[16:] - last).mean() for frame in frames]
    assert others[-1] == min(others)


@pytest.mark.parametrize("classes", [1, 10, 120, 1200])
def test_a_confusion_matrix_of_any_size_is_drawn(classes: int) -> None:
    labels = tuple(f"$class {index} with_a^long name" for index in range(classes))
    draw_confusion(Path("c.png"), Scores.of(labels, np.eye(classes, dtype=np.int64) * 9, 9 * classes), "lstn + cnn")
    with Image.open("c.png") as picture:
        assert max(picture.size) < 2000
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    blue = (colours[:, 2] > colours[:, 0].astype(int) + 60).mean()
    assert blue > 0.002  # the diagonal


def test_names_that_no_font_has_are_drawn_as_numbers() -> None:
    names, families = drawable(["cat", "日本", "кот", "قط", "中国"])
    assert families[0] == "DejaVu Sans"
    if families == ["DejaVu Sans"]:  # where no font has Chinese
        assert names == ["cat", "#1", "кот", "قط", "#4"]
    without = FontManager.__new__(FontManager)
    without.ttflist = [font for font in fontManager.ttflist if font.name == "STIXGeneral"]
    assert drawable(["cat", "日本", "قط"], without) == (["cat", "#1", "#2"], ["STIXGeneral"])
    without.ttflist = [font for font in fontManager.ttflist if font.name in ("STIXGeneral", "DejaVu Sans")]
    assert drawable(["\u2a5e", "قط"], without) == (["\u2a5e", "قط"], ["DejaVu Sans", "STIXGeneral"])


@pytest.mark.filterwarnings("error")
def test_a_confusion_matrix_of_any_script_is_drawn_without_a_warning() -> None:
    labels = ("cat", "日本", "中国", "قط", "한국", "ไทย")
    draw_confusion(Path("confusion.png"), Scores.of(labels, np.eye(len(labels), dtype=np.int64) * 3, 18), "none + cnn")
    with Image.open("confusion.png") as picture:
        assert min(picture.size) > 100


def test_a_home_folder_that_cannot_be_written_is_nothing_to_speak_of() -> None:
    settings = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME")}
    settings |= {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}
    command = [sys.executable, "-c", "import lstn.train.watch.fonts"]
    ran = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")
