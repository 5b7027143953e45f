"""`lstn claims` from its options to its report: once in full on a small network, and everything that it refuses."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from browser import Browser
from command import RunLstn
from tiny import MakeTiny

from lstn.cli.app import main
from lstn.contract import PAPER_LOCS, Contract, Loc
from lstn.research.claims.findings import CLAIMS
from lstn.research.claims.paper import INCONSISTENCIES

VERDICTS = {"holds", "does not hold", "below the noise here"}


@dataclass(frozen=True)
class Claimed:
    """One run with everything in it."""

    out: str
    html: Path
    json: dict[str, Any]


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Claimed:
    folder = tmp_path_factory.mktemp("claims")
    html, json_file = folder / "new" / "report.html", folder / "report.json"
    arguments = f"claims --model cnn --image-size 32 --batch 1,2 --seconds 0.03 --html {html} --json {json_file}"
    out = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(StringIO()) as err:
        patch.setattr(torch, "compile", lambda module, *, dynamic: module)  # the real one takes a minute
        patch.setattr(sys, "argv", ["lstn", *arguments.split()])
        with pytest.raises(SystemExit) as exit_:
            main()
    assert exit_.value.code == 0, err.getvalue()
    return Claimed(out.getvalue(), html, json.loads(json_file.read_text()))


def test_every_claim_has_a_verdict_wherever_it_was_timed(claimed: Claimed) -> None:
    lines = claimed.json["verdicts"]
    assert [claim for claim in CLAIMS if claim not in {line["claim"] for line in lines}] == []
    assert {line["verdict"] for line in lines} <= VERDICTS
    for line in lines[2:]:
        assert re.fullmatch(r"(cnn|32 x 32 pixels), batch [12], ONNX Runtime", line["where"])
        assert line["interval"]["low"] <= line["interval"]["value"] <= line["interval"]["high"]
    assert len(lines) == 2 + 2 * 4
    assert all(claim in claimed.out for claim in CLAIMS)


def test_what_is_counted_is_the_papers(claimed: Claimed) -> None:
    parameters, flops = claimed.json["verdicts"][:2]
    assert (parameters["verdict"], flops["verdict"]) == ("holds", "holds")
    assert "121 of 121 cells" in parameters["figure"]
    assert "0.0257 / 0.0793 = 0.324 in the paper, 0.324 counted here; 0.333 with" in flops["figure"]


def test_json_holds_every_raw_sample(claimed: Claimed) -> None:
    heats = claimed.json["heats"]
    assert [(heat["backbone"], heat["batch"]) for heat in heats] == [("cnn", 1), ("cnn", 2), ("", 1), ("", 2)]
    for heat in heats:
        rounds = {tuple(len(sitting) for sitting in entrant["sittings_ms"]) for entrant in heat["entrants"]}
        assert len(rounds) == 1  # all ran in the same rounds
        assert len(next(iter(rounds))) == 3
        assert min(next(iter(rounds))) >= 5
    assert claimed.json["setup"]["models"] == ["cnn"]
    assert claimed.json["environment"]["libraries"]["openvino"]


def test_networks_parts_and_peers_run_in_the_same_races(claimed: Claimed) -> None:
    networks, _, parts, _ = (
        {(entrant["subject"], entrant["via"]) for entrant in heat["entrants"]} for heat in claimed.json["heats"]
    )
    peers = {"PyTorch", "torch.compile", "ONNX Runtime, default export", "OpenVINO", "OpenVINO, default export"}
    locs = {*(loc.value for loc in PAPER_LOCS), "glance", "shared"}
    assert networks == {(loc, "ONNX Runtime") for loc in locs} | {("lstn", peer) for peer in peers}
    alone = {f"{part} {loc}" for part in ("transformer", "localizer") for loc in ("stn", "vstn", "lstn", "glance")}
    assert parts == {(part, "ONNX Runtime") for part in alone | {"grid", "sampler"}} | {
        ("transformer lstn", peer) for peer in peers
    }


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_without_an_error_and_without_overflow(
    claimed: Claimed, browser: Browser, width: int, scheme: str
) -> None:
    browser.show(claimed.html, width=width, scheme=scheme)
    assert browser.messages() == []
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    headings = browser.run("return [...document.querySelectorAll('h2, h3')].map(each => each.textContent)")
    assert headings[: 1 + len(CLAIMS)] == ["Verdicts", *CLAIMS]
    assert browser.cut_off_words() == []
    assert browser.run("return document.querySelectorAll('svg').length") == 5


def test_the_report_follows_the_readers_scheme(claimed: Claimed, browser: Browser) -> None:
    found = {}
    for scheme in ("light", "dark"):
        browser.show(claimed.html, width=390, scheme=scheme)
        found[scheme] = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert found == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}


def test_the_report_prints_within_the_paper(claimed: Claimed, browser: Browser) -> None:
    browser.show(claimed.html, width=718, scheme="dark", media="print")  # A4 at 96 dpi with 10 mm margins
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert browser.run("return document.documentElement.scrollWidth") == 718


def test_tables_stand_beside_the_papers(run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # as in a file, whose rows aren't folded
    ran = run_lstn("claims", "--tables")
    assert ran.code == 0
    assert "121 of 121 parameter cells to the unit and 90 of 90 GFLOPS cells within 0.0002 agree" in " ".join(
        ran.out.split()
    )
    assert all(f"\nTable {number}" in f"\n{ran.out}" for number in range(1, 7))
    row = next(line for line in ran.out.splitlines() if "resnet-18" in line and "lstn" in line and "1.8443" in line)
    assert row.split() == ["resnet-18", "lstn", "12,050,842", "12,050,842", "0", "1.8443", "1.844281", "-0.000019"]
    assert len(re.findall("^- ", ran.out, re.MULTILINE)) == len(INCONSISTENCIES)
    assert re.search(r"effnet-b7 +none +600 +66,347,960 ", ran.out)


def test_files_are_raced_as_they_are(make_tiny: MakeTiny, run_lstn: RunLstn, tmp_path: Path) -> None:
    paths = [make_tiny(f"{loc.value}.onnx", loc=loc).path for loc in PAPER_LOCS]
    ran = run_lstn("claims", *paths, "--seconds", "0.02", "--json", tmp_path / "x.json")
    assert ran.code == 0, ran.err
    (heat,) = json.loads((tmp_path / "x.json").read_text())["heats"]
    assert [entrant["subject"] for entrant in heat["entrants"]] == [loc.value for loc in PAPER_LOCS]
    assert "L-STN is cheaper than STN in milliseconds" in ran.out


def test_an_unknown_backbone_is_answered_with_all_of_them(run_lstn: RunLstn) -> None:
    ran = run_lstn("claims", "--model", "resnet-18,resnet-19")
    assert ran.code == 2
    assert "there is no model called 'resnet-19'" in ran.err
    assert "densenet-121" in ran.err


@pytest.mark.parametrize(("side", "who"), [(16, "localizer stn, which needs 18 x 18"), (20, "vgg-11, which needs 32")])
def test_images_that_are_too_small_are_refused_at_once(side: int, who: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("claims", "--model", "cnn" if side == 16 else "vgg-11", "--image-size", side)
    assert ran.code == 2
    assert who in ran.err


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_place_that_cannot_be_written_is_found_before_anything_is_timed(
    option: str, run_lstn: RunLstn, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ran = run_lstn("claims", option, tmp_path / "file" / "report")
    assert ran.code == 1
    assert f"cannot write {tmp_path}/file/report: " in ran.err
    assert run_lstn("claims", option, tmp_path).code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch", "0"], "expected numbers of images"),
        (["--model", ",cnn"], "there is no model called ''"),
        (["--engine", "cudnn"], "expected one of onnx, openvino, torch"),
        (["missing.onnx"], "missing.onnx: no such file"),
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str], says: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("claims", *arguments)
    assert ran.code == 2
    assert says in ran.err


def test_the_older_name_of_onnx_runtime_goes_on_with_a_note(run_lstn: RunLstn) -> None:
    ran = run_lstn("claims", "--engine", "onnxruntime", "--tables")
    assert ran.code == 0
    assert "--engine onnxruntime is spelt --engine onnx now" in ran.err


def test_a_plan_without_a_gpu_is_refused_at_once(run_lstn: RunLstn) -> None:
    ran = run_lstn("claims", "--model", "cnn", "--engine", "trt-rtx")
    assert ran.code == 1
    assert "no GPU" in ran.err


def test_a_file_without_a_contract_is_refused(make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    path = make_tiny(edit=lambda model: model.ClearField("metadata_props")).path
    ran = run_lstn("claims", path)
    assert ran.code == 1
    assert "no contract, so it wasn't written by lstn" in ran.err


def told(**changes: object) -> Callable[[onnx.ModelProto], None]:
    """Change what a file's contract says."""

    def edit(model: onnx.ModelProto) -> None:
        (entry,) = model.metadata_props
        entry.value = replace(Contract.from_json(entry.value, source=""), **changes).to_json()

    return edit


def test_a_paper_localizer_in_another_transformer_is_refused(make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    twice = make_tiny("twice.onnx", loc=Loc.LSTN, edit=told(iterations=2)).path
    stn = make_tiny("stn.onnx", loc=Loc.STN).path
    ran = run_lstn("claims", twice, stn)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"error: {twice}: its lstn isn't the paper's, which looks at the whole image once",
        "  time it with: lstn bench",
    ]


def test_files_of_other_localizers_are_raced_with_the_papers(make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    paths = [make_tiny(f"{loc.value}.onnx", loc=loc).path for loc in (Loc.LSTN, Loc.SHARED)]
    paths.append(make_tiny("glance.onnx", loc=Loc.GLANCE, edit=told(view_hw=(4, 4))).path)
    ran = run_lstn("claims", *paths, "--seconds", "0.02")
    assert ran.code == 0, ran.err
    assert all(f" {name} " in ran.out for name in ("glance", "shared", "L-STN"))


def test_files_that_differ_in_more_than_the_localizer_are_refused(make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    one, same = (make_tiny(name, loc=Loc.STN).path for name in ("one.onnx", "same.onnx"))
    ran = run_lstn("claims", one, same)
    assert ran.code == 2
    assert "both have localizer stn" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        "--json a.json",
        "--html a.html",
        "--image-size 64",
        "--model cnn",
        "--batch 8",
        "--threads 2",
        "--seed 1",
        "a.onnx",
    ],
)
def test_tables_refuse_what_they_would_ignore(arguments: str, run_lstn: RunLstn) -> None:
    ran = run_lstn("claims", "--tables", *arguments.split())
    assert ran.code == 2
    assert "--tables only counts and prints" in ran.err
