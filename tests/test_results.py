"""The results that are kept are those of their own JSON, drawn by the benchmark that is named."""

import json
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import hardening, keep_claims
from benchmarks.keep_studies import with_tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
CLAIMS = RESULTS / "claims"
MADE_BY_HAND = {"claims", "milliseconds", "study"}
"""Pages that the benchmarks named keep_… write: tested by themselves."""
MEASURED = sorted(page for page in RESULTS.glob("*/*.md") if page.stem not in MADE_BY_HAND)


KEPT = [kept for kept in (keep_claims.CLAIMS, keep_claims.MILLISECONDS) if kept.file("json").exists()]


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_page_says_what_was_measured(kept: keep_claims.Kept) -> None:
    report = json.loads(kept.file("json").read_text())
    assert kept.file("md").read_text() == keep_claims.summary(report, kept)
    assert {line["verdict"] for line in report["verdicts"]} <= {"holds", "does not hold", "below the noise here"}


def test_the_papers_claims_were_timed_on_both_backbones() -> None:
    report = json.loads(keep_claims.CLAIMS.file("json").read_text())
    timed = {line["where"] for line in report["verdicts"]}
    wanted = {f"{model}, batch {batch}, ONNX Runtime" for model in ("resnet-18", "effnet-b0") for batch in (1, 8)}
    assert wanted <= timed


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_pictures_are_the_reports(kept: keep_claims.Kept) -> None:
    page = kept.file("html").read_text()
    for name, (caption, _) in kept.pictures.items():
        drawn = (CLAIMS / name).read_text()
        assert drawn == keep_claims.picture(page, caption)
        assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: page.stem)
def test_a_benchmarks_page_says_what_was_measured(page: Path) -> None:
    page_of = import_module(f"benchmarks.{page.stem.partition('-')[0]}").page_of
    assert page.read_text() == page_of(json.loads(page.with_suffix(".json").read_text()))


def test_the_counts_of_one_page_are_those_of_the_others() -> None:
    assert json.loads((RESULTS / "hardening" / "hardening.json").read_text()) == hardening.gathered()


def test_results_are_kept_by_topic_and_nowhere_else() -> None:
    assert len(MEASURED) >= 11, "there is something to check"
    assert [path.name for path in RESULTS.iterdir() if not path.is_dir() and path.name != "README.md"] == []
    assert list((ROOT / "docs").glob("results/*")) == []


def test_a_studys_tables_are_those_of_its_figures() -> None:
    page = (RESULTS / "study" / "study.md").read_text()
    assert with_tables(page) == page
    assert page.count("<!-- end -->") == len(list(RESULTS.glob("study/study-*.json"))) > 0
