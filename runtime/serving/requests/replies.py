"""Answers of the HTTP server."""

import json
from dataclasses import dataclass
from typing import Any

from lstn.runtime.serving.requests.refusal import RETRY_AFTER_S, Reason, Refusal

JSON, BYTES = b"application/json", b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def json_reply(content: object, status: int = 200) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, json.dumps(content).encode())


def ready_reply(ready: bool, content: dict[str, Any]) -> Reply:
    """Return the answer to a probe, which reads the status alone."""
    return json_reply(content, 200 if ready else Reason.UNAVAILABLE.http)


def refused(refusal: Refusal) -> Reply:
    """Return the answer that says why there is none."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if refusal.reason.http == Reason.OVERLOADED.http:
        headers = ((b"retry-after", str(RETRY_AFTER_S).encode()),)
    elif refusal.reason is Reason.UNAUTHENTICATED:
        headers = ((b"www-authenticate", b"Bearer"),)
    return Reply(refusal.reason.http, json.dumps({"error": refusal.message}).encode(), headers=headers)


def wrong_method(allowed: tuple[str, ...]) -> Reply:
    """Return the answer to a method that an address doesn't have."""
    told = json.dumps({"error": f"this address takes {' and '.join(allowed)} only"}).encode()
    return Reply(Reason.METHOD.http, told, headers=((b"allow", ", ".join(allowed).encode()),))
