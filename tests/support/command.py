"""The command line, run in the tests' own process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


RunLstn = Callable[..., Ran]
"""Takes the words after `lstn`."""
