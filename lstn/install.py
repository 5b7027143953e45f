"""Install lines: where this lstn was installed from, and the command that adds extras to it."""

import json
import shlex
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit


def install_line(extras: str) -> str:
    """Return the command that adds extras, such as `train,export`, from where this lstn itself came.

    lstn is not on a package index: a checkout adds them from its folder, an installed one from its wheel or repository.
    """
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return _pip("." if checkout == Path.cwd() else str(checkout), extras)
    return _pip(_installed_from(), extras)


def _installed_from() -> str:
    """Read what pip noted (PEP 610): a wheel, a folder or a repository. Without a note, the name is all there is."""
    with suppress(PackageNotFoundError, OSError, ValueError, KeyError, AttributeError, TypeError):
        note = json.loads(distribution("lstn").read_text("direct_url.json") or "{}")
        if "vcs_info" in note:
            return f"lstn[{{}}] @ {note['vcs_info']['vcs']}+{note['url']}@{note['vcs_info']['commit_id']}"
        place = Path(unquote(urlsplit(note["url"]).path))
        return str(place if place.exists() else place.name)
    return "lstn"


def _pip(source: str, extras: str) -> str:
    wanted = source.format(extras) if "[{}]" in source else f"{source}[{extras}]"
    quoted = shlex.quote(wanted)
    return f"pip install {quoted}" if quoted.startswith("'") else f"pip install '{wanted}'"
