"""The parameters of requests, inputs and outputs: those that are done, and the refusal of all others by name."""

import re
from collections.abc import Collection, Mapping

from lstn.runtime.serving.requests.refusal import Reason, Refusal

TIMEOUT, CLASSIFICATION = "timeout", "classification"
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"

_HARMLESS = ("priority", "sequence_id", "sequence_start", "sequence_end")
"""Triton's parameters of requests that ask for nothing where they are 0 or false; some clients always send them."""

_DONE = ("triton_enable_empty_final_response",)
"""Parameters that are as good as done: this one is of streams, and a request here has one answer that is not empty."""

_PRINTABLE = re.compile(r"[\w.-]{1,64}", re.ASCII)


def check_names(given: Mapping[str, object], known: Collection[str], of: str) -> None:
    """Refuse a parameter that nothing here would do: an answer as if it hadn't been sent would be wrong.

    of: what has the parameters, for the message

    Raises:
        Refusal: one is none of `known`.
    """
    for name, value in given.items():
        if name not in (*known, *_DONE) and (value or name not in _HARMLESS):
            named = f"parameter {name}" if _PRINTABLE.fullmatch(name) else "a parameter"
            taken = f"; {of} may have {', '.join(known)}" if known else ""
            raise Refusal(Reason.INVALID, f"{named} of {of} is not supported{taken}")


def timeout_of(parameters: Mapping[str, object]) -> float | None:
    """Return the parameter `timeout`, which is in µs as in Triton, in seconds; None for 0 and for none.

    Raises:
        Refusal: it is no whole number.
    """
    microseconds = parameters.get(TIMEOUT)
    if microseconds is None:
        return None
    if type(microseconds) is not int or not 0 <= microseconds < 1 << 63:
        raise Refusal(Reason.INVALID, "timeout must be a whole number of microseconds")
    return microseconds / 1e6 or None


def classes_of(parameters: Mapping[str, object]) -> int | None:
    """Return an output's parameter `classification`: how many of the best classes it is to name; None for no classes.

    Raises:
        Refusal: it is no whole number, or less than 1.
    """
    classes = parameters.get(CLASSIFICATION)
    if classes is None:
        return None
    if type(classes) is not int or not 1 <= classes < 1 << 63:
        raise Refusal(Reason.INVALID, "classification must be a whole number of classes, at least 1")
    return classes


def flag_of(parameters: Mapping[str, object], name: str, *, default: bool) -> bool:
    """Return a parameter that is true or false.

    Raises:
        Refusal: it is something else.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(Reason.INVALID, f"{name} must be true or false")
    return value
