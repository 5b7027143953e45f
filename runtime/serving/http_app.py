"""The protocol over HTTP, as an ASGI application: JSON, with tensors in it or in bytes behind it.

The binary form is Triton's extension `binary_tensor_data`: the header Inference-Header-Content-Length says where the
JSON ends, and each tensor's `binary_data_size` how many of the bytes behind it are its own.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from lstn.contract import LOGITS
from lstn.runtime.serving.access import MAX_BODY_BYTES, READ_TIMEOUT_S
from lstn.runtime.serving.json_form import HEADER_LENGTH, read_request, write_answer
from lstn.runtime.serving.playground.playground_page import page
from lstn.runtime.serving.refusal import RETRY_AFTER_S, Refusal, Why
from lstn.runtime.serving.registry import EXTENSIONS, SERVER, House
from lstn.terminal import warn

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_JSON = b"application/json"
_OPEN = {(), ("v2", "health", "live"), ("v2", "health", "ready")}
"""What needs no token: probes have none, and the playground holds nothing but a field for it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Gone(Exception):  # noqa: N818
    """The client has left; there is nobody to answer."""


class HttpApp:
    """The ASGI application."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        body = _Body(scope, receive, self._house)
        try:
            reply = await self._reply(scope, body)
        except Refusal as refusal:
            reply = _refused(refusal)
        except Gone:
            return
        except Exception as error:
            warn(f"http: {type(error).__name__}: {error}")
            reply = _refused(Refusal(Why.FAILED, "internal error"))
        finally:
            body.release()
        close = () if await body.discard() else ((b"connection", b"close"),)
        length = (b"content-length", str(len(reply.body)).encode())
        headers = [(b"content-type", reply.content_type), length, *reply.headers, *close]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    async def _reply(self, scope: Scope, body: "_Body") -> Reply:
        headers = _headers_of(scope)
        _check_origin(headers)
        path = tuple(part for part in scope["path"].split("/") if part)
        if path not in _OPEN and not self._house.guard.admits(headers.get(b"authorization", b"")):
            raise Refusal(Why.UNAUTHENTICATED, "wanted the header Authorization: Bearer TOKEN")
        infer = path[:2] == ("v2", "models") and path[-1:] == ("infer",)
        if scope["method"] not in (("POST",) if infer else ("GET", "HEAD")):
            raise Refusal(Why.METHOD, "no such method here")
        if infer:
            return await self._infer(*_model_of(path[2:-1]), headers, body)
        return self._look_up(path)

    def _look_up(self, path: tuple[str, ...]) -> Reply:
        match path:
            case ():
                return self._playground()
            case ("metrics",):
                metrics, content_type = self._house.metrics_page()
                return Reply(200, metrics, content_type.encode())
            case ("v2",):
                # The protocol wants a version; ours would tell a stranger which faults to look for.
                return _json({"name": SERVER, "version": "", "extensions": list(EXTENSIONS)})
            case ("v2", "health", "live"):
                return _json({"live": True})
            case ("v2", "health", "ready"):
                return _ready(self._house.ready, {"ready": self._house.ready})
            case ("v2", "models", *rest) if rest and rest[-1] == "ready":
                name, version = _model_of(rest[:-1])
                ready = self._house.model_ready(name, version)
                return _ready(ready, {"name": name, "ready": ready})
            case ("v2", "models"):
                return _json({"models": list(self._house.models)})  # as KServe's own server does
            case ("v2", "models", *rest):
                return _json(_labelled(self._house.metadata(*_model_of(rest)), self._house.labels(*_model_of(rest))))
        raise Refusal(Why.NOT_FOUND, "no such page")

    def _playground(self) -> Reply:
        made = page(guarded=self._house.guard.digest is not None)
        headers = (
            (b"content-security-policy", made.policy),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        )
        return Reply(200, made.html, b"text/html; charset=utf-8", headers)

    async def _infer(self, name: str, version: str, headers: dict[bytes, bytes], body: "_Body") -> Reply:
        house = self._house
        house.find(name, version)
        if house.draining:
            raise Refusal(Why.UNAVAILABLE, "the server is stopping")
        content = await body.read()
        request, form = read_request(content, headers.get(HEADER_LENGTH))
        del content
        answering = asyncio.ensure_future(house.answer(name, version, "http", request))
        leaving = asyncio.ensure_future(body.left())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise Gone
            outputs = answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Refusal, Exception):
                    await task
        written, json_length = write_answer(name, form, outputs)
        if json_length is None:
            return Reply(200, written)
        return Reply(200, written, b"application/octet-stream", ((HEADER_LENGTH, str(json_length).encode()),))


class _Body:
    """A request's body, read once and never beyond the limit."""

    def __init__(self, scope: Scope, receive: Receive, house: House) -> None:
        self._receive = receive
        self._house = house
        self._headers = _headers_of(scope)
        self._held = 0
        self._ended = b"content-length" not in self._headers and b"transfer-encoding" not in self._headers

    async def read(self) -> bytes:
        """Return it whole.

        Raises:
            Refusal: it is too large, compressed, or doesn't come.
            Gone: the client left.
        """
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal(Why.ENCODING, "compressed requests are not taken")
        declared = self._headers.get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > 18 or int(declared) > MAX_BODY_BYTES:
            raise Refusal(Why.TOO_LARGE, f"the request is larger than {MAX_BODY_BYTES >> 20} MiB")
        self._hold(int(declared))
        try:
            return await asyncio.wait_for(self._collect(), READ_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refusal(Why.SLOW, "the request didn't arrive in time") from error

    async def _collect(self) -> bytes:
        pieces, total = [], 0
        while not self._ended:
            piece = await self._next()
            total += len(piece)
            if total > MAX_BODY_BYTES:
                raise Refusal(Why.TOO_LARGE, f"the request is larger than {MAX_BODY_BYTES >> 20} MiB")
            self._hold(max(0, total - self._held))  # a body in chunks says no length beforehand
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def discard(self) -> bool:
        """Read on without keeping anything, so that the client gets to read its answer; False if it sends too much."""
        total = 0
        if int(self._headers.get(b"content-length", b"0")[:18] or b"0") > MAX_BODY_BYTES:
            return False
        try:
            while not self._ended and total <= MAX_BODY_BYTES:
                total += len(await asyncio.wait_for(self._next(), READ_TIMEOUT_S))
        except (Gone, asyncio.TimeoutError, TimeoutError):
            return False
        return self._ended

    async def left(self) -> None:
        """Wait until the client leaves."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def release(self) -> None:
        """The body isn't in memory any more."""
        self._house.hold(-self._held)
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
        self._house.hold(count)
        self._held += count


def _headers_of(scope: Scope) -> dict[bytes, bytes]:
    return {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}


def _check_origin(headers: dict[bytes, bytes]) -> None:
    """A page from elsewhere can't read our answers without CORS, but it could make the engine work."""
    origin = headers.get(b"origin")
    if origin is None:
        return
    try:
        same = urlsplit(origin.decode("latin-1")).netloc == headers.get(b"host", b"").decode("latin-1")
    except ValueError:
        same = False
    if not same:
        raise Refusal(Why.FOREIGN, "requests of other sites' pages are not taken")


def _model_of(parts: "list[str] | tuple[str, ...]") -> tuple[str, str]:
    """`m` or `m/versions/1` -> name, version."""
    match list(parts):
        case [name]:
            return name, ""
        case [name, "versions", version]:
            return name, version
    raise Refusal(Why.NOT_FOUND, "no such page")


def _labelled(metadata: dict[str, Any], labels: tuple[str, ...]) -> dict[str, Any]:
    """Put the labels beside the logits, whose order is theirs, as a parameter: gRPC's metadata has no place for it."""
    outputs = [
        output | {"parameters": {"labels": list(labels)}} if output["name"] == LOGITS else output
        for output in metadata["outputs"]
    ]
    return metadata | {"outputs": outputs}


def _json(content: dict[str, Any], status: int = 200) -> Reply:
    return Reply(status, json.dumps(content).encode())


def _ready(ready: bool, content: dict[str, Any]) -> Reply:
    return _json(content, 200 if ready else Why.UNAVAILABLE.http)


def _refused(refusal: Refusal) -> Reply:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if refusal.why.http == Why.OVERLOADED.http:
        headers = ((b"retry-after", str(RETRY_AFTER_S).encode()),)
    elif refusal.why is Why.UNAUTHENTICATED:
        headers = ((b"www-authenticate", b"Bearer"),)
    elif refusal.why is Why.METHOD:
        headers = ((b"allow", b"GET, HEAD, POST"),)
    return Reply(refusal.why.http, json.dumps({"error": refusal.message}).encode(), headers=headers)
