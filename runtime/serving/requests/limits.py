"""Limits of a request to the server: sizes and times."""

from lstn.images import MAX_PIXELS

MAX_BODY_BYTES = 64 << 20
"""Of one request, over HTTP or gRPC."""

MAX_HELD_BYTES = 4 * MAX_BODY_BYTES
"""Of all HTTP bodies that are being read or answered at one time."""

MAX_HEAD_BYTES = 64 << 10
"""Of one HTTP request's address and headers."""

MAX_JSON_BYTES = 8 << 20
"""Of a request's JSON: a list of numbers takes twenty times its text. Images belong in binary data."""

MAX_DECODED_PIXELS = MAX_PIXELS
"""Width x height, summed over the encoded images of one request."""

READ_TIMEOUT_S = 60.0
"""For a client to send its request's head, and as much again for the body."""

WRITE_TIMEOUT_S = 60.0
"""For a client to take in what is more of an answer than the system holds for it."""
