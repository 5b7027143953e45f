"""HTTP's connections: uvicorn's own, which would keep a request's address and headers however long they are."""

import asyncio
from typing import Any

from lstn.runtime.serving.access import MAX_HEAD_BYTES, READ_TIMEOUT_S


def connection_class() -> type[asyncio.Protocol]:
    """Return the protocol class for uvicorn, which must be installed.

    What comes before a request's body may have `MAX_HEAD_BYTES` beyond what arrives at once, and `READ_TIMEOUT_S`.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Connection(HttpToolsProtocol):
        """One client's connection."""

        _beginning = False
        _head_bytes = 0
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_nothing()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._beginning, self._head_bytes = True, 0
            self._expect_head()

        def on_headers_complete(self) -> None:
            self._expect_nothing()
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            self._beginning = False
            super().data_received(data)
            if self._late is None or self._beginning:  # these bytes may be another request's
                return
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

        def _expect_head(self) -> None:
            self._expect_nothing()
            self._late = self.loop.call_later(READ_TIMEOUT_S, self.timeout_keep_alive_handler)

        def _expect_nothing(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Connection
