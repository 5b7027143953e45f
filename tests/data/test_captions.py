"""COCO's caption JSON: images, words, vocabulary and several captions of an image; what is wrong is one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_captions import HW, NAMES, WORDS, block_captions

from lstn.contract import Contract, Loc, Task
from lstn.data.objects import objects_of
from lstn.data.set_names import located
from lstn.data.texts.caption_words import UNKNOWN, vocabulary, words_of
from lstn.data.texts.text_sets import check_lengths, open_texts, open_texts_of
from lstn.errors import DataError, LstnError, UsageError
from lstn.transcription.reading_scores import score_text

CONTRACT = Contract(Loc.GLANCE, "cnn", HW, WORDS, task=Task.READ, warps=5, crop_hw=(8, 8), separator=" ")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder of their own, and captions next to it."""
    return block_captions(tmp_path_factory.mktemp("captions"), images=40)


def spec(file: Path) -> str:
    return f"captions:{file},{file.parent / 'train'}"


def changed(file: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Captions of the same images after a change, as `--data` names them."""
    told = json.loads(file.read_text())
    change(told)
    other = folder / "changed.json"
    other.write_text(json.dumps(told))
    return f"captions:{other},{file.parent / 'train'}"


def test_each_image_has_its_words_and_its_other_caption(file: Path) -> None:
    data = open_texts(spec(file), image_hw=HW, seed=3)
    assert (data.labels, data.separator) == (WORDS, " ")
    texts = dict(row.split(",")[:2] for row in (file.parent / "train/labels.csv").read_text().splitlines()[1:])
    counts = []
    for split in (data.train, data.val, data.test):
        counts.append(len(split))
        for index, (path, _) in enumerate(split.files):  # type: ignore[attr-defined]
            found = objects_of(split, index)
            said = " then ".join(NAMES[symbol] for symbol in texts[path.name])
            assert " ".join(WORDS[number] for number in found.labels) == said
            (other,) = found.rewordings
            np.testing.assert_array_equal(other, found.labels)
            assert np.isnan(found.thetas).all()
    assert counts == [32, 4, 4]
    every = {path for split in (data.train, data.val, data.test) for path, _ in split.files}  # type: ignore[attr-defined]
    assert len(every) == 40
    assert "80 captions of 40 images, up to 5 words; 5 different ones, and 0 of" in data.found


def test_an_epoch_shows_the_next_caption(file: Path, tmp_path: Path) -> None:
    def reword(told: dict[str, Any]) -> None:
        for number, each in enumerate(told["annotations"]):
            each["caption"] = "red" if number % 2 else "blue then blue"

    data = open_texts(changed(file, tmp_path, reword), image_hw=HW)
    lengths = [[len(objects_of(data.train.redrawn(epoch), index)) for index in range(4)] for epoch in range(3)]
    assert lengths == [[3] * 4, [1] * 4, [3] * 4]
    assert data.val.redrawn(1) is data.val
    assert data.train.fingerprint != open_texts(spec(file), image_hw=HW).train.fingerprint
    read = Contract(Loc.NONE, "cnn", HW, data.labels, task=Task.READ, warps=3, separator=" ")
    truth, end = objects_of(data.test, 0), len(data.labels)
    logits = np.full((3, end + 1), -9, np.float32)
    for step, number in enumerate((data.labels.index("red"), end)):
        logits[step, number] = 9
    found = score_text(truth, logits, None, read)  # the nearest of both captions counts
    assert (found.truth, found.best.text, found.edits, found.symbols) == ("red", "red", 0, 1)
    logits[1] = np.eye(end + 1)[data.labels.index("blue")] * 9
    assert score_text(truth, logits, None, read).edits == 1  # words, and not letters


def test_rare_words_are_the_unknown_one(file: Path, tmp_path: Path) -> None:
    def reword(told: dict[str, Any]) -> None:
        told["annotations"][0]["caption"] = "Zebra-crossing, it's red"

    data = open_texts(changed(file, tmp_path, reword), image_hw=HW)
    assert data.labels == WORDS
    splits = (data.train, data.val, data.test)
    found = [
        words
        for split in splits
        for index in range(len(split))
        for each in [objects_of(split, index)]
        for words in (each.labels, *each.rewordings)
        if WORDS.index(UNKNOWN) in words
    ]
    assert [[WORDS[number] for number in each] for each in found] == [[UNKNOWN, UNKNOWN, "red"]]
    assert "2 of" in data.found
    with pytest.raises(DataError, match="'zebra-crossing' is none of the 4 words of the vocabulary"):
        open_texts(changed(file, tmp_path, reword), image_hw=HW, labels=WORDS[:4])


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), max_size=12), st.integers(1, 4))
def test_a_vocabulary_is_of_the_words_that_are_there_often_enough(captions: list[list[str]], least: int) -> None:
    every = [word for words in captions for word in words]
    assert vocabulary(captions, least=least) == (
        *sorted(word for word in set(every) if every.count(word) >= least),
        UNKNOWN,
    )


def test_words_are_lower_case_without_punctuation() -> None:
    said = " A man\u2019s T-shirt: \u2018Cafe\u0301\u2019 (2) ... -- "
    assert words_of(said) == ("a", "man's", "t-shirt", "café", "2")
    assert words_of("!?") == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda told: told["annotations"].pop(), None),
        (lambda told: told.pop("images"), "'images' is missing"),
        (lambda told: told["annotations"][3].update(caption=7), r"annotations\[3\].caption: expected str, found 7"),
        (lambda told: told["annotations"][3].update(caption="x" * 5000), "length <= 4000"),
        (lambda told: told["annotations"][3].update(caption=" ... "), r"annotations\[3\]: ' ... ' has no word"),
        (lambda told: told["annotations"][3].update(caption="a " * 65), "a caption of 65 words; a model says 64"),
        (lambda told: told["annotations"][3].update(caption="a" * 201), "a word of 201 characters"),
        (lambda told: told["annotations"][3].update(image_id=1), r"annotations\[3\] is of image 1, which the file"),
        (lambda told: told["images"].append(told["images"][0]), "an image's id stands twice"),
        (lambda told: told["images"].append({"id": 0, "file_name": "0.png"}), "0.png stands twice"),
        (lambda told: told["images"].append({"id": 0, "file_name": "z.png"}), "z.png has no caption"),
        (lambda told: told["images"][2].update(file_name="gone.png"), "there is no file .*gone.png"),
        (lambda told: told["images"][2].update(file_name="../0.png"), "'../0.png' is not a path below"),
        (lambda told: told.update(images=[], annotations=[]), "no images"),
        (lambda told: told.update(images=told["images"][:2], annotations=told["annotations"][:4]), "2 images, too few"),
    ],
)
def test_what_is_wrong_is_one_line(
    file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str | None
) -> None:
    data = changed(file, tmp_path, change)
    if told is None:  # one caption less is still one of each image
        assert len(open_texts(data, image_hw=HW).train) == 32
        return
    with pytest.raises(DataError, match=told) as raised:
        open_texts(data, image_hw=HW)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", '{"images": 1}', '{"images": [], "images": []}', "[" * 5000, "\ud800"])
def test_hostile_json_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"bad\.json: not COCO's captions") as raised:
        open_texts(f"captions:{tmp_path / 'bad.json'}", image_hw=HW)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("captions:", "not a file and a folder"),
        ("captions:a,b,c", "not a file and a folder"),
        ("captions:a,", "not a file and a folder"),
        ("captions:gone.json", "gone.json: no such file of captions"),
        (f"captions:{Path(__file__)},gone", "gone: no such folder"),
    ],
)
def test_a_name_that_names_nothing_is_one_line(data: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_texts(data, image_hw=HW)


def test_a_name_means_the_same_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("captions:a/b.json") == f"captions:{tmp_path}/a/b.json,{tmp_path}/a"
    assert located("captions:b.json,c") == f"captions:{tmp_path}/b.json,{tmp_path}/c"


def test_images_lie_next_to_the_file_unless_a_folder_is_named(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    told = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(3)],
        "annotations": [{"image_id": number, "caption": "black"} for number in range(3) for _ in range(5)],
    }
    (tmp_path / "c.json").write_text(json.dumps(told))
    data = open_texts(f"captions:{tmp_path / 'c.json'}", image_hw=(8, 8))
    assert data.labels == ("black", UNKNOWN)
    assert (len(data.train), len(data.test)) == (1, 1)
    told["annotations"] = [each for number, each in enumerate(told["annotations"]) if number % 5]
    (tmp_path / "c.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="no word is in the training captions 5 times"):
        open_texts(f"captions:{tmp_path / 'c.json'}", image_hw=(8, 8))


def test_a_trained_model_takes_its_own_kind_of_text(file: Path) -> None:
    data = open_texts_of(CONTRACT, spec(file), seed=0)
    check_lengths(data.test, 5, spec(file))
    with pytest.raises(DataError, match="a text of 5 symbols, and a reader of --warps 3 reads 3 at most"):
        check_lengths(data.train, 3, spec(file))
    with pytest.raises(DataError, match="has texts of characters, and the model reads words"):
        open_texts_of(CONTRACT, "numbers-digits", seed=0)
    unseeded = open_texts_of(CONTRACT, spec(file), seed=None)
    with pytest.raises(LstnError, match="is split by a seed"):
        _ = unseeded.test
