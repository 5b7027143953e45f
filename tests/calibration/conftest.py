from pathlib import Path

import pytest
from hand_made import LABELS, ArraySplit, Edit, MeasureByHand, make_model, random_split, save, untouched

from lstn.calibration.drift import measure
from lstn.calibration.lowering_cost import LoweringCost
from lstn.contract import Loc


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
    ) -> LoweringCost:
        reference = save(make_model(loc, labels=labels, edit=spoil), tmp_path / "model.onnx")
        lowered = save(make_model(loc, labels=labels, edit=edit), tmp_path / "model.low.onnx")
        chosen = random_split(40, classes=len(labels)) if split is None else split
        return measure(reference, lowered, chosen, **options)

    return run
