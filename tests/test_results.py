"""The results that are kept are those of their own JSON, drawn by the script that is named."""

import importlib.util
import json
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep_results", ROOT / "scripts" / "keep_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_was_measured(script: ModuleType) -> None:
    report = json.loads((RESULTS / "claims.json").read_text())
    assert (RESULTS / "README.md").read_text() == script.summary(report)
    assert {line["verdict"] for line in report["verdicts"]} <= {"holds", "does not hold", "below the noise here"}
    timed = {line["where"] for line in report["verdicts"]}
    wanted = {f"{model}, batch {batch}, ONNX Runtime" for model in ("resnet-18", "effnet-b0") for batch in (1, 8)}
    assert wanted <= timed


def test_the_pictures_are_the_reports(script: ModuleType) -> None:
    page = (RESULTS / "claims.html").read_text()
    for name, caption in script.PICTURES.items():
        drawn = (RESULTS / name).read_text()
        assert drawn == script.picture(page, caption)
        assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    "name",
    [
        *("ablation-digits", "ablation-rts", "ablation-signs", "engines", "plans", "precisions"),
        *("loading", "ray_batch", "serve", "serve_fuzz", "serve_kills"),
    ],
)
def test_a_benchmarks_page_says_what_was_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as for a script that is run
    page_of = runpy.run_path(str(ROOT / "benchmarks" / f"{name.partition('-')[0]}.py"))["page_of"]
    assert (RESULTS / f"{name}.md").read_text() == page_of(json.loads((RESULTS / f"{name}.json").read_text()))


def test_a_studys_tables_are_those_of_its_figures() -> None:
    with_tables = runpy.run_path(str(ROOT / "scripts" / "keep_studies.py"))["with_tables"]
    page = (RESULTS / "study.md").read_text()
    assert with_tables(page) == page
    assert page.count("<!-- end -->") == len(list(RESULTS.glob("study-*.json"))) > 0
