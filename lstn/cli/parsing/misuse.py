"""Misuse of the command line: the parser's errors, worded like every other error."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from lstn.errors import UsageError

_INVALID = re.compile(r"Invalid value for '([^']+)'(?: \([^)]*\))?: (.*)", re.DOTALL)
_NOT_ONE_OF = re.compile(r"(?:Value error, )?'(.*)' is not one of (.*?)\.?", re.DOTALL)
_UNKNOWN = re.compile(r"No such (option|command):? '?([^' ]+?)'?\.?(?: .*)?", re.DOTALL)
_OPTION_IS_EMPTY = re.compile(r"--[a-z-]+=")
_WORDS = {
    r"Value error, ": "",
    r"Input should be a valid (\w+), unable to parse .*": r"expected a valid \1",
    r"Input should be greater than or equal to (\S+)": r"expected \1 or more",
    r"Input should be less than or equal to (\S+)": r"expected \1 or less",
    r"Input should be ": "expected ",
}
"""How the parser's words are said here."""


def is_misuse(error: Exception) -> bool:
    """Whether the parser raised it. Typer doesn't say in public what it raises, and older versions raise Click's."""
    return callable(getattr(error, "format_message", None)) and hasattr(error, "exit_code")


def refuse_empty(words: Sequence[str]) -> None:
    """Refuse an empty word, which would mean the current folder as a path, and as a name or as weights none at all.

    Raises:
        UsageError: there is one.
    """
    for before, word in zip(("lstn", *words), words, strict=False):
        if not word or _OPTION_IS_EMPTY.fullmatch(word):
            hint = "give one, or leave it out; a variable of the shell that isn't set is empty"
            raise UsageError(f"{before if not word else word[:-1]} '': expected a value", hint=hint)


def usage_error(error: Exception) -> UsageError:
    """Return what is wrong with the command as typed, and the nearest name that would be right."""
    message = str(getattr(error, "format_message")())  # noqa: B009 - of a type that has no public name
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "lstn")
    manual = f"see: {command} --help"
    if (found := _INVALID.fullmatch(message)) is not None:
        option, why = found.groups()
        if (choice := _NOT_ONE_OF.fullmatch(why)) is not None:
            names = re.findall(r"'([^']*)'", choice[2])
            return UsageError(
                f"{option} {choice[1]}: expected one of {', '.join(names)}", hint=_meant(choice[1], names) or manual
            )
        return UsageError(f"{option}: {_said(why)}", hint=manual)
    if (unknown := _UNKNOWN.fullmatch(message)) is not None:
        names = _names(context, unknown[1])
        return UsageError(f"{command} has no {unknown[1]} {unknown[2]}", hint=_meant(unknown[2], names) or manual)
    return UsageError(f"{message[:1].lower()}{_said(message[1:]).rstrip('.')}", hint=manual)


def _names(context: object, kind: str) -> list[str]:
    command = getattr(context, "command", None)
    if kind == "command":
        return list(getattr(command, "commands", {}))
    return [name for each in getattr(command, "params", ()) for name in each.opts if name.startswith("--")]


def _meant(typed: str, names: list[str]) -> str:
    word = typed.lower()
    begun = [name for name in names if word and name.startswith(word)]
    near = begun if len(begun) == 1 else get_close_matches(word, names, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""


def _said(words: str) -> str:
    for theirs, ours in _WORDS.items():
        words = re.sub(theirs, ours, words)
    return words
