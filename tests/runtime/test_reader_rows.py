"""A reader's answers by engine, `lstn infer` and server: texts, and where their symbols are."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from command import RunLstn
from PIL import Image
from serving import Server, connect, outputs_of, pixels_input, png, serving
from tiny import SIDE, Tiny
from tiny_reader import ALPHABET, WORDS, tiny_reader
from tritonclient.utils import InferenceServerException

import lstn
from lstn.contract import Loc
from lstn.errors import UsageError
from lstn.runtime.engines.opening import open_engine
from lstn.transcription.transcripts import transcripts

COLOURS = np.random.default_rng(4).integers(0, 256, (6, 1, 1, 3), np.uint8)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_reader(tmp_path_factory.mktemp("read") / "reader.onnx")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.tile(COLOURS, (1, SIDE, SIDE, 1))


@pytest.fixture
def files(pixels: np.ndarray, tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for file, image in zip(found, pixels, strict=True):
        Image.fromarray(image).save(file)
    return found


def wanted_of(tiny: Tiny, pixels: np.ndarray, top: int = 1) -> list[Any]:
    both = zip(tiny.logits(pixels), tiny.theta(pixels), strict=True)
    found = [transcripts(logits, theta.astype(np.float32), ALPHABET, top=top) for logits, theta in both]
    assert len({len(each[0].text) for each in found}) > 1  # of several lengths
    return found


def test_an_engine_reads_one_image_or_several(reader: Tiny, pixels: np.ndarray) -> None:
    with lstn.open_engine(reader.path) as engine:
        found = engine.read(list(pixels))
        assert engine.read(pixels[0]).text == found[0].text
        with pytest.raises(UsageError, match="classify is for models that classify, and this one reads") as raised:
            engine.classify(pixels[0])
        assert raised.value.hint == "call read"
    for one, (other,) in zip(found, wanted_of(reader, pixels), strict=True):
        assert one.text == other.text
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
        assert [each.label for each in one.symbols] == list(one.text)
        for symbol, wanted in zip(one.symbols, other.symbols, strict=True):
            np.testing.assert_allclose(symbol.theta, wanted.theta, atol=1e-5)


def test_other_models_do_not_read(pixels: np.ndarray) -> None:
    with (
        open_engine(Path("lstn/zoo/digits.onnx")) as engine,
        pytest.raises(UsageError, match="read is for models that read, and this one classifies"),
    ):
        engine.read(np.zeros((8, 8, 3), np.uint8))


def test_infer_writes_texts_and_symbols_as_json(
    reader: Tiny, pixels: np.ndarray, files: list[Path], run_lstn: RunLstn
) -> None:
    ran = run_lstn("infer", *files, "--engine", reader.path, "--format", "json", "--top", 3)
    assert ran.code == 0, ran.err
    for row, texts in zip(json.loads(ran.out), wanted_of(reader, pixels, top=3), strict=True):
        assert list(row) == ["path", "text", "probability", "top", "symbols"]
        assert [each["text"] for each in row["top"]] == [each.text for each in texts]
        assert row["text"] == texts[0].text
        assert row["probability"] == pytest.approx(texts[0].probability, abs=1e-5)
        assert [each["label"] for each in row["symbols"]] == list(row["text"])
        for found, symbol in zip(row["symbols"], texts[0].symbols, strict=True):
            np.testing.assert_allclose(found["theta"], symbol.theta, atol=1e-5)
            assert found["score"] == pytest.approx(symbol.score, abs=1e-5)
            assert len(found["box"]) == 4


def test_infer_writes_texts_as_csv_and_as_a_table(
    reader: Tiny, pixels: np.ndarray, files: list[Path], run_lstn: RunLstn, tmp_path: Path
) -> None:
    texts = [each[0].text for each in wanted_of(reader, pixels)]
    out = tmp_path / "out.csv"
    for _ in range(2):  # the second time over its own file
        assert run_lstn("infer", *files, "--engine", reader.path, "--output", out).code == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["path", "text", "probability", "error"]
    assert [row["text"] for row in rows] == texts
    table = run_lstn("infer", *files, "--engine", reader.path, "--format", "table").out
    for text, line in zip(texts, table.splitlines(), strict=True):
        assert f"  {text} " in line
        assert "%" in line


def test_texts_below_a_probability_are_rejected(
    reader: Tiny, pixels: np.ndarray, files: list[Path], run_lstn: RunLstn
) -> None:
    least = float(np.median([each[0].probability for each in wanted_of(reader, pixels)]))
    ran = run_lstn("infer", *files, "--engine", reader.path, "--format", "json", "--reject-below", least)
    kept = [row["text"] for row in json.loads(ran.out)]
    wanted = [each[0].text if each[0].probability >= least else None for each in wanted_of(reader, pixels)]
    assert kept == wanted
    assert None in kept
    ran = run_lstn("infer", *files, "--engine", reader.path, "--score", "0.5")
    assert ran.code == 2
    assert "--score is for models that detect, and this one reads" in ran.err


def test_warps_draws_which_crop_is_which_symbol(
    reader: Tiny, files: list[Path], run_lstn: RunLstn, tmp_path: Path
) -> None:
    assert run_lstn("infer", *files, "--engine", reader.path, "--warps", tmp_path / "w").code == 0
    drawn = sorted((tmp_path / "w").iterdir())
    assert len(drawn) == len(files)
    with Image.open(drawn[0]) as picture:
        assert max(picture.size) == 448


def test_a_reader_without_a_transformer_says_no_places(
    tmp_path: Path, pixels: np.ndarray, files: list[Path], run_lstn: RunLstn
) -> None:
    plain = tiny_reader(tmp_path / "plain.onnx", loc=Loc.NONE)
    ran = run_lstn("infer", *files, "--engine", plain.path, "--format", "jsonl")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["symbols"] for row in rows] == [[]] * len(files)
    wanted = [transcripts(logits, None, ALPHABET)[0].text for logits in plain.logits(pixels)]
    assert [row["text"] for row in rows] == wanted
    ran = run_lstn("infer", *files, "--engine", plain.path, "--warps", tmp_path / "w")
    assert ran.code == 2
    assert "has no transformer" in ran.err


def test_a_model_of_words_answers_sentences(files: list[Path], run_lstn: RunLstn, tmp_path: Path) -> None:
    tiny = tiny_reader(tmp_path / "words.onnx", seed=4, words=True)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    both = zip(tiny.logits(pixels), tiny.theta(pixels).astype(np.float32), strict=True)
    wanted = [[each.label for each in transcripts(logits, theta, WORDS)[0].symbols] for logits, theta in both]
    assert max(map(len, wanted)) > 2
    ran = run_lstn("infer", *files, "--engine", tiny.path, "--format", "json", "--warps", tmp_path / "w")
    assert [row["text"] for row in json.loads(ran.out)] == [" ".join(words) for words in wanted]
    assert len(list((tmp_path / "w").iterdir())) == len(files)
    table = run_lstn("infer", *files, "--engine", tiny.path, "--format", "table").out
    assert all(" ".join(words) in table for words in wanted)
    with lstn.open_engine(tiny.path) as engine:
        assert [each.text for each in engine.read(list(pixels))] == [" ".join(words) for words in wanted]


@pytest.fixture(scope="module")
def server(reader: Tiny) -> Iterator[Server]:
    plain = tiny_reader(reader.path.with_name("plain.onnx"), loc=Loc.NONE)
    words = tiny_reader(reader.path.with_name("words.onnx"), words=True)
    engines = [word for each in (reader, plain, words) for word in ("--engine", each.path)]
    with serving(*engines, "--max-batch", 2, "--max-wait-ms", 0) as ran:
        yield ran
        assert ran.stop() == (0, "")


@pytest.mark.parametrize("name", ["reader", "plain", "words"])
def test_a_server_answers_texts(server: Server, reader: Tiny, pixels: np.ndarray, name: str) -> None:
    client = tritonclient.http
    told = connect(client, server).get_model_metadata(name)
    outputs = {each["name"]: each["datatype"] for each in told["outputs"]}
    assert {"text": "BYTES", "probability": "FP32", "symbols": "BYTES", "logits": "FP32"}.items() <= outputs.items()
    asked = [client.InferRequestedOutput(each) for each in ("text", "probability", "symbols")]
    answer = connect(client, server).infer(name, [pixels_input(client, pixels)], outputs=asked)
    with open_engine(reader.path.with_name(f"{name}.onnx")) as engine:
        wanted = engine.read(list(pixels))
    assert [text.decode() for text in answer.as_numpy("text")] == [each.text for each in wanted]
    np.testing.assert_allclose(answer.as_numpy("probability"), [each.probability for each in wanted], atol=1e-5)
    found = [json.loads(one) for one in answer.as_numpy("symbols")]
    assert [[each["label"] for each in one] for one in found] == [
        [each.label for each in one.symbols] for one in wanted
    ]


def test_a_file_alone_is_answered_with_its_text(server: Server, reader: Tiny, pixels: np.ndarray) -> None:
    for image, (wanted,) in zip(pixels, wanted_of(reader, pixels), strict=True):
        status, _, answer = server.ask("POST", "/v2/models/reader/infer", png(image))
        assert status == 200
        outputs = outputs_of(answer)
        assert list(outputs) == ["text", "probability", "symbols"]
        assert outputs["text"] == [wanted.text]


def test_kserve_v1_answers_texts(server: Server, reader: Tiny, pixels: np.ndarray) -> None:
    body = json.dumps({"instances": pixels.tolist()}).encode()
    status, _, answer = server.ask("POST", "/v1/models/reader:predict", body)
    assert status == 200
    found = json.loads(answer)["predictions"]
    assert [each["text"] for each in found] == [wanted.text for (wanted,) in wanted_of(reader, pixels)]
    assert [[symbol["label"] for symbol in each["symbols"]] for each in found] == [list(each["text"]) for each in found]


def test_a_server_refuses_classes_of_a_reader(server: Server, pixels: np.ndarray) -> None:
    client = tritonclient.http
    asked = [client.InferRequestedOutput("logits", class_count=2)]
    with pytest.raises(InferenceServerException) as error:
        connect(client, server).infer("reader", [pixels_input(client, pixels)], outputs=asked)
    assert str(error.value.message()).endswith("is for models that classify, and this one reads: ask for text")
