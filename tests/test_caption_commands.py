"""A model that says captions, from its run to its answers by commands: words, where each is, and what is refused."""

import json
from pathlib import Path

import pytest
from command import RunLstn
from deployed_run import check_as_pytorch, deploy, pixels_of
from short_runs import options
from small_captions import HW, MOST, WORDS, block_captions
from tiny_fixtures import run_lstn

from lstn.contract import Loc, Task
from lstn.data.objects import objects_of
from lstn.data.texts.text_sets import open_texts
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.transcription.transcripts import transcripts

__all__ = ["run_lstn"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captions, a run of a few epochs, and its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp("captions")
    block_captions(folder / "set", images=160)
    data = f"captions:{folder / 'set/captions.json'},{folder / 'set/train'}"
    small = {"task": Task.READ, "loc": Loc.GLANCE, "image_size": HW, "crop": (12, 12), "warps": MOST, "batch_size": 16}
    chosen = options(data, **small, epochs=12, lr=0.004, loc_lr_scale=1.0, cosine=True)
    deploy(folder, chosen, open_texts(data, image_hw=HW).val)
    return folder


def test_it_learns_the_order_of_words(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    """Far fewer words are wrong than of a model that says `red` of every image, of which all but a third are."""
    ran = run_lstn("evaluate", made / "run", "--json", tmp_path / "e.json", "--split", "all")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "e.json").read_text())
    texts = [each["text"].split() for each in told["texts"]]
    assert told["symbols"] == sum(map(len, texts))
    assert set().union(*texts) == set(WORDS[:4])
    assert told["symbol_error"]["value"] < 40


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_engines_say_what_pytorch_says(made: Path, name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    data = f"captions:{made / 'set/captions.json'},{made / 'set/train'}"
    split = open_texts(data, image_hw=HW).test
    checkpoint = load_checkpoint(made / "run" / CHECKPOINT)
    assert (checkpoint.contract.labels, checkpoint.contract.separator) == (WORDS, " ")
    wanted, _ = check_as_pytorch(made / name, checkpoint, pixels_of(split))
    files = [path for path, _ in split.files]  # type: ignore[attr-defined]
    ran = run_lstn("infer", *files, "--engine", made / name, "--format", "json", "--warps", tmp_path)
    assert ran.code == 0, ran.err
    said = [transcripts(each, None, WORDS, separator=" ")[0].text for each in wanted]
    assert [row["text"] for row in json.loads(ran.out)] == said
    assert all(row["text"] == " ".join(each["label"] for each in row["symbols"]) for row in json.loads(ran.out))
    assert len(list(tmp_path.iterdir())) == len(split)


def test_a_vocabulary_of_another_set_is_one_line(made: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("evaluate", made / "model.onnx", "--data", "captions-digits")
    assert ran.code == 1
    assert "--data captions-digits has 22 classes" in ran.err
    ran = run_lstn("evaluate", made / "model.onnx", "--data", "numbers-digits")
    assert ran.code == 1
    assert "has texts of characters, and the model reads words" in ran.err
    assert "Traceback" not in ran.err


def test_train_takes_the_names_of_sets_with_texts(
    run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is opened: what is wrong is found there, and not in the name."""
    monkeypatch.chdir(tmp_path)
    for data in ("numbers-digits", "captions-digits"):
        ran = run_lstn("train", "--task", "read", "--loc", "glance", "--model", "cnn", "--data", data, "--warps", 3)
        assert "train with --warps" in ran.err
    ran = run_lstn("train", "--task", "read", "--data", "captions:gone.json")
    assert "gone.json: no such file of captions" in ran.err
    assert not list(tmp_path.iterdir())


def test_captions_longer_than_the_model_says_are_one_line(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    told = json.loads((made / "set/captions.json").read_text())
    told["annotations"][0]["caption"] = "red then red then red then red"
    (tmp_path / "long.json").write_text(json.dumps(told))
    data = f"captions:{tmp_path / 'long.json'},{made / 'set/train'}"
    ran = run_lstn("evaluate", made / "model.onnx", "--data", data, "--split", "all")
    assert ran.code == 1
    assert "a text of 7 symbols, and a reader of --warps 5 reads 5 at most" in ran.err


def test_the_first_caption_counts_as_the_text_of_an_image(made: Path) -> None:
    split = open_texts(f"captions:{made / 'set/captions.json'},{made / 'set/train'}", image_hw=HW).test
    assert {len(objects_of(split, index).rewordings) for index in range(len(split))} == {1}
