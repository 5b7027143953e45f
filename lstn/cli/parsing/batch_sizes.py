"""`--batch N,…` of the commands that measure: one comparison for each number of images."""

import re

from lstn.errors import UsageError

_NUMBERS = re.compile(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*")


def batch_sizes(text: str) -> tuple[int, ...]:
    """Return the numbers of images a call, each once, in the order given.

    Raises:
        UsageError: it isn't numbers, separated by commas.
    """
    plain = text.replace(" ", "")
    if not _NUMBERS.fullmatch(plain):
        raise UsageError(
            f"--batch {text!r:.60}: expected numbers of images from 1 to 999999", hint="for example: --batch 1,8"
        )
    return tuple(dict.fromkeys(int(number) for number in plain.split(",")))
