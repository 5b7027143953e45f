"""Names of the models in the package: `zoo:NAME`, wherever the file of a model is taken."""

from difflib import get_close_matches
from pathlib import Path

from lstn.errors import UsageError

PREFIX = "zoo:"

FOLDER = Path(__file__).parent
"""Where NAME.onnx is, with its card: NAME.json, and the same as a page, NAME.md."""


def zoo_names() -> tuple[str, ...]:
    """Return the names of all models that come with lstn."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.onnx")))


def model_path(named: str | Path) -> Path:
    """Return the file of a model: of `zoo:NAME` the one in the package, and any other path, or a file that is there.

    Raises:
        UsageError: lstn comes with no model of this name; the error lists those there are.
    """
    typed = str(named)
    if not typed.lower().startswith(PREFIX) or Path(named).is_file():
        return Path(named)
    name, names = typed[len(PREFIX) :], zoo_names()
    if typed in {PREFIX + each for each in names}:
        return FOLDER / f"{name}.onnx"
    close = get_close_matches(name.lower(), names, n=1)
    guess = f"; did you mean {PREFIX}{close[0]}?" if close else ""
    found = f"there is no model {typed:.84}" if name else f"{PREFIX} names no model"
    raise UsageError(f"{found}{guess}", hint=f"choose one of: {', '.join(PREFIX + each for each in names)}")


def is_in_zoo(path: Path) -> bool:
    """Whether a file is one of the package's models, which no command writes to or beside."""
    return path.parent == FOLDER


def shown_path(path: Path) -> str:
    """Return how a table names a model's file: one that comes with lstn by its name, and any other by its path."""
    return f"{PREFIX}{path.stem}" if is_in_zoo(path) else str(path)
