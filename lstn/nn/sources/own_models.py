"""Backbones of the user's own, as `MODULE:FACTORY` on the command line.

Such a module is imported because somebody typed its name. The name in a file's contract is never imported: whoever made
the file would choose what code runs here.
"""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from torch import nn

from lstn.errors import LstnError, UsageError

OwnFactory = Callable[[int], nn.Module]
"""Number of classes K -> a module from normalised images (N, 3, H, W) float32 to logits (N, K)."""

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(typed: str) -> bool:
    """Whether what was typed names a callable of a Python module, such as `my_nets:small`."""
    return _NAME.fullmatch(typed) is not None and not typed.startswith("timm:")


def own_factory(typed: str) -> OwnFactory:
    """Import what was typed as `MODULE:FACTORY`. Modules in the current folder are found last.

    Raises:
        UsageError: it isn't typed so, there is no such module, it has no such callable, or its code fails.
    """
    if not is_own(typed):
        raise UsageError(
            f"{typed!r:.80} is not a network of your own", hint="give it as MODULE:FACTORY, such as my_nets:small"
        )
    name, _, attribute = typed.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # for what the factory imports later, too
    try:
        found = getattr(import_module(name), attribute, None)
    except ModuleNotFoundError as error:
        missing = name if error.name == name else f"{error.name or error}, which {name} imports"
        raise UsageError(
            f"--model {typed:.80}: there is no module {missing:.200}",
            hint=f"put {name.partition('.')[0]}.py into this folder or onto PYTHONPATH, and install what it imports",
        ) from error
    except Exception as error:  # whatever a module of the user's raises
        raise _failed(typed, error) from error
    if not callable(found):
        raise UsageError(
            f"--model {typed:.80}: {name} has no callable {attribute}", hint="define it: classes -> torch.nn.Module"
        )
    return _checked(typed, found)


def _checked(typed: str, factory: Callable[[int], object]) -> OwnFactory:
    def make(classes: int) -> nn.Module:
        try:
            made = factory(classes)
        except LstnError:
            raise
        except Exception as error:  # whatever a factory of the user's raises
            raise _failed(typed, error) from error
        if not isinstance(made, nn.Module):
            raise UsageError(f"--model {typed:.80} made a {type(made).__name__}, and not a torch.nn.Module")
        return made

    return make


def _failed(typed: str, error: Exception) -> UsageError:
    first = str(error).strip().partition("\n")[0]
    return UsageError(
        f"--model {typed:.80} failed: {type(error).__name__}: {first:.200}", hint="lstn --debug … shows where"
    )
