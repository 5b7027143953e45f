"""What a millisecond buys: verdicts on simulated times and seeds, and `lstn claims --study` on a study made by hand."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from studied import HW, study_with, write_study

from lstn.contract import Loc
from lstn.errors import ArtifactError, UsageError
from lstn.interval import Interval, mean_interval
from lstn.report.table import Table
from lstn.research.claims.races import TimedRace
from lstn.research.claims.studied_networks import read_networks
from lstn.research.claims.time_worth import LIGHTEST, UNBEATEN, judge_worth, quotient, worth_table
from lstn.research.claims.verdict import Verdict
from lstn.research.study.study_results import RESULTS, Study
from lstn.runtime.bench.race import Race

NONE, GOOD, SAME, WORSE = (0.80, 0.81, 0.79), (0.900, 0.906, 0.901), (0.901, 0.906, 0.900), (0.85, 0.857, 0.851)
MS = {Loc.NONE: 1.0, Loc.STN: 3.0, Loc.LSTN: 2.0, Loc.GLANCE: 1.2}


def raced(times: dict[Loc, float], via: str = "ONNX Runtime", noise: float = 0.001) -> TimedRace:
    """A race in which every network takes its time, but for some noise."""
    random = np.random.default_rng(0)
    means = np.array(list(times.values()))
    sittings = tuple(means * random.normal(1, noise, (40, len(means))) for _ in range(3))
    return TimedRace("cnn", HW, 1, via, Race(tuple((loc.value, via) for loc in times), sittings, 0))


def verdicts(study: Study, timed: TimedRace, claim: str) -> dict[str, Verdict]:
    return {line.where.partition(",")[0]: line.verdict for line in judge_worth(study, [timed]) if line.claim == claim}


@pytest.mark.parametrize(
    ("glance", "ms", "follow", "lightest", "unbeaten"),
    [
        (SAME, 1.2, 0.5, Verdict.FAILS, Verdict.FAILS),
        (SAME, 1.2, 0.9, Verdict.FAILS, Verdict.FAILS),
        (SAME, 1.2, 0.1, Verdict.FAILS, Verdict.HOLDS),  # it doesn't follow as L-STN does
        (WORSE, 1.2, 0.5, Verdict.FAILS, Verdict.HOLDS),
        (SAME, 2.5, 0.5, Verdict.HOLDS, Verdict.HOLDS),  # it takes longer
        (SAME, 2.0, 0.5, Verdict.NOISE, Verdict.NOISE),
        (NONE, 1.2, 0.5, Verdict.HOLDS, Verdict.HOLDS),  # it makes no fewer errors than none
        ((0.95, 0.85, 0.90), 1.2, 0.5, Verdict.HOLDS, Verdict.NOISE),  # its seeds differ too much to tell
    ],
)
def test_time_errors_and_follow_decide(
    glance: tuple[float, ...], ms: float, follow: float, lightest: Verdict, unbeaten: Verdict
) -> None:
    study = study_with({Loc.NONE: NONE, Loc.LSTN: GOOD, Loc.GLANCE: glance}, {Loc.GLANCE: follow})
    timed = raced({Loc.NONE: 1.0, Loc.LSTN: 2.0, Loc.GLANCE: ms})
    assert verdicts(study, timed, LIGHTEST) == {"cnn": lightest}
    assert verdicts(study, timed, UNBEATEN) == {"glance": unbeaten}


def test_one_seed_decides_nothing_but_what_takes_longer() -> None:
    study = study_with({Loc.NONE: NONE[:1], Loc.STN: GOOD[:1], Loc.LSTN: GOOD[:1], Loc.GLANCE: SAME[:1]})
    assert verdicts(study, raced(MS), LIGHTEST) == {"cnn": Verdict.NOISE}
    assert verdicts(study, raced(MS), UNBEATEN) == {"STN": Verdict.HOLDS, "glance": Verdict.NOISE}


def test_a_localizer_that_does_not_help_is_not_the_lightest_that_does() -> None:
    study = study_with({Loc.NONE: NONE, Loc.STN: GOOD, Loc.LSTN: tuple(value - 0.05 for value in NONE)})
    assert verdicts(study, raced({loc: MS[loc] for loc in study.locs}), LIGHTEST) == {"cnn": Verdict.FAILS}


def test_without_l_stn_nothing_is_judged_and_without_none_not_what_helps() -> None:
    study = study_with({Loc.NONE: NONE, Loc.STN: GOOD})
    assert judge_worth(study, [raced({Loc.NONE: 1.0, Loc.STN: 3.0})]) == []
    study = study_with({Loc.STN: GOOD, Loc.LSTN: GOOD})
    (line,) = judge_worth(study, [raced({Loc.STN: 3.0, Loc.LSTN: 2.0})])
    assert (line.claim, line.verdict) == (UNBEATEN, Verdict.HOLDS)


def numbers(cell: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", cell)]


def test_the_table_says_what_was_measured() -> None:
    study = study_with({Loc.NONE: NONE, Loc.LSTN: GOOD})
    table = worth_table(
        study, [raced({Loc.NONE: 1.0, Loc.LSTN: 2.0}), raced({Loc.NONE: 2.0, Loc.LSTN: 1.5}, "OpenVINO")]
    )
    assert [row[:2] for row in table.rows] == [
        (f"batch 1, {via}", name) for via in ("ONNX Runtime", "OpenVINO") for name in ("no localizer", "L-STN")
    ]
    by_hand = mean_interval([100 * (own - none) for own, none in zip(GOOD, NONE, strict=True)])
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert numbers(row["points fewer errors than none"]) == pytest.approx(
        [by_hand.value, by_hand.low, by_hand.high], abs=0.06
    )
    assert numbers(row["ms more than none"])[0] == pytest.approx(1.0, abs=0.01)
    assert numbers(row["points a ms"])[0] == pytest.approx(by_hand.value, abs=0.1)
    assert (row["follows rotation"], row["follows scale"], row["follows shift"]) == ("", "0.25", "0.50")
    saving = dict(zip(table.columns, table.rows[3], strict=True))
    assert numbers(saving["ms more than none"])[0] == pytest.approx(-0.5, abs=0.01)
    assert saving["points a ms"] == ""  # nothing was paid


bounds = st.tuples(*[st.floats(-50, 50)] * 3).map(sorted)


@given(bounds, st.tuples(*[st.floats(0.01, 50)] * 3).map(sorted))
def test_a_quotients_bounds_hold_every_quotient(one: list[float], other: list[float]) -> None:
    found = quotient(Interval(one[1], one[0], one[2]), Interval(other[1], other[0], other[2]))
    assert found is not None
    every = [a / b for a, b in itertools.product(np.linspace(one[0], one[2], 7), np.linspace(other[0], other[2], 7))]
    slack = 1e-9 * max(1.0, *map(abs, every))
    assert found.low - slack <= min(every) <= max(every) <= found.high + slack
    assert quotient(Interval(1, 1, 1), Interval(1, -0.1, 2)) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = study_with({Loc.NONE: NONE, Loc.STN: GOOD, Loc.LSTN: GOOD, Loc.GLANCE: SAME})
    return write_study(tmp_path_factory.mktemp("studied") / "study", study, crop_hw=(16, 16))


def test_a_studys_networks_are_timed_on_every_engine(
    folder: Path, run_lstn: RunLstn, browser: Browser, tmp_path: Path
) -> None:
    html, written = tmp_path / "page.html", tmp_path / "claims.json"
    ran = run_lstn(
        "claims", "--study", folder, "--seconds", "0.03", "--batch", "1,2", "--html", html, "--json", written
    )
    assert ran.code == 0, ran.err
    found = json.loads(written.read_text())
    names = {(entrant["subject"], entrant["via"]) for entrant in found["heats"][0]["entrants"]}
    locs = ("none", "stn", "lstn", "glance")
    assert names == set(itertools.product(locs, ("ONNX Runtime", "OpenVINO")))
    assert len(found["worth"]["rows"]) == 2 * 2 * len(locs)
    claims = {line["claim"] for line in found["verdicts"]}
    assert {LIGHTEST, UNBEATEN} <= claims
    assert not any("cheaper than STN" in claim for claim in claims)  # with a crop they aren't the paper's networks
    assert found["setup"]["models"] == ["cnn"]
    assert LIGHTEST in ran.out
    assert "What a millisecond buys" in ran.out
    for width, scheme in ((390, "dark"), (1280, "light")):
        browser.show(html, width=width, scheme=scheme)
        assert browser.messages() == []
        assert browser.run("return document.documentElement.scrollWidth") == width
        assert browser.cut_off_words() == []
    assert browser.run("return document.querySelectorAll('svg').length") >= 2 * 2 * 2


def test_what_a_study_measured_comes_from_its_file(folder: Path) -> None:
    networks = read_networks(folder)
    assert list(networks.models) == [Loc.NONE, Loc.STN, Loc.LSTN, Loc.GLANCE]
    assert networks.study.error(Loc.STN) == mean_interval([100 * (1 - value) for value in GOOD])
    assert isinstance(worth_table(networks.study, []), Table)


def test_a_study_that_lacks_something_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"study\.json: No such file"):
        read_networks(tmp_path)
    (tmp_path / RESULTS).write_text('{"settings": {}, "runs": [{"loc": "stn"}]}')
    with pytest.raises(ArtifactError, match="damaged study"):
        read_networks(tmp_path)
    (tmp_path / RESULTS).write_bytes((folder / RESULTS).read_bytes())
    with pytest.raises(ArtifactError, match=r"none-0/checkpoint\.safetensors"):
        read_networks(tmp_path)
    alone = write_study(tmp_path / "alone", study_with({Loc.STN: GOOD}))
    with pytest.raises(UsageError, match="a study of 1 localizer"):
        read_networks(alone)


@pytest.mark.parametrize("arguments", ["--model cnn", "--image-size 64", "a.onnx", "--tables"])
def test_a_study_says_itself_which_networks(arguments: str, run_lstn: RunLstn, folder: Path) -> None:
    ran = run_lstn("claims", "--study", folder, *arguments.split())
    assert ran.code == 2
    assert "leave out" in ran.err


def test_controls_are_not_timed(tmp_path: Path) -> None:
    study = study_with({Loc.NONE: NONE, Loc.LSTN: GOOD, Loc.IDENTITY: NONE})
    assert list(read_networks(write_study(tmp_path / "study", study)).models) == [Loc.NONE, Loc.LSTN]


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    study = study_with({Loc.NONE: NONE, Loc.STN: GOOD})
    folder = write_study(tmp_path / "study", study)
    (folder / "stn-0" / "checkpoint.safetensors").write_bytes(
        (folder / "none-0" / "checkpoint.safetensors").read_bytes()
    )
    with pytest.raises(ArtifactError, match="not the network of a study's run with stn"):
        read_networks(folder)
