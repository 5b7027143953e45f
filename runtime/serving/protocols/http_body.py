"""The body of an HTTP request: read once, never beyond the limits, and what becomes of it when nobody wants it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

from lstn.runtime.serving.models.registry import ModelRegistry
from lstn.runtime.serving.requests.limits import MAX_BODY_BYTES, READ_TIMEOUT_S
from lstn.runtime.serving.requests.refusal import Reason, Refusal

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]


class Gone(Exception):  # noqa: N818
    """The client has left; there is nobody to answer."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return a request's headers, their names in lower case."""
    return {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}


class Body:
    """A request's body."""

    def __init__(self, scope: Scope, receive: Receive, registry: ModelRegistry) -> None:
        self._receive = receive
        self._registry = registry
        self._headers = headers_of(scope)
        self._held = 0
        self._ended = not {b"content-length", b"transfer-encoding"} & set(self._headers)
        self._ended = self._ended or self._headers.get(b"content-length") == b"0"

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._ended

    async def read(self) -> bytes:
        """Return it whole.

        Raises:
            Refusal: it is too large, compressed, or doesn't come.
            Gone: the client left.
        """
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal(Reason.ENCODING, "compressed requests are not taken")
        declared = self._headers.get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > 18 or int(declared) > MAX_BODY_BYTES:
            raise _too_large()
        self._hold(int(declared))
        try:
            return await asyncio.wait_for(self._collect(), READ_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refusal(Reason.SLOW, "the request didn't arrive in time") from error

    async def _collect(self) -> bytes:
        pieces, total = [], 0
        while not self._ended:
            piece = await self._next()
            total += len(piece)
            if total > MAX_BODY_BYTES:
                raise _too_large()
            self._hold(max(0, total - self._held))  # a body in chunks says no length beforehand
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def linger(self) -> None:
        """Take in what still comes, keeping none of it, until it ends, the client leaves, or `READ_TIMEOUT_S` is over.

        Most clients read the answer only when they have sent everything. If the connection were closed before, the
        kernel would reset it, and the answer would be lost.
        """
        with suppress(Gone, asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._drain(), READ_TIMEOUT_S)

    async def _drain(self) -> None:
        while not self._ended:
            await self._next()

    async def left(self) -> None:
        """Wait until the client leaves."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def release(self) -> None:
        """The body isn't in memory any more."""
        self._registry.hold(-self._held)
        self._held = 0

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            raise Gone
        self._ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    def _hold(self, count: int) -> None:
        self._registry.hold(count)
        self._held += count


def _too_large() -> Refusal:
    return Refusal(Reason.TOO_LARGE, f"the request is larger than {MAX_BODY_BYTES >> 20} MiB")
