"""A reader from its run to its answers, by commands; and what is refused by one line."""

import csv
import io
import json
from pathlib import Path

import onnx
import pytest
from command import RunLstn
from deployed_run import check_as_pytorch, check_refused, deploy, pixels_of
from short_runs import options
from small_texts import HW, MOST, block_texts
from tiny_fixtures import run_lstn

from lstn.contract import LOGITS, THETA, Loc, Task
from lstn.data.objects import objects_of
from lstn.data.texts.text_sets import open_texts
from lstn.formats.node_names import ModelPart, part_of
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.runtime.engines.opening import open_engine
from lstn.transcription.transcripts import transcripts

__all__ = ["run_lstn"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set, a run of a few epochs, and its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp("reader")
    data = f"folder:{block_texts(folder / 'set')}"
    small = {"task": Task.READ, "loc": Loc.GLANCE, "image_size": HW, "crop": (12, 12), "warps": MOST, "batch_size": 16}
    chosen = options(data, **small, epochs=8, lr=0.004, loc_lr_scale=1.0, cosine=True, supervise=1.0)
    deploy(folder, chosen, open_texts(data, image_hw=HW).val)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_engines_answer_what_pytorch_does(made: Path, name: str) -> None:
    split = open_texts(f"folder:{made / 'set'}", image_hw=HW).test
    pixels, checkpoint = pixels_of(split), load_checkpoint(made / "run" / CHECKPOINT)
    wanted, _ = check_as_pytorch(made / name, checkpoint, pixels)
    with open_engine(made / name) as engine:
        read = engine.read(list(pixels))
    labels = checkpoint.contract.labels
    assert [each.text for each in read] == [transcripts(each, None, labels)[0].text for each in wanted]


def test_the_graph_is_plain(made: Path) -> None:
    """No loop, no sequence, one sampler for all crops, and every node in a part of the model that it is of."""
    graph = onnx.load(made / "model.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert not {"Loop", "Scan", "If", "GRU", "SequenceAt"} & set(operators)
    assert operators.count("GridSample") == 1
    places = {output.name: index for index, output in enumerate(graph.output)}
    assert list(places) == [LOGITS, THETA]
    last = next(node for node in graph.node if LOGITS in node.output)
    assert part_of(last.name) is ModelPart.BACKBONE
    cells = [node.name for node in graph.node if node.name.startswith("localizer.cell")]
    assert cells
    assert {part_of(name) for name in cells} == {ModelPart.LOCALIZER}


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_infer_answers_what_the_engine_reads(made: Path, name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    photos = sorted((made / "set/test").glob("*.png"))
    ran = run_lstn("infer", *photos, "--engine", made / name, "--format", "json", "--warps", tmp_path)
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)
    with open_engine(made / name) as engine:
        assert [row["text"] for row in rows] == [each.text for each in engine.read(photos)]
    assert len(list(tmp_path.iterdir())) == len(photos)
    assert "reading" in ran.err or "images/s" in ran.err


@pytest.mark.parametrize("name", ["run", "model.onnx", "model.xml"])
def test_evaluate_says_errors_and_overlap(made: Path, name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("evaluate", made / name, "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "e.json").read_text())
    split = open_texts(f"folder:{made / 'set'}", image_hw=HW).test
    with open_engine(made / "model.onnx") as engine:
        read = [each.text for each in engine.read([split[index][0] for index in range(len(split))])]
        labels, every = engine.contract.labels, range(len(split))
        truths = ["".join(labels[number] for number in objects_of(split, index).labels) for index in every]
    wrong = sum(one != other for one, other in zip(read, truths, strict=True))
    assert [each["text"] for each in told["texts"]] == truths
    assert told["images"] - told["right"] == wrong
    assert told["text_error"]["value"] == pytest.approx(100 * wrong / len(truths))
    assert told["boxes"] == sum(map(len, truths))
    assert f"{100 * told['overlap']:.1f} %" in ran.out
    assert "texts with an error" in ran.out
    assert "texts with an error" in (tmp_path / "e.html").read_text()


@pytest.mark.parametrize("option", [("--rotate", "30"), ("--worst", "rotate 30"), ("--reject-below", "0.5")])
def test_what_of_evaluate_is_for_classifiers_says_so(made: Path, option: tuple[str, str], run_lstn: RunLstn) -> None:
    ran = run_lstn("evaluate", made / "model.onnx", *option)
    assert ran.code == 2
    assert f"{option[0]} is for models that classify, and this one reads" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "model.onnx", "set/test/0.png"),
        ("attack", "run"),
        ("compare", "model.onnx", "model.xml"),
        ("export", "run", "--triton", "models", "--engine", "onnx"),
        ("calibrate", "model.onnx", "--precision", "fp16"),
        ("doctor", "run", "--data", "folder:set"),
        ("tune", "model.onnx"),
        ("export", "run", "--precision", "int8", "--engine", "onnx"),
    ],
)
def test_what_readers_cannot_is_one_line(
    made: Path, words: tuple[str, ...], run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    check_refused(run_lstn, words, "and this one reads\n")


def test_inspect_bench_and_doctor_take_readers(made: Path, run_lstn: RunLstn) -> None:
    said = run_lstn("inspect", made / "model.onnx").out
    assert "read" in said
    assert "glance, 3 symbols" in said
    ran = run_lstn("bench", made / "model.onnx", "--batch", 2, "--seconds", 1, "--json", made / "bench.json")
    assert ran.code == 0, ran.err
    (row,) = json.loads((made / "bench.json").read_text())["results"]
    assert row["symbol_ms"] == pytest.approx(row["p50_ms"] / (2 * MOST))
    assert f"{row['symbol_ms']:.3f} ms a symbol, of 3 that an image may have" in ran.out
    ran = run_lstn("doctor", made / "run")
    assert ran.code == 0
    *epochs, last = [json.loads(line) for line in (made / "run/metrics.jsonl").read_text().splitlines()]
    best = max(epoch["val_texts_right"] for epoch in epochs)
    assert f"8 epochs, best validation texts right {best:.1%}" in ran.out
    assert f"test {last['test_texts_right']:.1%}" in ran.out


def test_train_says_its_figures_and_draws_its_texts(
    made: Path, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--task", "read", "--loc", "glance", "--model", "cnn", "--data", f"folder:{made / 'set'}", "--crop", 12)
    sizes = ("--image-size", "32x64", "--warps", 4, "--epochs", 1, "--name", "a", "--batch-size", 16)
    ran = run_lstn("train", *words, *sizes)
    assert ran.code == 0, ran.err
    assert "test texts right" in ran.out
    assert "texts with an error" in ran.err
    assert (tmp_path / "runs/a/texts.png").exists()
    told = json.loads((tmp_path / "runs/a/test.json").read_text())
    assert told["images"] == 32
    short = run_lstn("train", *words, *sizes[:2], "--warps", 2, "--epochs", 1)
    assert short.code == 1
    assert "a text of 3 symbols, and a reader of --warps 2 reads 2 at most" in short.err
    assert "train with --warps 3" in short.err


def test_a_folder_with_a_bad_table_is_one_line(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    root = block_texts(tmp_path / "set", train=4, test=2)
    rows = (root / "test/labels.csv").read_text().splitlines()
    (root / "test/labels.csv").write_text("\n".join([rows[0], "0.png,zz,"]) + "\n")
    ran = run_lstn("evaluate", made / "model.onnx", "--data", f"folder:{root}")
    assert ran.code == 1
    assert "'z' of 'zz' is none of the model's 3 symbols" in ran.err
    assert "Traceback" not in ran.err


def test_csv_of_texts_has_a_column_text(made: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("infer", made / "set/test", "--engine", made / "model.onnx", "--top", 2)
    (first, *_) = csv.DictReader(io.StringIO(ran.out))
    assert list(first) == ["path", "text", "probability", "text_2", "probability_2", "error"]
