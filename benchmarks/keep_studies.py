"""Keep what studies came to: results/study/study-NAME.json and .html, and their tables in results/study/study.md.

    python -m benchmarks keep_studies [NAME=FOLDER …]

FOLDER is what `lstn study --out` made. The page's own words stand between marks such as <!-- mnist-rts --> and
<!-- end -->, and stay; what is between a mark and its end is written anew, for every study that is kept.

Needs: what `lstn study` wrote.
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.arguments import argument_parser
from lstn.report.table import Table, markdown_table
from lstn.research.study.study_results import Study, study_of
from lstn.research.study.study_tables import error_table, pair_table

RESULT = "results/study/study.md"
PAGE = Path(__file__).parents[1] / RESULT
RESULTS = PAGE.parent


def main(words: Sequence[str]) -> None:
    """Copy what is named, and write the tables."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("studies", nargs="*", metavar="NAME=FOLDER")
    for word in parser.parse_args(words).studies:
        name, _, folder = word.partition("=")
        for suffix in ("json", "html"):
            shutil.copyfile(Path(folder) / f"study.{suffix}", RESULTS / f"study-{name}.{suffix}")
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str) -> str:
    """Return the page with the tables of the studies that are kept."""

    def drawn(match: re.Match[str]) -> str:
        return f"{match[1]}\n{tables_of(json.loads((RESULTS / f'study-{match[2]}.json').read_text()))}\n<!-- end -->"

    return re.sub(r"(<!-- ((?!end)[\w-]+) -->)\n.*?<!-- end -->", drawn, page, flags=re.DOTALL)


def tables_of(summary: dict[str, object]) -> str:
    """Return a study's settings and tables in Markdown."""
    study = study_of(summary)
    settings = "; ".join(f"{name}: {value}" for name, value in study.settings.items())
    parts = [f"*{settings}.*", in_markdown(error_table(study)), in_markdown(pair_table(study)), _curves(study)]
    return "\n".join(f"\n{part}" for part in parts)


def in_markdown(table: Table) -> str:
    """Return a table and its note."""
    rows = markdown_table(table.columns, table.rows, words=table.words)
    return f"{rows}\n\n{table.note}\n" if table.note else f"{rows}\n"


def _curves(study: Study) -> str:
    curves = {loc: study.curve(loc) for loc in study.locs}
    epochs = sorted({epoch for curve in curves.values() for epoch in curve})
    rows = [
        (loc.value, *(f"{curve[epoch].value:.2f}" if epoch in curve else "" for epoch in epochs))
        for loc, curve in curves.items()
    ]
    columns = ("validation error %, mean, after epoch", *(f"{epoch:g}" for epoch in epochs))
    return in_markdown(Table("", columns, tuple(rows)))
