"""The judgement of a transformer, and what `lstn doctor RUN` makes of a run's metrics."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st

from lstn.alive import STARTING_STEPS, Vitals, judged
from lstn.doctor_run import describe, diagnose
from lstn.errors import ArtifactError

LIVE = Vitals(
    images=40,
    gradient_share=0.9,
    spread_px=16.0,
    displacement_px=17.0,
    outside_share=0.34,
    accuracy=0.8,
    accuracy_identity=0.4,
    accuracy_swapped=0.45,
)
SEEN = {
    "digits, lstn, the end": ({}, "live"),
    "digits, lstn, epoch 1": ({"spread_px": 0.17, "displacement_px": 0.72, "gradient_share": 0.66}, "live"),
    "GTSRB, lstn, epoch 1": ({"spread_px": 0.20, "displacement_px": 1.18, "gradient_share": 0.52}, "live"),
    "GTSRB, lstn, the end": ({"spread_px": 0.70, "displacement_px": 4.76, "outside_share": 0.0}, "live"),
    "digits, vstn, epoch 3": ({"spread_px": 0.0067, "displacement_px": 0.8, "gradient_share": 0.17}, "idle"),
    "digits, vstn, epoch 5": ({"spread_px": 0.0, "displacement_px": 0.5, "gradient_share": 0.33}, "dead"),
    "digits, vstn, slower": ({"spread_px": 0.0001, "displacement_px": 0.013, "gradient_share": 0.35}, "dead"),
    "digits, stn, too fast": ({"outside_share": 1.0, "displacement_px": 15888.0, "gradient_share": 0.0}, "runaway"),
    "shrunk to a third": ({"outside_share": 0.89, "displacement_px": 64.0}, "runaway"),
    "one image far away": ({"displacement_px": 100.0}, "runaway"),
    "a loss of exactly 0": ({"gradient_share": None}, "live"),
    "output thrown away": ({"gradient_share": 0.0}, "dead"),
}
"""Real runs at 64 pixels, but for the last four."""


@pytest.mark.parametrize("name", SEEN)
def test_what_was_seen_in_real_runs_is_judged_rightly(name: str) -> None:
    seen, state = SEEN[name]
    found = judged({**LIVE, **seen}, (64, 64), epoch=5, steps=400)  # type: ignore[typeddict-item]
    assert found["state"] == state


@given(
    st.floats(0, 1) | st.none(),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.integers(1, 9),
    st.integers(1, 999),
)
def test_whatever_is_wrong_has_a_cure_and_what_is_right_has_none(
    share: float | None, spread: float, displacement: float, outside: float, epoch: int, steps: int
) -> None:
    vitals = {**LIVE, "gradient_share": share, "spread_px": spread}
    vitals |= {"displacement_px": displacement, "outside_share": outside}
    found = judged(vitals, (64, 64), epoch=epoch, steps=steps)  # type: ignore[arg-type]
    bad = found["state"] in ("dead", "idle", "runaway")
    assert bool(found["warning"]) == bool(found["cure"]) == bad
    if found["state"] == "starting":
        assert epoch <= 2 or steps < STARTING_STEPS


@pytest.mark.parametrize(("epoch", "steps", "state"), [(2, 999, "starting"), (9, 199, "starting"), (3, 200, "dead")])
def test_theta_may_be_the_identity_for_a_while(epoch: int, steps: int, state: str) -> None:
    still = Vitals(**LIVE | {"spread_px": 0.0, "displacement_px": 0.0, "outside_share": 0.0})  # type: ignore[typeddict-item]
    assert judged(still, (64, 64), epoch=epoch, steps=steps)["state"] == state


def row(epoch: int, accuracy: float, **seen: Any) -> dict[str, Any]:
    figures = {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": accuracy}
    health = judged({**LIVE, **seen}, (64, 64), epoch=epoch, steps=500)  # type: ignore[typeddict-item]
    return {**figures, "seconds": 1.0, "transformer": health}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder


def test_the_doctor_tells_since_when_and_what_the_checkpoint_is(tmp_path: Path, run_lstn: RunLstn) -> None:
    gone = {"spread_px": 0.0, "displacement_px": 2.0}
    rows = [row(1, 0.4), row(2, 0.9), row(3, 0.5, outside_share=0.9), row(4, 0.6, **gone), row(5, 0.7, **gone)]
    run = written(tmp_path / "run", *rows)
    found = diagnose(run)
    assert (found.epochs, found.best_epoch, found.best_accuracy, found.test_accuracy) == (5, 2, 0.9, None)
    assert (found.since, found.at_best) == (4, "live")
    lines = run_lstn("doctor", run).out.splitlines()
    assert lines[0] == f"{run}: 5 epochs, best validation 90.0% in epoch 2; not ended"
    assert lines[1] == "transformer: dead since epoch 4: theta is the same for every image"
    assert lines[2].startswith("  likely cure: the localizer's hidden units have died")
    assert lines[3] == "  the checkpoint is of epoch 2, when it was live"
    assert len(lines) == 7
    ended = written(tmp_path / "run", *rows, {"best_epoch": 2, "test_loss": 1.0, "test_accuracy": 0.875})
    assert diagnose(ended).test_accuracy == 0.875
    told = json.loads(run_lstn("doctor", run / "metrics.jsonl", "--json").out)
    assert told["transformer"]["state"] == "dead"
    assert told["since"] == 4


def test_a_run_without_a_transformer_has_little_to_say(tmp_path: Path) -> None:
    bare = {key: value for key, value in row(1, 0.5).items() if key != "transformer"}
    found = diagnose(written(tmp_path / "run", bare))
    assert (found.transformer, found.since, found.at_best) == (None, None, None)
    assert len(describe(found, tmp_path)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"epoch"',
        "null",
        '{"epoch": 1}',
        '{"epoch": 1, "val_accuracy": "high"}',
        '{"epoch": 1, "val_accuracy": NaN}',
        '{"epoch": 1, "val_accuracy": 0.5, "transformer": {}}',
        '{"epoch": 1, "val_accuracy": 0.5, "transformer": 7}',
        "[" * 100_000,
    ],
)
def test_damaged_metrics_are_one_line(tmp_path: Path, text: str, run_lstn: RunLstn) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match="not the metrics of a run"):
        diagnose(tmp_path)
    ran = run_lstn("doctor", tmp_path)
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1


def test_a_folder_without_a_run_is_one_line(tmp_path: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("doctor", tmp_path)
    assert ran.code == 2
    assert "metrics.jsonl: no such file" in ran.err
    assert len(ran.err.splitlines()) == 2


def test_looking_at_a_run_imports_nothing_heavy(tmp_path: Path) -> None:
    run = written(tmp_path / "run", row(1, 0.5))
    code = (
        f"import sys; from lstn.cli import app; app(['doctor', {str(run)!r}], standalone_mode=False); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'cuda'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
