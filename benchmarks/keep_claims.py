"""Measure the paper's claims here and keep the report: results/claims/ with HTML, JSON, two pictures and a short page.

    python -m benchmarks keep_claims [--reuse]

--reuse draws the pictures and the page again from the report that is there.

Needs: about ten minutes.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.arguments import argument_parser
from lstn.report.table import markdown_table

RESULT = "results/claims/claims.md"
PAGE = Path(__file__).parents[1] / RESULT
FOLDER = PAGE.parent
HTML, JSON = FOLDER / "claims.html", FOLDER / "claims.json"
COMMAND = ["claims", "--model", "resnet-18,effnet-b0", "--batch", "1,8", "--html", str(HTML), "--json", str(JSON)]
PICTURES = {
    "flops-and-time.svg": "Transformers alone, 224 x 224 pixels, batch 1",
    "parts.svg": "Where a transformer's time",
}
"""File -> how the caption of its figure in the report begins; the first that does is taken."""


def main(words: Sequence[str]) -> None:
    """Measure, unless told otherwise; then write what is linked from the README."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("--reuse", action="store_true", help="measure nothing")
    if not parser.parse_args(words).reuse:
        subprocess.run([sys.executable, "-m", "lstn", *COMMAND], check=True)
    page = HTML.read_text(encoding="utf-8")
    for name, caption in PICTURES.items():
        (FOLDER / name).write_text(picture(page, caption), encoding="utf-8")
    PAGE.write_text(summary(json.loads(JSON.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"{FOLDER}: {', '.join(path.name for path in sorted(FOLDER.iterdir()))}")


def picture(page: str, caption: str) -> str:
    """Cut a figure out of the report, and give it the report's style to stand alone with."""
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    figures = re.findall(r"<figure>(<svg .*?</svg>)<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    drawn = next(svg for svg, text in figures if text.replace("&#x27;", "'").startswith(caption))
    assert style is not None
    inside = f"<style>{style[1]} svg {{ background: var(--paper); }}</style>"
    return re.sub(r"<svg (.*?)>", rf'<svg xmlns="http://www.w3.org/2000/svg" width="480" \1>{inside}', drawn, count=1)


def summary(report: dict[str, Any]) -> str:
    """Say in Markdown what was found where."""
    machine, libraries = report["environment"], report["environment"]["libraries"]
    shown = ", ".join(
        f"{name} {libraries[name]}"
        for name in ("torch", "onnxruntime", "onnxruntime-gpu", "openvino")
        if name in libraries
    )
    rows = [
        (line["claim"], line["where"] or "counted", f"**{line['verdict']}**", line["figure"])
        for line in report["verdicts"]
    ]
    lines = [
        "# The paper's claims on one CPU",
        "",
        f"{machine['cpu']}, {machine['cores']} cores (load {machine['load']} at the start: it was shared), "
        f"{report['setup']['threads']} thread, {shown}; {report['made'][:10]}. Ratios and times are medians with 95 % "
        "intervals; [the page on claims](../../docs/how-to/claims.md) says what decides.",
        "",
        "![Time of each transformer against its FLOPs](flops-and-time.svg)",
        "![Localizer, grid and sampler of each transformer](parts.svg)",
        "",
        markdown_table(("claim", "where", "verdict", "figure"), rows, words=4),
        "",
        "The whole report, peers and costs included: [claims.html](claims.html); every raw sample: "
        "[claims.json](claims.json). Made with `python -m benchmarks keep_claims`.",
    ]
    return "\n".join(lines) + "\n"
