from pathlib import Path

import pytest
from hand_made import LABELS, ArraySplit, Edit, MeasureByHand, make_model, random_split, save, untouched
from small_models import exported_model, warping_model
from spots import few_digits
from tiny_fixtures import run_lstn

from lstn.calibration.cost.drift import measure_drift
from lstn.calibration.cost.lowering_cost import ClassifierCost
from lstn.contract import Loc
from lstn.nn.checkpoint import Training, write_checkpoint

__all__ = ["few_digits", "run_lstn"]


@pytest.fixture(autouse=True)
def _short_races(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a lowered model is faster is told after a race, and no test here waits for what it says."""
    monkeypatch.setattr("lstn.cli.display.calibrate_report._RACE_S", 0.05)


@pytest.fixture
def measure_by_hand(tmp_path: Path) -> MeasureByHand:
    """Measure hand-made models, the lowered one made by an edit of the weights."""

    def run(
        edit: Edit,
        *,
        loc: Loc = Loc.LSTN,
        labels: tuple[str, ...] = LABELS,
        split: ArraySplit | None = None,
        spoil: Edit = untouched,
        **options: int,
    ) -> ClassifierCost:
        reference = save(make_model(loc, labels=labels, edit=spoil), tmp_path / "model.onnx")
        lowered = save(make_model(loc, labels=labels, edit=edit), tmp_path / "model.low.onnx")
        chosen = random_split(40, classes=len(labels)) if split is None else split
        return measure_drift(reference, lowered, chosen, **options)

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a float32 model.onnx."""
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(exported_model(Loc.LSTN).SerializeToString())
    return tmp_path


@pytest.fixture
def digits_run(folder: Path) -> Path:
    """A run under ./runs that was trained on the embedded digits."""
    model, contract = warping_model(Loc.LSTN)
    checkpoint = Path("runs", "first", "checkpoint.safetensors")
    checkpoint.parent.mkdir(parents=True)
    write_checkpoint(checkpoint, model, contract, Training("digits", 0, 1, 0.5))
    return checkpoint
