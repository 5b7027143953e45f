"""A generator from its run to its pictures, by commands; and what is refused by one line."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from command import RunLstn
from deployed_run import check_refused, deploy
from PIL import Image
from short_runs import options
from tiny_fixtures import run_lstn, tiny_at

from lstn.contract import LABEL, NOISE, PIXELS, THETA, Loc, Task
from lstn.data.dataset import open_data
from lstn.data.poses import pose_of
from lstn.errors import ArtifactError, UsageError, VerificationError
from lstn.export.onnx.verify_generator import verify_generator
from lstn.formats.node_names import ModelPart, part_of
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.runtime.engines.opening import open_engine, open_generator
from lstn.runtime.inference.painting_pictures import noise_of

__all__ = ["run_lstn"]

SIDE, NUMBERS = 32, 64


def spots(root: Path) -> Path:
    """Write a set of two classes: a bright spot left or right in noise."""
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        for label, column in (("left", 8), ("right", 24)):
            (root / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
                row = random.integers(6, 26)
                pixels[row - 4 : row + 4, column - 4 : column + 4] = 255
                Image.fromarray(pixels).save(root / split / label / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set, a run of two epochs, and its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp("generator")
    data = f"folder:{spots(folder / 'set')}"
    small = {"task": Task.GENERATE, "loc": Loc.GLANCE, "model": "dcgan", "crop": (16, 16), "loc_lr_scale": 1.0}
    deploy(folder, options(data, **small, epochs=2, image_size=SIDE), None)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_engines_paint_what_pytorch_does(made: Path, name: str) -> None:
    noise, labels = noise_of(range(40), NUMBERS, seed=3), np.arange(40) % 2
    with torch.inference_mode():
        pixels, theta = load_checkpoint(made / "run" / CHECKPOINT).model(
            torch.from_numpy(noise), torch.from_numpy(labels)
        )
    with open_generator(made / name) as engine:
        found = engine.generate(noise, labels)
        parts = [engine.generate(noise[place : place + 1], labels[place : place + 1]).pixels for place in range(3)]
    apart = np.abs(found.pixels.astype(int) - pixels.numpy().astype(int))
    assert apart.max() <= 1
    assert (apart == 0).mean() > 0.999
    assert found.theta is not None
    np.testing.assert_allclose(found.theta, theta.numpy(), atol=1e-4)
    assert np.abs(np.concatenate(parts).astype(int) - found.pixels[:3]).max() <= 1


def test_the_graph_is_plain(made: Path) -> None:
    """One sampler, no loop, and every node in a part of the model that it is of."""
    graph = onnx.load(made / "model.onnx").graph
    assert [each.name for each in graph.input] == [NOISE, LABEL]
    assert [each.name for each in graph.output] == [PIXELS, THETA]
    operators = [node.op_type for node in graph.node]
    assert not {"Loop", "Scan", "If", "AffineGrid"} & set(operators)
    assert operators.count("GridSample") == 1
    parts = {part_of(node.name) for node in graph.node}
    assert None not in parts
    assert {ModelPart.LOCALIZER, ModelPart.GRID, ModelPart.SAMPLER, ModelPart.BACKBONE} <= parts
    assert not any("discriminator" in each.name for each in graph.initializer)


def test_a_file_that_paints_something_else_is_refused(made: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(made / "run" / CHECKPOINT)
    with torch.no_grad():
        next(checkpoint.model.backbone.parameters()).add_(0.01)
    with pytest.raises(VerificationError, match="differs from PyTorch"):
        verify_generator(made / "model.onnx", checkpoint.model, checkpoint.contract)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_infer_paints_a_set_that_can_be_trained_on(
    made: Path, name: str, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_lstn("infer", "--engine", made / name, "--count", 41, "--out", "new", "--seed", 5)
    assert ran.code == 0, ran.err
    assert "41 pictures of 2 classes" in ran.err
    files = sorted(Path("new").rglob("*.png"))
    assert [path.parent.name for path in sorted(files, key=lambda path: path.name)] == ["left", "right"] * 20 + ["left"]
    with open_generator(made / name) as engine:
        wanted = engine.generate(noise_of(range(41), NUMBERS, 5), np.arange(41) % 2)
    for path in files:
        with Image.open(path) as image:
            shown = np.asarray(image).astype(int)
        assert np.abs(shown - wanted.pixels[int(path.stem)]).max() <= 1
    rows = list(csv.DictReader(Path("new/boxes.csv").read_text().splitlines()))
    assert set(rows[0]) == {"path", "x1", "y1", "x2", "y2", "degrees"}
    assert f"{len(rows)} with a box" in ran.err
    data = open_data("folder:new", image_hw=(SIDE, SIDE))
    assert data.labels == ("left", "right")
    assert any(pose_of(data.train, index) is not None for index in range(len(data.train)))
    words = ("--loc", "none", "--model", "cnn", "--image-size", SIDE, "--epochs", 1, "--name", "c")
    trained = run_lstn("train", "--data", "folder:new", *words)
    assert trained.code == 0, trained.err


def test_pictures_depend_on_their_place_and_seed_alone(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    engine = ("--engine", made / "model.onnx")
    for name, words in {
        "a": ("--count", 6, "--batch", 4),
        "b": ("--count", 9, "--batch", 2),
        "c": ("--count", 6, "--seed", 1),
    }.items():
        assert run_lstn("infer", *engine, *words, "--out", tmp_path / name, "--label", "right").code == 0
    shown = {
        name: [np.asarray(Image.open(tmp_path / name / f"right/{place:06d}.png")).astype(int) for place in range(6)]
        for name in "abc"
    }
    assert np.abs(np.stack(shown["a"]) - np.stack(shown["b"])).max() <= 1
    assert np.abs(np.stack(shown["a"]) - np.stack(shown["c"])).max() > 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--count", 0, "--out", "new"), "--count: expected 1 or more"),
        (("--count", 10_000_000, "--out", "new"), "--count: expected 1000000 or less"),
        (("--count", 4), "--count writes a folder of pictures"),
        (("--count", 4, "--out", "set"), "it is not empty"),
        (("--count", 4, "--out", "model.xml"), "a file"),
        (("--count", 4, "--out", "new", "--label", "up"), "--label 'up' is not a class of this model"),
        (("--count", 4, "--out", "new", "--top", 2), "--count paints pictures, and --top is about images"),
        (("set/test", "--count", 4, "--out", "new"), "--count paints pictures, and set/test is about images"),
        (("--label", "left"), "--label and --seed are for --count"),
        (("set/test",), "model.onnx: a generator, which looks at no image"),
        ((), "no images are named"),
    ],
)
def test_what_infer_cannot_is_one_line(
    made: Path, words: tuple[object, ...], says: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    check_refused(run_lstn, ("infer", *words, "--engine", "model.onnx"), says)


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "model.onnx"),
        ("evaluate", "run"),
        ("explain", "model.onnx", "set/test/left/0.png"),
        ("attack", "run"),
        ("compare", "model.onnx", "model.xml"),
        ("calibrate", "model.onnx", "--precision", "fp16"),
        ("export", "run", "--precision", "int8"),
        ("export", "run", "--engine", "trt", "--script"),
        ("export", "model.onnx", "--engine", "trt-rtx", "--target", "sm86"),
        ("export", "run", "--sampler", "fused"),
        ("export", "run", "--triton", "models"),
        ("doctor", "run", "--data", "folder:set"),
        ("tune", "model.onnx"),
        ("tune", "model.onnx", "--load", "100"),
        ("bench", "model.onnx", "--throughput"),
        ("serve", "--engine", "model.onnx", "--http-port", "0"),
    ],
)
def test_what_generators_cannot_is_one_line(
    made: Path, words: tuple[str, ...], run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    before = {path.name for path in made.iterdir()}
    ran = run_lstn(*words)
    assert ran.code in (1, 2), ran.err
    assert "generat" in ran.err
    assert "Traceback" not in ran.err
    assert {path.name for path in made.iterdir()} == before


def test_a_classifier_paints_nothing(run_lstn: RunLstn, tmp_path: Path) -> None:
    from tiny import proto_of

    tiny = tiny_at(tmp_path / "tiny.onnx", loc=Loc.LSTN, labels=("a", "b"), seed=0)
    tiny.path.write_bytes(proto_of(tiny).SerializeToString())
    ran = run_lstn("infer", "--count", 3, "--out", tmp_path / "new", "--engine", tiny.path)
    assert ran.code == 2
    assert "is for models that generate, and this one classifies" in ran.err
    assert not (tmp_path / "new").exists()


def test_wrong_noise_and_labels_are_told(made: Path) -> None:
    noise, labels = noise_of(range(2), NUMBERS, 0), np.array([0, 1])
    with open_generator(made / "model.onnx") as engine:
        for bad, numbers, says in (
            (noise.astype(np.float64), labels, "noise is float64"),
            (noise[:, :3], labels, r"expected float32 \(N, 64\)"),
            (noise[:1], labels, "for 2 labels"),
            (noise, labels.astype(np.int32), "labels are int32"),
            (noise, np.array([0, 2]), "label 2; expected 0 to 1"),
            (noise, np.array([-1, 0]), "label -1"),
        ):
            with pytest.raises(UsageError, match=says):
                engine.generate(bad, numbers)
    with pytest.raises(UsageError, match="a generator, which looks at no image"), open_engine(made / "model.onnx"):
        pass


def test_a_file_with_other_tensors_is_refused(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="its inputs are noise"), open_generator(tmp_path / "model.onnx"):
        pass


def test_inspect_bench_and_doctor_take_generators(made: Path, run_lstn: RunLstn) -> None:
    said = run_lstn("inspect", made / "model.onnx").out
    for words in ("generate", "noise float32 (N, 64)", "label int64 (N)", "pixels uint8 (N, 32, 32, 3)"):
        assert words in said
    ran = run_lstn(
        "bench", made / "model.onnx", made / "model.xml", "--batch", 2, "--seconds", 0.3, "--json", made / "b.json"
    )
    assert ran.code == 0, ran.err
    assert [row["batch"] for row in json.loads((made / "b.json").read_text())["results"]] == [2, 2]
    (made / "b.json").unlink()
    said = run_lstn("doctor", made / "run").out
    assert "best validation taken for real" in said
    assert "generator: starting" in said
    assert "diversity: pictures of a class differ by" in said


def test_train_says_its_figures(made: Path, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("train", "--task", "generate", "--loc", "none", "--data", f"folder:{made / 'set'}", "--image-size", 16)
    ran = run_lstn(*words, "--epochs", 1, "--name", "g", "--batch-size", 16)
    assert ran.code == 0, ran.err
    assert "told apart" in ran.err
    assert "test taken for real" in ran.out
    assert "samples/" in ran.out
    assert {"checkpoint.safetensors", "curves.png", "metrics.jsonl", "samples", "test.json"} <= {
        path.name for path in Path("runs/g").iterdir()
    }
    for option in ("--compile", "--find-lr"):
        refused = run_lstn(*words, option, "--epochs", 1)
        assert refused.code == 2
        assert f"{option}: " in refused.err


def test_a_classifier_starts_from_a_discriminator(
    made: Path, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "run", "gan")
    words = ("train", "--loc", "none", "--data", f"folder:{made / 'set'}", "--image-size", SIDE, "--epochs", 1)
    ran = run_lstn(*words, "--model", "dcgan", "--weights", "gan", "--name", "c", "--lr", 1e-9)
    assert ran.code == 0, ran.err
    assert "dcgan starts from gan" in ran.err
    discriminator = load_checkpoint(made / "run" / CHECKPOINT)
    classifier = load_checkpoint(Path("runs/c") / CHECKPOINT)
    assert classifier.contract.mean == discriminator.contract.mean
    wanted = discriminator.model.discriminator.state_dict()  # type: ignore[union-attr]
    for name, weight in classifier.model.backbone.state_dict().items():
        torch.testing.assert_close(weight, wanted[name], atol=1e-6, rtol=0)
    other = run_lstn(*words, "--model", "cnn", "--weights", "gan", "--name", "d")
    assert other.code == 1
    assert "not the weights of cnn" in other.err
