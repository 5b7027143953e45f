"""JSON from elsewhere, checked against a type: one way for contracts, sidecars, metrics, runs and requests.

What a file must hold is written once, as the fields of a dataclass or TypedDict with their bounds. msgspec compares the
two, and converts: a list becomes a tuple, text an enum. The text itself is read by the standard library, which can
refuse what msgspec takes: names that stand twice. Depth is bounded by the interpreter's own limit.
"""

import json
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from lstn.errors import ArtifactError

T = TypeVar("T")

Natural: TypeAlias = Annotated[int, Meta(ge=0, le=sys.maxsize)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=sys.maxsize)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Finite: TypeAlias = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
Magnitude: TypeAlias = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
"""Numbers within bounds; not a number, and infinity, are within none."""

_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")


def parsed(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: not JSON, nested too deep, or a name stands twice in one object; in one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def checked(value: object, kind: type[T], *, exactly: bool = False, required: Collection[str] = ()) -> T:
    """Return what JSON says as a `kind`: a dataclass, a TypedDict, or a container of such.

    exactly:  refuse names that a dataclass `kind` doesn't have, which a newer version may have written
    required: names that must be there, although `kind` has a default for them

    Raises:
        ValueError: it isn't one; in one line that names the field, what was expected and what was found.
    """
    if exactly and isinstance(value, dict) and (new := set(value) - set(getattr(kind, "__dataclass_fields__", ()))):
        raise ValueError(f"{min(new)!r:.80} is unknown")
    if isinstance(value, dict) and (lost := [name for name in required if name not in value]):
        raise ValueError(f"{lost[0]!r} is missing")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_explained(str(error), value)) from error


def read_text(text: str | bytes, kind: type[T], *, source: str, what: str, hint: str = "", exactly: bool = False) -> T:
    """Return what a text of a file says, as a `kind`.

    source, what: for errors: the file, and what of it the text is, such as "contract"

    Raises:
        ArtifactError: it isn't JSON, or isn't a `kind`.
    """
    try:
        return checked(parsed(text), kind, exactly=exactly)
    except ValueError as error:
        raise damaged(source, what, error, hint=hint) from error


def damaged(source: str | Path, what: str, error: ValueError, *, hint: str = "") -> ArtifactError:
    """Return the error for a file that holds a damaged `what`."""
    return ArtifactError(f"{source}: damaged {what} ({error!s:.300})", hint=hint)


def read_bytes(path: Path, *, most: int, what: str, hint: str = "") -> bytes:
    """Return a file's bytes.

    most: how many it may have; what: what such a file is, for the error, such as "a sidecar"

    Raises:
        ArtifactError: it can't be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}", hint=hint) from error
    if len(data) > most:
        raise ArtifactError(f"{path}: larger than {most >> 20} MiB, so it is not {what}", hint=hint)
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} stands twice")
    return fields


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _explained(message: str, value: object) -> str:
    """`Expected `int` >= 1 - at `$.epochs`` -> epochs: expected int >= 1, found 0."""
    problem, _, place = message.replace("`", "").partition(" - at $")
    name = place.removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field (\w+)", problem):
        return f"{'.'.join(filter(None, (name, missing[1])))!r} is missing"
    wanted = problem.partition(", got ")[0].replace("Invalid enum", "unknown").replace("array", "list")
    wanted = wanted[0].lower() + wanted[1:]
    found = list(_found(place, value))
    shown = f", found {found[0]!r:.80}" if found and "unknown value" not in wanted else ""
    return f"{name}: {wanted}{shown}" if name else f"{wanted}{shown}"


def _found(place: str, value: Any) -> Iterator[object]:
    """Yield what stands at a place such as `.tensors[0].shape`; nothing if the place doesn't say, as in `[...]`."""
    for name, index in _STEP.findall(place):
        if index == "...":
            return
        value = value[name] if name else value[int(index)]
    yield value
