"""The ablation of a recipe: every option alone, gains paired by seed, and no run trained twice."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lstn.contract import Loc
from lstn.errors import UsageError
from lstn.recipe import RECIPES
from lstn.research.ablation import VARIANTS, AblationRequest, ablate, page_of, rows_of


def test_every_variant_but_the_papers_differs_in_one_choice() -> None:
    robust = asdict(RECIPES["robust"])
    for name, recipe in VARIANTS.items():
        differs = [choice for choice, value in asdict(recipe).items() if value != robust[choice]]
        assert len(differs) == {"robust": 0}.get(name, 1) or name == "paper"


def test_gains_are_paired_by_seed() -> None:
    """An option that is in gains what its absence loses; one that is out gains what its presence adds."""
    rows = rows_of({"robust": [0.80, 0.90], "without cosine": [0.70, 0.84], "with in-frame penalty": [0.81, 0.91]})
    assert [row["variant"] for row in rows] == ["robust", "without cosine", "with in-frame penalty"]
    assert "gain" not in rows[0]
    assert (rows[1]["gain"], rows[1]["helps"]) == (8.0, True)
    assert (rows[2]["gain"], rows[2]["low"], rows[2]["high"]) == (1.0, 1.0, 1.0)


def test_a_finished_run_is_not_trained_again(few: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = AblationRequest(few, image_size=32, epochs=1, loc=Loc.STN, seeds=1)
    said, result = next(ablate(asked, tmp_path))
    assert said.startswith("seed 0  robust: ")
    assert "| robust | " in page_of(result)
    monkeypatch.setattr("lstn.research.ablation.train_to_end", None)
    assert next(ablate(asked, tmp_path)) == (said, result)
    with pytest.raises(UsageError, match="a run with other options"):
        next(ablate(replace(asked, epochs=2), tmp_path))
