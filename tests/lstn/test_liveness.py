"""The judgement of a transformer, and what `lstn doctor RUN` makes of a run's metrics."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import UNBOUNDED, Contract, Loc, ThetaForm
from lstn.errors import ArtifactError
from lstn.health.follow import Follow, Followed
from lstn.health.liveness import STARTING_STEPS, Health, Vitals
from lstn.health.liveness import judged as judged_for
from lstn.health.pose_error import PoseError
from lstn.health.run_health import diagnose, diagnosis_text


def following(*values: float, noise: float = 0.05, rotation: bool = True) -> Follow:
    kinds = [Followed(value=each, low=each - noise, high=each + noise, residual=1.0) for each in values]
    return Follow(images=64, rotation=kinds[0] if rotation else None, scale=kinds[1], shift=kinds[2])


LIVE = Vitals(
    images=40,
    gradient_share=0.9,
    spread_px=16.0,
    displacement_px=17.0,
    moved_px=17.0,
    outside_share=0.34,
    accuracy=0.8,
    accuracy_identity=0.4,
    accuracy_swapped=0.45,
    follow=following(0.62, 0.71, 0.93),
    pose=None,
)


def judged(
    vitals: Vitals,
    *,
    epoch: int,
    steps: int,
    loc: Loc = Loc.STN,
    theta: ThetaForm = ThetaForm.AFFINE,
    moved: bool = False,
) -> Health:
    contract = Contract(loc, "cnn", (64, 64), ("a", "b"), theta=theta)
    return judged_for(vitals, contract, epoch=epoch, steps=steps, moved=moved)


def seen(**changes: float | Follow | None) -> Vitals:
    """The live one, changed; where theta is affine it begins at the identity."""
    moved = {"moved_px": changes["displacement_px"]} if "displacement_px" in changes else {}
    return Vitals(**LIVE | moved | changes)  # type: ignore[typeddict-item]


SEEN: dict[str, tuple[dict[str, float | Follow | None], str]] = {
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
    "digits, effnet, the identity": (
        {"spread_px": 0.25, "displacement_px": 0.3, "accuracy_identity": 0.8, "accuracy_swapped": 0.8},
        "idle",
    ),
    "worse without it by a third": ({"spread_px": 0.25, "accuracy_identity": 0.8, "accuracy_swapped": 0.5}, "live"),
    "far from it, and no better": ({"accuracy_identity": 0.8, "accuracy_swapped": 0.8}, "live"),
    "follows shifts alone": ({"follow": following(0.01, -0.03, 0.4)}, "live"),
    "follows turns alone": ({"follow": following(0.3, 0.0, 0.0)}, "live"),
    "follows nothing": ({"follow": following(0.01, 0.02, 0.09)}, "not following"),
    "follows by chance": ({"follow": following(0.3, 0.2, -0.3, noise=0.5)}, "not following"),
    "a crop that follows nothing": ({"follow": following(0.9, 0.0, 0.0, rotation=False)}, "not following"),
    "never measured": ({"follow": None}, "live"),
    "follows nothing, and is cut off": ({"follow": following(0, 0, 0), "gradient_share": 0.0}, "dead"),
}
"""Real runs at 64 pixels, but for the last fourteen."""


@pytest.mark.parametrize("name", SEEN)
def test_what_was_seen_in_real_runs_is_judged_rightly(name: str) -> None:
    changes, state = SEEN[name]
    assert judged(seen(**changes), epoch=5, steps=400)["state"] == state


PX = st.sampled_from([0.0, 1e-4, 0.01, 1.0, 1e5])
VITALS = st.builds(
    seen,
    gradient_share=st.sampled_from([0.0, 0.5]) | st.none(),
    spread_px=PX,
    displacement_px=PX,
    moved_px=PX,
    outside_share=st.sampled_from([0.0, 0.9]),
    follow=st.sampled_from([None, following(0.0, 0.0, 0.0), following(0.9, 0.9, 0.9)]),
)


def test_who_is_trained_to_follow_is_not_told_to_train_so() -> None:
    vitals = seen(follow=following(0.0, 0.0, 0.0))
    for moved in (False, True):
        found = judged(vitals, epoch=9, steps=900, moved=moved)
        assert found["state"] == "not following"
        assert ("--equivariance 10" in found["cure"]) is not moved


WATCHED = [loc for loc in Loc if loc not in (Loc.NONE, Loc.IDENTITY)]


@given(VITALS, st.integers(1, 9), st.integers(1, 999), st.sampled_from(WATCHED), st.sampled_from(list(ThetaForm)))
def test_whatever_is_wrong_has_a_cure_that_is_another_run_and_what_is_right_has_none(
    vitals: Vitals, epoch: int, steps: int, loc: Loc, theta: ThetaForm
) -> None:
    found = judged(vitals, epoch=epoch, steps=steps, loc=loc, theta=theta)
    bad = found["state"] in ("dead", "idle", "runaway", "not following")
    assert bool(found["warning"]) == bool(found["cure"]) == bad
    if found["state"] == "starting":
        assert epoch <= 2 or steps < STARTING_STEPS
    words = found["cure"].replace("--augment affine", "").replace(",", "").replace(";", "").split()
    assert loc.value not in [word for flag, word in pairwise(words) if flag == "--loc"]
    assert theta.value not in words
    assert "bound" not in found["cure"] or ("--theta" in words) == (theta in UNBOUNDED)


@pytest.mark.parametrize("changes", [{"gradient_share": 0.0}, {"spread_px": 0.0, "displacement_px": 0.0}])
def test_nothing_is_dead_before_it_could_move(changes: dict[str, float | None]) -> None:
    assert judged(seen(**changes), epoch=1, steps=300)["state"] == "starting"
    assert judged(seen(**changes), epoch=3, steps=900)["state"] == "dead"


def test_only_the_control_is_told_that_its_output_is_dropped() -> None:
    cures = {loc: judged(seen(gradient_share=0.0), epoch=9, steps=900, loc=loc)["cure"] for loc in (Loc.DEAD, Loc.LSTN)}
    assert "drops what its transformer returns" in cures[Loc.DEAD]
    assert cures[Loc.LSTN] == "start a new run with a lower --loc-lr-scale"


@pytest.mark.parametrize(("loc", "proposed"), [(Loc.STN, {"lstn"}), (Loc.VSTN, {"lstn", "stn"}), (Loc.LSTN, {"stn"})])
def test_hidden_units_that_died_want_another_localizer(loc: Loc, proposed: set[str]) -> None:
    found = judged(seen(spread_px=0.0, displacement_px=2.0), epoch=9, steps=999, loc=loc)
    assert set(re.findall(r"--loc (\w+)", found["cure"])) == proposed


@pytest.mark.parametrize(("epoch", "steps", "state"), [(2, 999, "starting"), (9, 199, "starting"), (3, 200, "dead")])
def test_theta_may_be_the_identity_for_a_while(epoch: int, steps: int, state: str) -> None:
    still = seen(spread_px=0.0, displacement_px=0.0, outside_share=0.0)
    assert judged(still, epoch=epoch, steps=steps)["state"] == state


def row(epoch: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    figures = {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": accuracy}
    return {**figures, "seconds": 1.0, "transformer": judged(seen(**changes), epoch=epoch, steps=500)}


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
    assert lines[4].startswith("follow of known moves, 0 to 1: rotation 0.62 (0.57 to 0.67; the rest 1°), scale 0.71")
    assert len(lines) == 8
    ended = written(tmp_path / "run", *rows, {"best_epoch": 2, "test_loss": 1.0, "test_accuracy": 0.875})
    assert diagnose(ended).test_accuracy == 0.875
    told = json.loads(run_lstn("doctor", run / "metrics.jsonl", "--format", "json").out)
    assert told["transformer"]["state"] == "dead"
    assert told["since"] == 4


def test_crops_are_compared_with_true_poses_where_they_are_known(tmp_path: Path) -> None:
    pose = PoseError(images=30, rotation_deg=4.25, centre_px=1.5, centre_share=0.0625, overlap=0.8125)
    run = written(tmp_path / "run", row(3, 0.9, pose=pose))
    (line,) = [each for each in diagnosis_text(diagnose(run), run) if "true poses" in each]
    assert line == (
        "crops against 30 true poses: turned by 4.2°, 1.5 px (6.2% of the object's side) off centre, overlap 0.81"
    )


def test_metrics_of_an_older_lstn_are_read(tmp_path: Path) -> None:
    """They don't say how far the window has moved from where it began, which was the identity, nor what it follows."""
    old = row(1, 0.5)
    del old["transformer"]["moved_px"]
    del old["transformer"]["follow"]
    del old["transformer"]["pose"]
    found = diagnose(written(tmp_path / "run", old))
    assert found.transformer == row(1, 0.5)["transformer"] | {"follow": None}
    assert not [line for line in diagnosis_text(found, tmp_path) if "follow" in line or "None" in line]


def test_a_transformer_that_follows_nothing_is_named_with_its_cure(tmp_path: Path) -> None:
    run = written(tmp_path / "run", row(3, 0.9, follow=following(0.01, 0.02, 0.0)))
    lines = diagnosis_text(diagnose(run), run)
    assert lines[1].startswith("transformer: not following since epoch 3: of a moved object its crop follows rotation")
    assert "--equivariance 10" in lines[2]


def test_a_run_without_a_transformer_has_little_to_say(tmp_path: Path) -> None:
    bare = {key: value for key, value in row(1, 0.5).items() if key != "transformer"}
    found = diagnose(written(tmp_path / "run", bare))
    assert (found.transformer, found.since, found.at_best) == (None, None, None)
    assert len(diagnosis_text(found, tmp_path)) == 2


def test_a_checkpoint_from_before_it_was_watched_has_no_state(tmp_path: Path) -> None:
    old = {key: value for key, value in row(1, 0.9).items() if key != "transformer"}
    found = diagnose(written(tmp_path / "run", old, row(2, 0.5)))
    assert not [line for line in diagnosis_text(found, tmp_path) if "None" in line]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"epoch"',
        "null",
        '{"epoch": 1}',
        *(
            json.dumps(row(1, 0.5) | change)
            for change in (
                {"val_accuracy": "high"},
                {"val_accuracy": True},
                {"val_accuracy": float("nan")},
                {"epoch": float("inf")},
                {"epoch": 0},
                {"transformer": {}},
                {"transformer": 7},
                *(
                    {"transformer": row(1, 0.5)["transformer"] | wrong}
                    for wrong in (
                        {"images": 1e999},
                        {"spread_px": 1e999},
                        {"moved_px": 10**400},
                        {"state": "asleep"},
                        {"follow": 0.5},
                    )
                ),
            )
        ),
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
        f"import sys; from lstn.cli.app import app; app(['doctor', {str(run)!r}], standalone_mode=False); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'cuda'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
