"""`lstn explain` and `lstn evaluate --top-losses` as a user types them, on engines."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from command import RunLstn
from PIL import Image
from tiny import SIDE, MakeTiny, Tiny

from lstn.contract import Loc
from lstn.data.dataset import open_data
from lstn.evaluation.answer import softmax
from lstn.evaluation.top_losses import LossRanking
from lstn.explanation.explaining import HeatMap, points, shift
from lstn.explanation.heat_pictures import heat_over
from lstn.imaging.framing import outside_of
from lstn.imaging.saved_picture import save_picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for name in ("a", "b ü&<", "c"):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def test_every_image_gets_a_picture_and_figures(tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    out = tmp_path / "out"
    ran = run_lstn("explain", tiny.path, photos, "--out", out, "--window", "3", "--stride", "2")
    assert ran.code == 0, ran.err
    told = json.loads((out / "explain.json").read_text())
    assert told["explained"] == str(tiny.path)
    assert [Path(each["path"]).name for each in told["images"]] == ["a.png", "b ü&<.png", "c.png"]
    for number, each in enumerate(told["images"], 1):
        assert each["picture"] == f"{number:06d}-{Path(each['path']).stem}.png"
        assert Image.open(out / each["picture"]).size == (4 * 224 + 3 * 8, 224 + 20), "photo, crop and two maps"
        pixels = np.asarray(Image.open(each["path"]))
        before = softmax(tiny.logits(pixels[None]))[0]
        assert each["label"] == tiny.contract.labels[before.argmax()]
        assert each["probability"] == pytest.approx(before.max(), abs=1e-4)
        found = each["occlusion"]
        assert (found["window_px"], found["rows_px"], found["columns_px"]) == (3, [0, 2, 4, 5], [0, 2, 4, 5])
        covered = pixels.copy()
        covered[4:7, 2:5] = outside_of(tiny.contract.mean)
        after = softmax(tiny.logits(covered[None]))[0]
        assert found["fall"][2][1] == pytest.approx(before.max() - after[before.argmax()], abs=1e-4)
        assert each["maps"].keys() == {"moves the label", "moves the warp"}
        assert np.shape(each["outlines_px"]) == (1, 8, 2)
    assert {path.name for path in out.iterdir()} == {
        *(each["picture"] for each in told["images"]), "index.html", "explain.json",
    }  # fmt: skip


def test_a_model_without_a_transformer_has_no_map_of_the_warp(
    make_tiny: MakeTiny, photos: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    ran = run_lstn("explain", make_tiny(loc=Loc.NONE).path, photos / "a.png", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    (told,) = json.loads((tmp_path / "out" / "explain.json").read_text())["images"]
    assert told["occlusion"]["moved_px"] is None
    assert list(told["maps"]) == ["moves the label"]
    assert "theta" not in told


def test_an_image_that_cannot_be_read_is_named_and_the_others_go_on(
    tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    (photos / "b.png").write_bytes(b"not an image")
    ran = run_lstn("explain", tiny.path, photos, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "1 image of 4 could not be read" in ran.err
    told = json.loads((tmp_path / "out" / "explain.json").read_text())["images"]
    assert [Path(each["path"]).name for each in told if "error" in each] == ["b.png"]
    assert sum("picture" in each for each in told) == 3
    assert "b.png" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "grad-cam"], "--method grad-cam: needs a checkpoint"),
        (["--method", "occlusion", "--method", "gradients"], "--method gradients: needs a checkpoint"),
        (["--features", "features.3"], "--features: needs a checkpoint"),
        (["--window", str(SIDE + 1)], f"--window {SIDE + 1}: larger than the images, {SIDE} x {SIDE} pixels"),
        (["--window", "2", "--stride", "3"], "--stride 3: pixels between windows of 2 would stay uncovered"),
        (["--window", "0"], "window"),
        (["--method", "magic"], "method"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_in_a_line(
    words: list[str], said: str, tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    ran = run_lstn("explain", tiny.path, photos, "--out", tmp_path / "out", *words)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "out").exists()


def test_a_page_that_lstn_did_not_write_stays(tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("mine")
    ran = run_lstn("explain", tiny.path, photos, "--out", out)
    assert ran.code == 2
    assert "index.html" in ran.err
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert run_lstn("explain", tiny.path, photos, "--out", photos / "in").code == 2
    assert run_lstn("explain", tiny.path, photos, "--out", tmp_path / "new").code == 0
    assert run_lstn("explain", tiny.path, photos, "--out", tmp_path / "new").code == 0, "its own are replaced"


def test_no_photo_is_replaced_by_a_picture_of_another(
    tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    for command, option in ((["explain", tiny.path], "--out"), (["infer", "--engine", tiny.path], "--warps")):
        read = photos / "000001-a.png"
        shutil.copy(photos / "c.png", read)
        mine = tmp_path / option[2:]
        mine.mkdir()
        shutil.copy(photos / "c.png", mine / "000002-c.png")
        for place, images in ((photos, [photos / "a.png", read]), (mine, [photos / "a.png", photos / "c.png"])):
            before = {path: path.read_bytes() for path in place.iterdir()}
            ran = run_lstn(*command, *images, option, place)
            assert ran.code == 2, ran.err
            assert "name another folder" in ran.err
            assert {path: path.read_bytes() for path in place.iterdir()} == before
        for _ in range(2):  # its own pictures are replaced
            assert run_lstn(*command, photos / "a.png", option, tmp_path / f"new{option}").code == 0


def test_a_picture_that_lstn_drew_is_not_replaced_where_it_is_read(
    tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    out = tmp_path / "out"
    assert run_lstn("explain", tiny.path, photos / "a.png", "--out", out).code == 0
    read = out / "000001-a.png"
    before = read.read_bytes()
    (photos / "link.png").symlink_to(read)
    ran = run_lstn("explain", tiny.path, photos / "a.png", photos / "link.png", "--out", out)
    assert (ran.code, read.read_bytes()) == (2, before)
    assert "this command reads 000001-a.png there" in ran.err


def test_after_ctrl_c_the_page_shows_the_pictures_that_are_there(
    tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, saved = tmp_path / "out", list[Path]()
    run_lstn("explain", tiny.path, photos / "c.png", photos / "a.png", "--out", out)

    def stop_after_two(picture: Image.Image, path: Path) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        save_picture(picture, path)

    monkeypatch.setattr("lstn.imaging.saved_picture.save_picture", stop_after_two)
    ran = run_lstn("explain", tiny.path, photos, "--out", out)
    assert ran.code == 130
    told = json.loads((out / "explain.json").read_text())["images"]
    assert [each["picture"] for each in told] == [path.name for path in saved]
    page = (out / "index.html").read_text()
    assert "2 of 3 images" in page
    assert "000001-c.png" not in page


@pytest.mark.parametrize(
    ("fall", "moved_px", "said", "reach"),
    [
        (0.22, 3.14, ("22 points", "3.1 px"), 1),
        (0.012, 0.11, ("1 point", "0.1 px"), 1),
        (0.002, 0.01, ("less than a point", "less than 0.1 px"), 0.2),
        (-0.3, 0.0, ("less than a point", "less than 0.1 px"), 1),
    ],
)
def test_a_map_of_almost_nothing_looks_and_reads_so(
    fall: float, moved_px: float, said: tuple[str, str], reach: float
) -> None:
    assert (points(np.float32(fall)), shift(np.float32(moved_px))) == said
    photo = Image.new("RGB", (8, 8), "black")
    drawn = np.asarray(heat_over(photo, HeatMap(np.full((8, 8), fall, np.float32), "", "", 0.01)), float)
    colour = np.array([255, 149, 0] if fall > 0 else [0, 150, 255])
    np.testing.assert_allclose(drawn[4, 4], 0.8 * reach * colour, atol=1)


def test_the_page_shows_every_picture(
    tiny: Tiny, photos: Path, tmp_path: Path, run_lstn: RunLstn, browser: Browser
) -> None:
    run_lstn("explain", tiny.path, photos, "--out", tmp_path / "out")
    for width in (360, 1200):
        browser.show(tmp_path / "out" / "index.html", width=width, scheme="light")
        assert browser.messages() == []
        shown = browser.run("return [...document.images].map(image => image.naturalWidth)")
        assert shown == [920, 920, 920]
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_the_largest_losses_are_those_of_a_loop(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn, browser: Browser
) -> None:
    kept, page = tmp_path / "kept.json", tmp_path / "page.html"
    words = ["--data", f"folder:{folder}", "--top-losses", "5", "--json", kept, "--html", page]
    ran = run_lstn("evaluate", tiny.path, *words)
    assert ran.code == 0, ran.err
    split = open_data(f"folder:{folder}", image_hw=(SIDE, SIDE)).test
    losses = []
    for index in range(len(split)):
        pixels, label = split[index]
        shares = softmax(tiny.logits(pixels[None]))[0]
        if shares.argmax() != label:
            losses.append((-math.log(shares[label]), index))
    losses.sort(reverse=True)
    found = json.loads(kept.read_text())["top_losses"]
    assert [each["image"] for each in found] == [index for _, index in losses[:5]]
    assert [each["loss"] for each in found] == pytest.approx([loss for loss, _ in losses[:5]], abs=1e-3)
    assert found[0]["name"].endswith(".png")
    assert found[0]["truth"] != found[0]["label"]
    assert found[0]["maps"].keys() == {"moves the label", "moves the warp"}
    assert "Largest losses among the wrong answers" in ran.out
    browser.show(page, width=1000, scheme="dark")
    assert browser.run("return [...document.images].map(image => image.naturalWidth)") == [920] * 5


def test_a_ranking_keeps_the_largest_losses_of_all_batches() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50).tolist()
    whole, pieces, none = LossRanking(7), LossRanking(7), LossRanking(0)
    whole.add(range(50), logits, truth)
    for start in range(0, 50, 8):
        pieces.add(range(start, min(start + 8, 50)), logits[start : start + 8], truth[start : start + 8])
        none.add(range(start, min(start + 8, 50)), logits[start : start + 8], truth[start : start + 8])
    assert whole.mistakes == pieces.mistakes
    assert len(whole.mistakes) == 7
    assert none.mistakes == []
