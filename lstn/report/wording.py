"""Counts in words: `1 image`, `2 images`, `10,000 files are`."""

_SINGULAR = {"are": "is", "have": "has"}
_ES = ("s", "x", "ch", "sh")


def counted(count: int, noun: str, verb: str = "") -> str:
    """Return a count with its noun, and its verb if one is given: `counted(1, "file", "are")` is `1 file is`.

    noun: in the singular
    verb: in the plural; `are` or `have`
    """
    words = f"{count:,} {noun if count == 1 else _plural(noun)}"
    return f"{words} {agreeing(count, verb)}" if verb else words


def agreeing(count: int, verb: str) -> str:
    """Return a verb, `are` or `have`, as it follows a count: `agreeing(1, "are")` is `is`."""
    return _SINGULAR[verb] if count == 1 else verb


def _plural(noun: str) -> str:
    if noun.endswith(_ES):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
