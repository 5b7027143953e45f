"""The documents against the code: every command, file, link and make target that they show exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from lstn.cli.app import app

ROOT = Path(__file__).parents[1]
GENERATED = ("build", "tree", "commands")
"""Folders in docs/ that `make docs` writes."""

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(page for page in sorted((ROOT / "docs").glob("**/*.md")) if not {*GENERATED} & {*page.parts}),
    *sorted((ROOT / "results").glob("**/*.md")),
]
THREE = [
    "lstn train --loc lstn --model effnet-b0",
    "lstn export --engine trt",
    "lstn infer images/ --engine model.plan",
]
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}
MADE = ("docs/build/", "docs/reference/commands/", "results/gpu/", "runs/", "demo/", "model.", "images/")
"""What commands write, and what stands for a user's own."""


def blocks(document: Path) -> list[str]:
    """Return the lines of a document's blocks of code, each as it is typed."""
    text = document.read_text()
    fenced = re.findall(r"^ *```[\w-]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    return lines + [line for line in text.splitlines() if line.startswith("    ")]


def inline(document: Path) -> list[str]:
    """Return what stands between backticks within a document's sentences."""
    prose = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`]+)`", prose)


def commands(shown: list[str]) -> list[str]:
    """Return every `lstn` command in what is shown, whatever starts it, without its comment."""
    bare = [" ".join(re.sub(r"\s#.*", "", line).split()) for line in shown]
    found = [re.search(r"(?:^|-- |OMP_NUM_THREADS=1 )(lstn [a-z]+.*)", line) for line in bare]
    return sorted({match[1] for match in found if match})


TYPED = [line for line in commands([line for document in DOCUMENTS for line in blocks(document)]) if "…" not in line]
NAMED = commands([line for document in DOCUMENTS for line in [*inline(document), *blocks(document)]])
"""Commands in sentences may leave out what doesn't matter there."""


@pytest.mark.parametrize("line", TYPED)
def test_a_command_that_is_shown_can_be_typed(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


@pytest.mark.parametrize("line", NAMED)
def test_a_command_that_is_named_has_these_options(line: str) -> None:
    _, name, *arguments = line.replace("[", "").replace("]", "").split()
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {one for parameter in command.params for one in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in arguments if word.startswith("--")} <= {*options, "--help"}


def test_the_three_commands_stand_in_the_readme_in_this_order() -> None:
    readme = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    assert [line for line in readme if line in THREE] == THREE


def test_there_are_commands_to_check() -> None:
    assert len(TYPED) > 30
    assert len(NAMED) > 60


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_and_files_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in [*blocks(document), *inline(document)]:
        if match := re.match(r"make ([a-z][a-z-]+)", span.strip()):
            assert match[1] in targets, span
        for path in re.findall(r"(?<![\w/.:{-])[a-z][\w-]*/[\w./*-]+", span):
            ours = path.split("/")[0] in FOLDERS and not path.startswith(MADE)
            assert not ours or list(ROOT.glob(path.rstrip("/."))), f"{document.name}: {path} is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    generated = ("commands/index.md", "python.md") if document.parent.name == "reference" else ()
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if "://" not in link and link not in generated]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_into_a_page_names_a_heading(document: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
        page = (document.parent / link) if link else document
        headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
