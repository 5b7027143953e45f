"""Packages that only one extra brings: a missing one names its cure."""

import importlib
from types import ModuleType

from lstn.errors import MissingExtra


def require(module: str, *, extra: str, package: str = "") -> ModuleType:
    """Import `module`, or say which extra of lstn holds it. `package` is what pip calls it, if not the same.

    Raises:
        MissingExtra: it is not installed, or its shared libraries don't load.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == root
        state = "is not installed" if missing else f"is installed but doesn't load ({error})"
        raise MissingExtra(f"{package or root} {state}", hint=f"run: pip install 'lstn[{extra}]'") from error
