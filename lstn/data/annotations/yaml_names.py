"""The class names in a data.yaml: a reader of that one field, in the forms that tools write it."""

import json
import re

_KEY = re.compile(r"names[ \t]*:(.*)", re.DOTALL)
_ITEM = re.compile(
    r"""\s*(?:(?P<number>\d+)\s*:\s*)?(?P<scalar>'(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|[^\s'",\[\]{}#][^,\]\[{}\n]*)"""
)
_BLOCK = re.compile(
    r"""\s*(?:-\s+|(?P<number>\d+)\s*:\s+)(?P<scalar>'(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|[^\s'"\[\]{}&*!|>%@`#].*?)(?:\s+#.*|\s*)"""
)


def names_of_yaml(text: str) -> list[str]:
    """Return the names, by their numbers.

    `names: [a, b]`, over several lines too; `names: {0: a, 1: b}`; and a block of `- a` or `0: a`. Names may be quoted.

    Raises:
        ValueError: there is no such field, or it has another form; in one line.
    """
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if _KEY.fullmatch(line)), None)
    if start is None:
        raise ValueError("there is no field names:")
    head = _without_comment(lines[start].partition(":")[2])
    if head.startswith(("[", "{")):
        pairs = _flow(head, lines[start + 1 :])
    elif head:
        raise ValueError(f"names: {head!r:.60} is not a list")
    else:
        pairs = _block(lines[start + 1 :])
    if not pairs:
        raise ValueError("names: is empty")
    if all(number is None for number, _ in pairs):
        return [name for _, name in pairs]
    by_number = dict(pairs)
    if sorted(by_number, key=str) != sorted(range(len(pairs)), key=str):
        raise ValueError(f"names: are not numbered from 0 to {len(pairs) - 1}, each once")
    return [by_number[number] for number in range(len(pairs))]


def _flow(head: str, rest: list[str]) -> list[tuple[int | None, str]]:
    """Read `[a, b]` or `{0: a, 1: b}`."""
    closing = {"[": "]", "{": "}"}[head[0]]
    text = "\n".join([head[1:], *map(_without_comment, rest)])
    pairs: list[tuple[int | None, str]] = []
    place = 0
    while not re.compile(rf"\s*{re.escape(closing)}").match(text, place):
        found = _ITEM.match(text, place)
        if found is None or (found["number"] is None) != (closing == "]"):
            raise ValueError(f"names: can't be read from {text[place : place + 40].strip()!r} on")
        pairs.append((_number(found["number"]), _scalar(found["scalar"])))
        after = re.compile(rf"\s*(,|(?={re.escape(closing)}))").match(text, found.end())
        if after is None:
            raise ValueError(f"names: a comma is missing before {text[found.end() : found.end() + 40].strip()!r}")
        place = after.end()
    return pairs


def _block(rest: list[str]) -> list[tuple[int | None, str]]:
    """Read lines of `- a` or `0: a`, up to the next field."""
    pairs: list[tuple[int | None, str]] = []
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if re.match(r"[^\s\-\d]|---", line):
            break
        found = _BLOCK.fullmatch(line)
        if found is None:
            raise ValueError(f"names: can't read the line {line.strip()!r:.60}")
        pairs.append((_number(found["number"]), _scalar(found["scalar"])))
    return pairs


def _number(text: str | None) -> int | None:
    return None if text is None else int(text[:9])


def _scalar(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if text.startswith('"'):
        try:
            return str(
                json.loads(re.sub(r"\\(?:x(..)|.)", lambda found: f"\\u00{found[1]}" if found[1] else found[0], text))
            )
        except ValueError as error:
            raise ValueError(f"names: {text!r:.60} can't be read") from error
    plain = text.strip()
    if re.search(r":(\s|$)|^-(\s|$)", plain):
        raise ValueError(f"names: {plain!r:.60} is not a name; put quotes around it")
    return plain


def _without_comment(line: str) -> str:
    """Cut a comment off, which begins with # after a space, outside of quotes."""
    found = re.match(r"""(?:[^'"#]|'(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|(?<=\S)#|['"])*""", line)
    return "" if found is None else found[0].strip()
