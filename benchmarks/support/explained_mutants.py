"""Why mutants survive: each that no test can or should find, with the reason."""

from collections.abc import Mapping

EXPLAINED: Mapping[str, Mapping[tuple[str, str, str], str]] = {}
"""A module -> the function, what stood there and what stands there now -> why no test finds that."""
