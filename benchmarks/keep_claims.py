"""Measure the paper's claims here and keep the report: results/claims/ with HTML, JSON, two pictures and a short page.

    python -m benchmarks keep_claims [--study FOLDER] [--reuse]

With --study the report is of the networks that `lstn study --out FOLDER` trained: what a millisecond buys. --reuse
draws the pictures and the page again from the report that is there.

Needs: about ten minutes; with --study two, and that study.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from lstn.report.table import Table, markdown_table

RESULT = "results/claims/claims.md"
FOLDER = Path(__file__).parents[1] / Path(RESULT).parent


@dataclass(frozen=True)
class Kept:
    """A report that is kept: the name of its files, the title of its page, what is measured, and its pictures.

    pictures: file -> how the caption of its figure in the report begins, of which the first is taken, and what the page
              calls it
    """

    name: str
    title: str
    options: tuple[str, ...]
    pictures: Mapping[str, tuple[str, str]]

    def file(self, suffix: str) -> Path:
        """Return where its HTML, JSON or page lies."""
        return FOLDER / f"{self.name}.{suffix}"


CLAIMS = Kept(
    "claims",
    "The paper's claims on one CPU",
    ("--model", "resnet-18,effnet-b0", "--batch", "1,8"),
    {
        "flops-and-time.svg": (
            "Transformers alone, 224 x 224 pixels, batch 1",
            "Time of each transformer against its FLOPs",
        ),
        "parts.svg": ("Where a transformer's time", "Localizer, grid and sampler of each transformer"),
    },
)
MILLISECONDS = Kept(
    "milliseconds",
    "What a millisecond buys on one CPU",
    ("--batch", "1,8", "--seconds", "5"),
    {
        "error-and-time.svg": (
            "cnn, batch 1, ONNX Runtime, what a millisecond buys: test error",
            "Test error of each network against its time",
        ),
        "follow-and-time.svg": (
            "cnn, batch 1, ONNX Runtime, what a millisecond buys: follow",
            "Follow of each transformer against the network's time",
        ),
    },
)


def main(words: Sequence[str]) -> None:
    """Measure, unless told otherwise; then write what is linked from the README."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="what lstn study --out made")
    parser.add_argument("--reuse", action="store_true", help="measure nothing")
    given = parser.parse_args(words)
    kept = CLAIMS if given.study is None else MILLISECONDS
    if not given.reuse:
        what = [] if given.study is None else ["--study", str(given.study)]
        written = ["--html", str(kept.file("html")), "--json", str(kept.file("json"))]
        subprocess.run([sys.executable, "-m", "lstn", "claims", *what, *kept.options, *written], check=True)
    page = kept.file("html").read_text(encoding="utf-8")
    for name, (caption, _) in kept.pictures.items():
        (FOLDER / name).write_text(picture(page, caption), encoding="utf-8")
    report = json.loads(kept.file("json").read_text(encoding="utf-8"))
    kept.file("md").write_text(summary(report, kept), encoding="utf-8")
    print(f"{FOLDER}: {', '.join(path.name for path in sorted(FOLDER.iterdir()))}")


def picture(page: str, caption: str) -> str:
    """Cut a figure out of the report, and give it the report's style to stand alone with."""
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    figures = re.findall(r"<figure>(<svg .*?</svg>)<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    drawn = next(svg for svg, text in figures if text.replace("&#x27;", "'").startswith(caption))
    assert style is not None
    inside = f"<style>{style[1]} svg {{ background: var(--paper); }}</style>"
    return re.sub(r"<svg (.*?)>", rf'<svg xmlns="http://www.w3.org/2000/svg" width="480" \1>{inside}', drawn, count=1)


def summary(report: Mapping[str, Any], kept: Kept) -> str:
    """Say in Markdown what was found where."""
    machine, libraries = report["environment"], report["environment"]["libraries"]
    shown = ", ".join(
        f"{name} {libraries[name]}"
        for name in ("torch", "onnxruntime", "onnxruntime-gpu", "openvino")
        if name in libraries
    )
    lines = [
        f"# {kept.title}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores (load {machine['load']} at the start: it was shared), "
        f"{report['setup']['threads']} thread, {shown}; {report['made'][:10]}. Ratios and times are medians with 95 % "
        "intervals; [the page on claims](../../docs/how-to/claims.md) says what decides.",
        "",
        *(f"![{said}]({name})" for name, (_, said) in kept.pictures.items()),
        "",
        _verdicts(report),
        "",
        *_worth(report),
        f"The whole report, {'peers and costs' if kept is CLAIMS else 'every picture'} included: "
        f"[{kept.name}.html]({kept.name}.html); every raw sample: [{kept.name}.json]({kept.name}.json). Made with "
        f"`python -m benchmarks keep_claims{'' if kept is CLAIMS else ' --study FOLDER'}`.",
    ]
    return "\n".join(lines) + "\n"


def _verdicts(report: Mapping[str, Any]) -> str:
    """Lay out the verdicts; of a study's networks those about them."""
    lines = report["verdicts"]
    if report.get("worth") is not None:
        lines = [line for line in lines if line["where"]]
    rows = [(line["claim"], line["where"] or "counted", f"**{line['verdict']}**", line["figure"]) for line in lines]
    return markdown_table(("claim", "where", "verdict", "figure"), rows, words=4)


def _worth(report: Mapping[str, Any]) -> list[str]:
    """Lay out what a millisecond buys, where a study says it."""
    if report.get("worth") is None:
        return []
    table = Table(**report["worth"])
    rows = [tuple(row) for row in table.rows]
    return [f"## {table.title}", "", markdown_table(table.columns, rows, words=table.words), "", str(table.note), ""]
