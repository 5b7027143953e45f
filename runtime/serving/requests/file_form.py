"""A request that is one image file and nothing else, as `curl --data-binary @cat.jpg` sends it."""

import re

from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import IMAGE, Input, Request

_JSON = re.compile(rb"(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*([{\[]|\Z)")
"""How JSON begins, in UTF-8 or 16: some systems write a byte-order mark before it."""


def is_file(body: bytes, header_length: bytes | None, content_type: bytes) -> bool:
    """Return whether a body is a file: neither called JSON nor beginning as JSON does, or all behind an empty JSON.

    The latter is Triton's raw binary request. No image format begins with a brace or a bracket.

    header_length: the header Inference-Header-Content-Length, if there is one

    Raises:
        Refusal: the body is a form, in which the file would have to be looked for.
    """
    if content_type.lower().startswith(b"multipart/"):
        raise Refusal(Reason.ENCODING, "forms are not taken; send the file itself, as curl --data-binary @FILE does")
    if header_length is not None:
        return header_length.strip() == b"0" and bool(body)
    return not content_type.lower().startswith(b"application/json") and _JSON.match(body) is None


def read_file(body: bytes) -> Request:
    """Return the request for what can be said of the one image."""
    return Request((Input(IMAGE, "BYTES", (1,), [body]),), summary=True)
