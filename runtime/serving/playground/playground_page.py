"""The playground, put together: one page that needs nothing but this server, and runs nothing but its own script."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_SCRIPTS = ("pixels.js", "warp.js", "server.js", "pad.js", "moving.js", "show.js", "objects.js", "page.js")
"""In this order they are one script."""


@dataclass(frozen=True, slots=True)
class Page:
    """A web page, and what a browser may do for it (its Content-Security-Policy)."""

    html: bytes
    policy: bytes


@cache
def playground_page(*, guarded: bool) -> Page:
    """Return the page. It says whether a token is wanted, and nothing about the models: anyone may read it."""
    folder = files("lstn.runtime.serving.playground")
    common = (files("lstn.report") / "page.css").read_text(encoding="utf-8")
    style = common + (folder / "page.css").read_text(encoding="utf-8")
    script = "".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    html = (folder / "page.html").read_text(encoding="utf-8")
    for mark, text in (("GUARDED", str(guarded).lower()), ("STYLE", style), ("SCRIPT", script)):
        html = html.replace(f"{{{{{mark}}}}}", text)
    # 'self' is for requests alone: whatever else got into the page would neither run, nor be drawn, nor be sent.
    policy = (
        f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; connect-src 'self'; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy.encode())


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
