"""HTTP's connections: uvicorn's own, which would keep a request's address and headers however long they are.

Import this module where uvicorn and httptools are known to be installed. It overrides what uvicorn doesn't document, so
pyproject.toml bounds uvicorn's version from above.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from lstn.runtime.serving.requests.limits import MAX_HEAD_BYTES, READ_TIMEOUT_S, WRITE_TIMEOUT_S

_GOODBYE_S = 1.0
"""For a client to say goodbye when it is closed: over TLS asyncio waits half a minute, and idle clients say none."""

_LINGER_BYTES = 16 * MAX_HEAD_BYTES
"""What is taken in of a head that was refused already."""


class Connection(HttpToolsProtocol):
    """One client's connection.

    What comes before a request's body may have `MAX_HEAD_BYTES` beyond what arrives at once, and `READ_TIMEOUT_S`.
    """

    _beginning = False
    _head_bytes = 0
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: Any) -> None:
        """Wait for a head, and not for ever."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock of this connection."""
        self._expect_nothing()
        for clock in (self._unread, self._leaving):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Count the bytes of a new head."""
        super().on_message_begin()
        self._beginning, self._head_bytes = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head comes again without an offer of another protocol."""
        self._expect_nothing()
        if not self.parser.should_upgrade():  # it comes again, without that
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, likewise."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse a head that is too large."""
        self._head_bytes += len(data)
        if self._refused:
            if self._head_bytes > _LINGER_BYTES:
                self._close()
            return
        self._beginning = False
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._late is None or self._beginning:  # these bytes may be another request's
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "the head of the request is too large")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Take a request as if it hadn't offered another protocol, as Java's client and `curl --http2` do.

        The parser takes what follows such a head for the other protocol's, and it is the request's body.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(405, "this is not a proxy")
            return
        kept = [pair for pair in self.headers if pair[0] not in (b"upgrade", b"connection", b"http2-settings")]
        lines = [b" ".join((method, self.url, b"HTTP/1.1")), *(b": ".join(pair) for pair in kept), b"", rest]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join(lines))

    def shutdown(self) -> None:
        """Close an idle connection, and others after their answer."""
        if not self.transport.is_closing():
            super().shutdown()
        self._leave_soon()

    def on_response_complete(self) -> None:
        """Go on with the next request, or leave."""
        super().on_response_complete()
        self._leave_soon()

    def _close(self) -> None:
        """Close the connection once: closed again, asyncio's TLS forgets what it still has to send."""
        if not self.transport.is_closing():
            self.transport.close()

    def _leave_soon(self) -> None:
        if self.transport.is_closing() and self._leaving is None:
            self._leaving = self.loop.call_later(_GOODBYE_S, self._leave)

    def _leave(self) -> None:
        """Cut the connection, once all is written."""
        self._leaving = None
        if self.transport.get_write_buffer_size():
            self._leave_soon()
        else:
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection; one that doesn't even take in the answer it has is cut off."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Give a client that doesn't read its answer some time."""
        super().pause_writing()
        self._unread = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def send_400_response(self, msg: str) -> None:
        """Say in JSON that this is not HTTP."""
        self._refuse(400, "the request is not HTTP/1.1")

    def _refuse(self, status: int, told: str) -> None:
        """Answer what is not HTTP, and take in what still comes, so that the answer can be read."""
        going = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
        if self.transport.is_closing() or (going is not None and not self._broke_in_its_body(going)):
            self._close()  # this would get into the answer to the request before
            return
        if going is not None:
            going.disconnected = True  # nobody waits for its own answer any more
            going.message_event.set()
        body = json.dumps({"error": told}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}".encode() + body)
        self._refused, self._head_bytes = True, 0
        self._expect_head()

    def _broke_in_its_body(self, request: RequestResponseCycle) -> bool:
        """Say whether it is the last request's own body that is not HTTP, and no answer has begun."""
        return request.more_body and not request.response_started and not self.pipeline

    def _expect_head(self) -> None:
        self._expect_nothing()
        self._late = self.loop.call_later(READ_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
