"""Links that leave docs/: the files of the checkout that pages point to become part of the site.

A page links as it does in the tree, `../../results/study/study.md`. Sphinx sees only what is below docs/, so every such
file is copied to docs/tree/ before the build, and the link is changed to the copy. Markdown files become pages.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
COPIES = DOCS / "tree"
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "results/README.md")
"""Pages outside of docs that the table of contents names."""

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)")


def copy_linked_files(_app: Sphinx, _config: Config) -> None:
    """Copy what the pages link to, and what is linked from there."""
    shutil.rmtree(COPIES, ignore_errors=True)
    waiting = [ROOT / name for name in PAGES]
    waiting += [page for page in DOCS.rglob("*.md") if not page.is_relative_to(DOCS / "build")]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(DOCS):
            copy = COPIES / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        if path.suffix == ".md":
            waiting += [
                linked for link in LINK.findall(path.read_text()) if (linked := target(path, link[0])).is_file()
            ]


def target(page: Path, link: str) -> Path:
    """Return the file that a link of this page means; a folder stands for its README."""
    path = Path(DOCS / link[1:]) if link.startswith("/") else (page.parent / link).resolve()
    return path / "README.md" if path.is_dir() else path


def point_links_at_copies(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the links of one page."""
    inside = Path(docname)
    page = ROOT / inside.relative_to("tree") if inside.parts[0] == "tree" else DOCS / inside

    def changed(match: re.Match[str]) -> str:
        path = target(page.with_suffix(".md"), match[1])
        if not path.is_file() or not path.is_relative_to(ROOT):
            return match[0]  # Sphinx then says that it leads nowhere
        new = path.relative_to(DOCS) if path.is_relative_to(DOCS) else Path("tree", path.relative_to(ROOT))
        return f"](/{new}{match[2] or ''})"

    source[0] = LINK.sub(changed, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", copy_linked_files)
    app.connect("source-read", point_links_at_copies)
    return {"parallel_read_safe": True}
