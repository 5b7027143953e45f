"""`lstn compare` as a user types it: against plain loops over the same images."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from evaluated_folder import IMAGES
from scipy import stats
from tiny import SIDE, MakeTiny, Tiny

from lstn.data.dataset import open_data


@pytest.fixture
def other(make_tiny: MakeTiny) -> Tiny:
    """A model of the same classes that answers otherwise."""
    return make_tiny("other.onnx", seed=5)


def right(tiny: Tiny, folder: Path) -> np.ndarray:
    split = open_data(f"folder:{folder}", image_hw=(SIDE, SIDE)).test
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    return tiny.logits(np.stack(pixels)).argmax(1) == np.array(labels)


def test_it_says_what_plain_loops_and_a_paired_interval_say(
    tiny: Tiny, other: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    kept, page = tmp_path / "kept.json", tmp_path / "page.html"
    words = ["--data", f"folder:{folder}", "--seconds", "0.2", "--batch", 3, "--json", kept, "--html", page]
    ran = run_lstn("compare", tiny.path, other.path, *words, "--worst", "rotate 20")
    assert ran.code == 0, ran.err
    told = json.loads(kept.read_text())
    first, second = told["compared"]
    assert [each["images"] for each in told["compared"]] == [IMAGES, IMAGES]
    pair = [right(each, folder).astype(float) for each in (tiny, other)]
    assert [each["top1"] for each in told["compared"]] == pytest.approx([each.mean() for each in pair])
    difference = 100 * (pair[1] - pair[0])
    low, high = stats.t.interval(0.95, IMAGES - 1, difference.mean(), stats.sem(difference))
    assert second["points"] == pytest.approx({"value": difference.mean(), "low": low, "high": high}, abs=0.02)
    assert first["points"] == {"value": 0, "low": 0, "high": 0}
    assert first["ratio"] is None
    assert 0 < second["ratio"]["low"] <= second["ratio"]["value"] <= second["ratio"]["high"]
    assert 0 < second["p50_ms"] <= second["p99_ms"]
    assert second["megabytes"] == pytest.approx(other.path.stat().st_size / 1e6)
    assert second["worst"]["worst"]["top1"] <= second["top1"]
    assert str(other.path) in page.read_text()
    for figure in (first["top1"], second["top1"]):
        assert f"{100 * figure:.2f}" in " ".join(ran.out.split())


def test_one_model_and_other_classes_are_refused(
    tiny: Tiny, folder: Path, make_tiny: MakeTiny, run_lstn: RunLstn
) -> None:
    data = ("--data", f"folder:{folder}", "--seconds", "0.1")
    alone = run_lstn("compare", tiny.path, *data)
    assert (alone.code, "needs two models" in alone.err) == (2, True)
    wider = make_tiny("wider.onnx", labels=("ant", "bee", "cat", "dog", "eel"))
    ran = run_lstn("compare", tiny.path, wider.path, *data)
    assert (ran.code, "has other classes than" in ran.err) == (2, True)


def test_a_model_is_never_overwritten(tiny: Tiny, other: Tiny, folder: Path, run_lstn: RunLstn) -> None:
    before = tiny.path.read_bytes()
    ran = run_lstn("compare", tiny.path, other.path, "--data", f"folder:{folder}", "--json", tiny.path)
    assert ran.code == 2
    assert tiny.path.read_bytes() == before
