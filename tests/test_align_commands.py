"""A model that aligns, from its run to its answers by commands: sentences are looked for in images."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from command import RunLstn
from deployed_run import check_as_pytorch, check_refused, deploy, pixels_of
from PIL import Image
from short_runs import options
from small_captions import HW, WORDS, block_captions
from tiny_fixtures import run_lstn

from lstn.alignment.sentence_encoder import encoded, sentence_encoder
from lstn.alignment.word_regions import regions_of_words, sentence_score
from lstn.contract import LOGITS, SPACE, THETA, Loc, Task
from lstn.data.texts.text_sets import open_texts
from lstn.errors import ArtifactError, UsageError
from lstn.nn.aligner import Aligner
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.runtime.engines.opening import open_engine
from lstn.sharing.hub import wanted_files
from lstn.sharing.hub_page import hub_page
from lstn.sharing.shared_model import shared_model

__all__ = ["run_lstn"]

SAID = "Red, then blue!"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captions, a run of an epoch, and its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp("align")
    block_captions(folder / "set", images=60)
    data = f"captions:{folder / 'set/captions.json'},{folder / 'set/train'}"
    small = {"task": Task.ALIGN, "loc": Loc.GLANCE, "image_size": HW, "crop": (12, 12), "warps": 3, "batch_size": 16}
    deploy(folder, options(data, **small, epochs=1, lr=0.004, loc_lr_scale=1.0), open_texts(data, image_hw=HW).val)
    return folder


def test_engines_answer_what_pytorch_does(made: Path) -> None:
    data = f"captions:{made / 'set/captions.json'},{made / 'set/train'}"
    split = open_texts(data, image_hw=HW).test
    pixels, checkpoint = pixels_of(split), load_checkpoint(made / "run" / CHECKPOINT)
    model, whole = checkpoint.model, np.broadcast_to(np.eye(2, 3), (len(split), 2, 3))
    assert isinstance(model, Aligner)
    words = np.array([2, 3, 0])
    for name in ("model.onnx", "model.xml"):
        wanted, places = check_as_pytorch(made / name, checkpoint, pixels)
        assert wanted.shape == (len(split), 3, SPACE)
        np.testing.assert_array_equal(places[:, 0], whole)
        with (
            open_engine(made / name) as engine,
            pytest.raises(UsageError, match="read is for models that read, and this one aligns"),
        ):
            engine.read(pixels[0])
        with sentence_encoder(made / name) as encode, torch.inference_mode():
            said = model.words(torch.from_numpy(words)).numpy()
            np.testing.assert_allclose(encode(words), said, atol=1e-4 * np.abs(said).max())


@pytest.mark.parametrize("name", ["run", "model.onnx", "model.xml"])
def test_evaluate_says_what_finds_what(made: Path, name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("evaluate", made / name, "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "e.json").read_text())
    assert (told["images"], told["among"], told["overlap"]) == (5, 5, None)
    assert "sentence of an image found" in ran.out
    assert "image of a sentence found" in (tmp_path / "e.html").read_text()
    (made / f"{name}.figures").write_text(json.dumps([told["sentence_recall"], told["image_recall"]]))
    kept = [each.read_text() for each in made.glob("*.figures")]
    assert len(set(kept)) == 1  # all forms of the model find the same


def test_infer_looks_for_a_sentence(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    photos = [made / "set/train" / f"{number}.png" for number in range(5)]
    words = ("infer", *photos, "--engine", made / "model.onnx", "--sentence", SAID)
    ran = run_lstn(*words, "--format", "json", "--warps", tmp_path / "w")
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)
    with open_engine(made / "model.onnx") as engine, sentence_encoder(made / "model.onnx") as encode:
        answer = engine.infer(np.stack([np.asarray(Image.open(photo)) for photo in photos]))
        said = encode(np.array([WORDS.index(word) for word in ("red", "then", "blue")]))
    assert answer.theta is not None
    for row, regions, theta in zip(rows, answer.logits, answer.theta, strict=True):
        assert row["sentence"] == "red then blue"
        assert row["score"] == pytest.approx(sentence_score(regions, said), rel=1e-4)
        assert [each["label"] for each in row["words"]] == ["red", "then", "blue"]
        chosen = theta[regions_of_words(regions, said)]
        np.testing.assert_allclose([each["theta"] for each in row["words"]], chosen, atol=1e-5)
    assert len(list((tmp_path / "w").iterdir())) == 5
    table = csv.DictReader(io.StringIO(run_lstn(*words).out))
    assert [float(each["score"]) for each in table] == pytest.approx([row["score"] for row in rows], abs=1e-5)
    assert f"{rows[0]['score']:.2f}" in run_lstn(*words, "--format", "table").out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "a model that aligns looks for a sentence"),
        (("--sentence", "!"), "--sentence '!': 0 words"),
        (("--sentence", "red " * 65), "65 words"),
        (("--sentence", "red", "--score", 0.5), "--score is for models that detect, and this one aligns"),
    ],
)
def test_what_is_no_sentence_is_one_line(made: Path, more: tuple[object, ...], told: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("infer", made / "set/train/0.png", "--engine", made / "model.onnx", *more)
    assert ran.code == 2
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_a_word_that_the_model_does_not_have_is_one_line() -> None:
    def encode(words: np.ndarray) -> np.ndarray:
        return np.zeros((len(words), SPACE), np.float32)

    with pytest.raises(UsageError, match="--sentence: 'zebra' is none of the model's 4 words"):
        encoded("a red zebra", ("a", *WORDS[:3]), encode)
    assert encoded("a red zebra", WORDS, encode).words == ("<unknown>", "red", "<unknown>")


def test_no_server_starts_for_one(made: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("serve", "--engine", made / "model.onnx", "--http-port", 0)
    assert ran.code != 0
    assert "a model that aligns is not served" in ran.err
    assert "Traceback" not in ran.err


def test_other_models_take_no_sentence(run_lstn: RunLstn, made: Path) -> None:
    ran = run_lstn("infer", made / "set/train/0.png", "--engine", "zoo:digits", "--sentence", "red")
    assert "--sentence is for models that align, and this one classifies" in ran.err


def test_the_encoder_belongs_to_its_model(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    shutil.copy(made / "model.onnx", tmp_path / "other.onnx")
    photo = made / "set/train/0.png"
    ran = run_lstn("infer", photo, "--engine", tmp_path / "other.onnx", "--sentence", "red")
    assert ran.code == 1
    assert "other.words: there is no such file, which knows the words" in ran.err
    (tmp_path / "other.words").write_bytes((made / "model.onnx").read_bytes())
    with (
        pytest.raises(ArtifactError, match="doesn't turn words into vectors"),
        sentence_encoder(tmp_path / "other.onnx"),
    ):
        pass
    shutil.copy(made / "model.words", tmp_path / "other.words")
    proto = onnx.load(made / "model.onnx")
    proto.producer_name = "another"
    onnx.save(proto, tmp_path / "next.onnx")
    shutil.copy(made / "model.words", tmp_path / "next.words")
    with pytest.raises(ArtifactError, match="exported with another model"), sentence_encoder(tmp_path / "next.onnx"):
        pass
    (tmp_path / "other.words").write_bytes(b"\0" * 40)
    with pytest.raises(ArtifactError, match=r"other\.words"), sentence_encoder(tmp_path / "other.onnx"):
        pass


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "model.onnx", "set/train/0.png"),
        ("attack", "run"),
        ("calibrate", "model.onnx", "--precision", "fp16"),
        ("tune", "model.onnx"),
        ("export", "run", "--triton", "models", "--engine", "onnx"),
        ("evaluate", "model.onnx", "--rotate", "30"),
        ("compare", "model.onnx", "model.xml"),
        ("doctor", "run", "--data", "folder:set"),
        ("export", "run", "--precision", "int8", "--engine", "onnx"),
    ],
)
def test_what_aligners_cannot_is_one_line(
    made: Path, words: tuple[str, ...], run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    check_refused(run_lstn, words, "and this one aligns\n")


def test_a_graph_has_one_sampler_and_both_outputs(made: Path, run_lstn: RunLstn) -> None:
    said = run_lstn("inspect", made / "model.onnx").out
    assert "align" in said
    assert "glance, 3 regions" in said
    assert LOGITS in said
    assert THETA in said
    ran = run_lstn("bench", made / "model.onnx", "--batch", 2, "--seconds", 0.2)
    assert ran.code == 0, ran.err
    ran = run_lstn("doctor", made / "run")
    assert ran.code == 0
    assert "best validation pairs found" in ran.out


def test_what_knows_the_words_is_shared_with_the_model(made: Path, tmp_path: Path) -> None:
    shared = shared_model([made / "model.onnx", made / "model.xml", made / "run"])
    names = {"model.onnx", "model.xml", "model.bin", "model.words", "checkpoint.safetensors"}
    assert {each.name for each in shared.files} == names
    assert "image-feature-extraction" in hub_page(shared, "ada/finds")
    sizes = dict.fromkeys([*names, "other.words", "a.bin"], 1)
    assert set(wanted_files("ada/finds", sizes)) == names
    assert wanted_files("ada/finds", {"m.xml": 1, "m.words": 1, "m.bin": 1}) == ("m.xml", "m.bin", "m.words")
    shutil.copy(made / "model.onnx", tmp_path / "alone.onnx")
    with pytest.raises(ArtifactError, match=r"alone\.words: there is no such file, which knows the words"):
        shared_model([tmp_path / "alone.onnx"])
