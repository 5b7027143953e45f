"""Imports that wait: names of a package that are imported when they are first used, and packages that only one extra
brings, of which a missing one names its cure."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

from lstn.errors import MissingExtra


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose names are imported when they are first used.

    homes: a module -> the names that it defines, divided by spaces; "" stands for the module itself, below `package`
    """
    module_of = {name: module for module, names in homes.items() for name in names.split()}
    submodules = {module.rpartition(".")[2] for module, names in homes.items() if not names}

    def get(name: str) -> object:
        if name in submodules:
            return import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *module_of, *submodules})


def require(module: str, *, extra: str, package: str = "") -> ModuleType:
    """Import `module`, or say which extra of lstn holds it. `package` is what pip calls it, if not the same.

    Raises:
        MissingExtra: it is not installed, or its shared libraries don't load.
    """
    try:
        return import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == root
        state = "is not installed" if missing else f"is installed but doesn't load ({error})"
        raise MissingExtra(f"{package or root} {state}", hint=f"run: {install_line(extra)}") from error


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
