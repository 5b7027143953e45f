"""Imports that wait: names that are imported when they are first used, and packages that only one extra brings.

`import lstn` imports this module, so what only an error needs is imported in its function.
"""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

from lstn.errors import MissingExtra

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime reports to its maker; it looks when imported


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
        from lstn.install import install_line

        raise MissingExtra(f"{package or root} {state}", hint=f"run: {install_line(extra)}") from error
