"""Models that come with lstn: their names, their cards, and whether they do what these say."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer.main
from command import RunLstn

import lstn
from benchmarks.zoo import RECIPES
from lstn.cli.app import app
from lstn.data.dataset import open_data
from lstn.data.published.sign_names import SIGN_NAMES
from lstn.errors import UsageError
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.openvino.to_openvino import write_openvino
from lstn.files import sha256_of
from lstn.formats.onnx_file import read_model
from lstn.zoo.model_card import card_facts, card_page, read_card
from lstn.zoo.named_models import FOLDER, model_path, shown_path, zoo_names

MOST_BYTES = 700_000
NAMES = zoo_names()
EMBEDDED = [name for name in NAMES if name != "signs"]
"""Models whose test images come with lstn too."""


def test_there_are_models() -> None:
    assert "digits" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_of_its_file(name: str) -> None:
    model = model_path(f"zoo:{name}")
    card = read_card(model)
    assert card is not None
    assert (card.name, card.bytes, card.sha256) == (name, model.stat().st_size, sha256_of(model))
    assert card.bytes <= MOST_BYTES
    assert model.with_suffix(".md").read_text() == card_page(card)
    assert list(card.accuracy) == ["0", "15", "30", "45"]
    assert card.made_by.startswith(f"python -m benchmarks zoo {name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_is_and_names_no_folder(name: str) -> None:
    contract, file = read_model(model_path(f"zoo:{name}"))
    assert contract.backbone == "cnn"
    assert contract.labels == (SIGN_NAMES if name == "signs" else tuple("0123456789"))
    assert file.training is not None
    assert file.training.data == {"signs": "gtsrb"}.get(name, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_list_a_model_and_the_notice_says_whose_images_it_knows(name: str) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "how-to" / "first-answer.md").read_text()
    assert f"| `zoo:{name}` |" in page
    assert f"(../../lstn/zoo/{name}.md)" in page
    assert f"{name}.onnx" in (root / "NOTICE").read_text()


def test_nothing_else_lies_among_the_models() -> None:
    wanted = {"__init__.py", "named_models.py", "model_card.py"}
    wanted |= {f"{name}{suffix}" for name in NAMES for suffix in (".onnx", ".json", ".md")}
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == wanted


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_model_is_as_good_as_its_card_says(name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    """Another CPU adds up in another order: an answer or two of 1,000 may change."""
    card, report = read_card(model_path(f"zoo:{name}")), tmp_path / "report.json"
    assert card is not None
    assert run_lstn("evaluate", f"zoo:{name}", "--rotate", "30", "--json", report).code == 0
    found = json.loads(report.read_text())
    assert found["file"] == f"zoo:{name}"
    assert found["images"] == card.tested
    assert found["top1"] == pytest.approx(card.accuracy["0"], abs=0.002)
    assert found["disturbed"][0]["top1"] == pytest.approx(card.accuracy["30"], abs=0.002)
    for kind in ("rotation", "scale", "shift"):
        assert found["follow"][kind]["value"] == pytest.approx(card.follow[kind]["value"], abs=0.01)


@pytest.mark.parametrize("name", EMBEDDED)
def test_python_takes_the_name_and_reads_test_images(name: str) -> None:
    with lstn.open_engine(f"zoo:{name}") as engine:
        test = open_data(name, image_hw=engine.contract.image_hw).test
        images = [test[index] for index in range(40)]
        answers = engine.classify([pixels for pixels, _ in images])
    right = sum(answer.label == str(label) for answer, (_, label) in zip(answers, images, strict=True))
    assert right >= 32  # of 1,000 it gets nine of ten


@pytest.mark.parametrize("name", NAMES)
def test_openvino_answers_as_onnx_runtime_does(name: str, tmp_path: Path) -> None:
    model, xml = model_path(f"zoo:{name}"), tmp_path / "model.xml"
    images = sample_images("digits", read_model(model)[0].image_hw, seed=1)[:32]
    write_openvino(model, xml, images)
    with lstn.open_engine(f"zoo:{name}") as one, lstn.open_engine(xml) as other:
        first, second = one.infer(images), other.infer(images)
    assert first.theta is not None
    assert second.theta is not None
    np.testing.assert_allclose(first.theta, second.theta, atol=1e-4)
    np.testing.assert_allclose(first.logits, second.logits, atol=2e-3)


def test_an_export_starts_from_a_copy(run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(FOLDER.iterdir())
    assert run_lstn("export", "zoo:digits").code == 0
    assert (tmp_path / "digits.onnx").read_bytes() == model_path("zoo:digits").read_bytes()
    assert run_lstn("export", "zoo:digits", "--engine", "trt", "--script", "--out", "device").code == 0
    assert {path.name for path in Path("device").iterdir()} == {"digits.onnx", "digits.trtexec.sh"}
    assert run_lstn("export", "zoo:digits", "--engine", "openvino").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"device", "digits.onnx", "digits.xml", "digits.bin"}
    assert sorted(FOLDER.iterdir()) == before


def test_a_copy_replaces_no_file_of_somebody_else(
    run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits.onnx").write_text("mine")
    ran = run_lstn("export", "zoo:digits")
    assert (ran.code, Path("digits.onnx").read_text()) == (2, "mine")


def test_a_model_is_lowered_into_the_current_folder(
    run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_lstn("calibrate", "zoo:digits", "--precision", "fp16").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "digits.fp16.onnx", "digits.fp16.cost.json", "digits.fp16.cost.html",
    }  # fmt: skip


def test_tables_call_a_model_by_its_name(run_lstn: RunLstn, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    command = ("bench", "zoo:digits", "--seconds", 0.1, "--threads", 1)
    for more in (("--json", kept), ("--against", kept, "--tolerance", 1000)):
        ran = run_lstn(*command, *more)
        assert ran.code == 0
        assert "zoo:digits " in ran.out
        assert str(FOLDER) not in ran.out + ran.err


def test_doctor_calls_a_model_as_it_was_typed(run_lstn: RunLstn) -> None:
    ran = run_lstn("doctor", "zoo:digits")
    assert ran.code == 2
    assert (
        ran.err
        == "error: zoo:digits is not a run\n  see what it is with: lstn inspect zoo:digits; doctor looks at runs\n"
    )


def test_inspect_shows_the_card(run_lstn: RunLstn) -> None:
    card = read_card(model_path("zoo:digits"))
    assert card is not None
    shown = " ".join(run_lstn("inspect", "zoo:digits").out.split())
    assert all(" ".join(value.split()) in shown for value in card_facts(card).values())
    told = json.loads(run_lstn("inspect", "zoo:digits", "--format", "json").out)
    assert told["card"]["sha256"] == card.sha256
    assert told["contract"]["labels"] == list("0123456789")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("zoo:digit", "there is no model zoo:digit; did you mean zoo:digits?"),
        ("zoo:Digits", "there is no model zoo:Digits; did you mean zoo:digits?"),
        ("ZOO:digits", "there is no model ZOO:digits; did you mean zoo:digits?"),
        ("zoo:photographs", "there is no model zoo:photographs"),
        ("zoo:", "zoo: names no model"),
        ("zoo:../zoo/digits", "there is no model zoo:../zoo/digits"),
        ("zoo:digits.onnx", "there is no model zoo:digits.onnx; did you mean zoo:digits?"),
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(typed: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        lstn.open_engine(typed)
    assert raised.value.message.startswith(said)
    assert raised.value.hint == f"choose one of: {', '.join(f'zoo:{name}' for name in NAMES)}"


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "x.png", "--engine", "zoo:digit"),
        ("serve", "--engine", "zoo:digit"),
        ("bench", "zoo:digit"),
        ("evaluate", "zoo:digit"),
        ("inspect", "zoo:digit"),
        ("calibrate", "zoo:digit"),
        ("export", "zoo:digit", "--engine", "openvino"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_takes_a_model_takes_its_name(run_lstn: RunLstn, words: tuple[str, ...]) -> None:
    ran = run_lstn(*words)
    assert ran.code == 2
    assert ran.err.startswith(
        "error: there is no model zoo:digit; did you mean zoo:digits?\n  choose one of: zoo:digits"
    )


def test_a_path_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_path("runs/zoo:digits/model.onnx") == Path("runs/zoo:digits/model.onnx")
    monkeypatch.chdir(tmp_path)
    Path("zoo:signs").write_bytes(b"a file of one's own")
    assert model_path(Path("./zoo:signs")) == Path("zoo:signs")
    assert model_path(tmp_path) == tmp_path
    assert shown_path(tmp_path / "digits.onnx") == str(tmp_path / "digits.onnx")
    assert shown_path(model_path("zoo:digits")) == "zoo:digits"
    assert read_card(tmp_path / "digits.onnx") is None


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_of_the_recipe_that_made_it(name: str) -> None:
    card, recipe = read_card(model_path(f"zoo:{name}")), RECIPES[name]
    assert card is not None
    assert card.trained == f"lstn train {recipe.options} --data {'folder:PATH' if recipe.given else recipe.data}"
    told = (card.knows, card.images, card.licence, card.tested_on)
    assert told == (recipe.knows, recipe.images, recipe.licence, recipe.tested_on)


def test_every_recipe_is_a_command_that_can_be_typed() -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    for recipe in RECIPES.values():
        command.make_context("train", [*recipe.options.split(), "--data", recipe.data])
