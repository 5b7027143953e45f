"""Every command that the documents show is one that exists, spelled as it is. `make demo`, in CI, runs the pipeline."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from lstn.cli.app import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
THREE = [
    "lstn train --loc lstn --model effnet-b0",
    "lstn export --engine trt",
    "lstn infer images/ --engine model.plan",
]


def shown() -> list[str]:
    lines = [line.strip() for document in DOCUMENTS for line in document.read_text().splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines if re.match(r"lstn [a-z]", line)]


@pytest.mark.parametrize("line", shown())
def test_a_command_that_is_shown_can_be_typed(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


def test_the_three_commands_stand_in_the_readme_in_this_order() -> None:
    assert [line for line in shown() if line in THREE] == THREE


@pytest.mark.parametrize("target", ["setup", "demo", "test", "lint", "bench", "gpu-check"])
def test_the_makefile_has_what_the_documents_name(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []
