"""The server's HTTP side, as an ASGI application: Triton's and KServe's addresses, Prometheus', and the playground.

The binary form is Triton's extension `binary_tensor_data`: the header Inference-Header-Content-Length says where the
JSON ends, and each tensor's `binary_data_size` how many of the bytes behind it are its own.

There is no Starlette in it, nor another framework. What is hard here is what frameworks leave to the application: to
refuse a request before its body is read, to count all bodies in memory together, to notice a client that leaves, and to
let a refused one read its answer. What they would bring is a router, for a dozen addresses.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias
from urllib.parse import urlsplit

from lstn.runtime.serving.models.registry import EXTENSIONS, SERVER, ModelRegistry
from lstn.runtime.serving.playground.playground_page import playground_page
from lstn.runtime.serving.protocols.descriptions import config_of, full_metadata_of, index_of, statistics_of
from lstn.runtime.serving.protocols.http_body import Body, Gone, Message, Receive, Scope, headers_of
from lstn.runtime.serving.requests.file_form import is_file, read_file
from lstn.runtime.serving.requests.json_form import (
    HEADER_LENGTH,
    Form,
    as_flag,
    parsed_request,
    read_request,
    write_answer,
)
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.replies import BYTES, Reply, json_reply, ready_reply, refused, wrong_method
from lstn.runtime.serving.requests.request import Output, Request
from lstn.runtime.serving.requests.v1_form import read_instances, write_predictions
from lstn.terminal import warn

Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = dict[bytes, bytes]
Path: TypeAlias = tuple[str, ...]

_OPEN = {(), ("v2", "health", "live"), ("v2", "health", "ready")}
"""What needs no token: probes have none, and the playground holds nothing but a field for it."""


class HttpApp:
    """The ASGI application."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        body, lingers = Body(scope, receive, self._registry), True
        try:
            reply = await self._reply(scope, body)
        except Refusal as refusal:
            reply = refused(refusal)
        except Gone:
            return
        except asyncio.CancelledError:  # the server's end: it waits no longer for what was slow to come
            reply, lingers = refused(Refusal(Reason.UNAVAILABLE, "the server is stopping")), False
        except Exception as error:
            warn(f"http: {type(error).__name__}: {error}")
            reply = refused(Refusal(Reason.FAILED, "internal error"))
        finally:
            body.release()
        lingers = lingers and not body.ended
        # Of a server that stops, too: it doesn't know of a connection that came in the moment in which it closed them.
        close = ((b"connection", b"close"),) if not body.ended or self._registry.draining else ()
        length = (b"content-length", str(len(reply.body)).encode())
        headers = [(b"content-type", reply.content_type), length, *reply.headers, *close]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        content = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": content, "more_body": lingers})
        if lingers:
            await body.linger()
            await send({"type": "http.response.body", "body": b""})

    async def _reply(self, scope: Scope, body: Body) -> Reply:
        headers = headers_of(scope)
        _check_origin(headers)
        path = tuple(part for part in scope["path"].split("/") if part)
        if path not in _OPEN and not self._registry.guard.admits(headers.get(b"authorization", b"")):
            raise Refusal(Reason.UNAUTHENTICATED, "expected the header Authorization: Bearer TOKEN")
        if posted := self._posted(path):
            return await posted(headers, body) if scope["method"] == "POST" else wrong_method(("POST",))
        if looked_up := self._looked_up(path):
            allowed = ("GET", "HEAD")
            return looked_up() if scope["method"] in allowed else wrong_method(allowed)
        raise Refusal(Reason.NOT_FOUND, "no such page")

    def _posted(self, path: Path) -> Callable[[Headers, Body], Awaitable[Reply]] | None:
        """Return what answers a POST, if the address takes one."""
        match path:
            case ("v2", "models", *rest, "infer") if rest:
                name, version = _model_of(rest)
                return lambda headers, body: self._infer(name, version, headers, body)
            case ("v1", "models", called) if called.endswith(":predict"):
                return lambda headers, body: self._predict(called.removesuffix(":predict"), body)
            case ("v2", "repository", "index"):
                return lambda headers, body: self._index(body)
        return None

    def _looked_up(self, path: Path) -> Callable[[], Reply] | None:
        """Return what answers a GET, if there is such an address."""
        registry = self._registry
        match path:
            case ():
                return self._playground
            case ("metrics",):
                return self._metrics
            case ("v2",):
                # The protocol wants a version; ours would tell a stranger which faults to look for.
                return lambda: json_reply({"name": SERVER, "version": "", "extensions": list(EXTENSIONS)})
            case ("v2", "health", "live"):
                return lambda: json_reply({"live": True})
            case ("v2", "health", "ready"):
                return lambda: ready_reply(registry.ready, {"ready": registry.ready})
            case ("v1" | "v2", "models"):
                return lambda: json_reply({"models": list(registry.models)})  # as KServe's own server does
            case ("v1", "models", name) if ":" not in name:
                return lambda: self._ready(name, "")
            case ("v2", "models", "stats") if "stats" not in registry.models:
                return lambda: json_reply(statistics_of(registry.some("", "")))
            case ("v2", "models", *rest):
                return self._of_model(rest)
        return None

    def _of_model(self, rest: list[str]) -> Callable[[], Reply] | None:
        """Answer a GET of one model: its metadata, or what the last part of the address says."""
        find = self._registry.find
        match rest:
            case [*called, "ready"] if called:
                return lambda: self._ready(*_model_of(called))
            case [*called, "config"] if called:
                return lambda: json_reply(config_of(find(*_model_of(called))))
            case [*called, "stats"] if called:
                return lambda: json_reply(statistics_of([find(*_model_of(called))]))
        return lambda: json_reply(full_metadata_of(find(*_model_of(rest))))

    def _ready(self, name: str, version: str) -> Reply:
        ready = self._registry.model_ready(name, version)
        return ready_reply(ready, {"name": name, "ready": ready})

    def _metrics(self) -> Reply:
        content, content_type = self._registry.metrics_page()
        return Reply(200, content, content_type.encode())

    def _playground(self) -> Reply:
        made = playground_page(guarded=self._registry.guard.digest is not None)
        headers = (
            (b"content-security-policy", made.policy),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        )
        return Reply(200, made.html, b"text/html; charset=utf-8", headers)

    async def _infer(self, name: str, version: str, headers: Headers, body: Body) -> Reply:
        content = await self._content(name, version, body)
        header_length = headers.get(HEADER_LENGTH)
        if is_file(content, header_length, headers.get(b"content-type", b"")):
            form = Form(None, False, {})
            outputs = await self._answered_file(name, version, content, body)
        else:
            request, form = read_request(content, header_length)
            del content
            outputs = await self._answered(name, version, request, body)
        written, json_length = write_answer(name, form, outputs)
        if json_length is None:
            return Reply(200, written)
        return Reply(200, written, BYTES, ((HEADER_LENGTH, str(json_length).encode()),))

    async def _predict(self, name: str, body: Body) -> Reply:
        request = read_instances(await self._content(name, "", body))
        return Reply(200, write_predictions(await self._answered(name, "", request, body)))

    async def _index(self, body: Body) -> Reply:
        content = await body.read()
        only_ready = as_flag(parsed_request(content).get("ready", False), "ready") if content else False
        return json_reply(index_of(self._registry.models.values(), only_ready=only_ready))

    async def _content(self, name: str, version: str, body: Body) -> bytes:
        """Return the body of a request to a model, if the model is there and the server isn't stopping."""
        self._registry.find(name, version)
        if self._registry.draining:
            raise Refusal(Reason.UNAVAILABLE, "the server is stopping")
        return await body.read()

    async def _answered_file(self, name: str, version: str, content: bytes, body: Body) -> list[Output]:
        try:
            return await self._answered(name, version, read_file(content), body)
        except Refusal as refusal:
            if refusal.reason is not Reason.INVALID:
                raise
            told = f"the request is not JSON, so it was taken for a file; {refusal.message}"
            raise Refusal(Reason.INVALID, told) from refusal

    async def _answered(self, name: str, version: str, request: Request, body: Body) -> list[Output]:
        """Return the answer, unless the client leaves before it is there."""
        answering = asyncio.ensure_future(self._registry.answer(name, version, "http", request))
        leaving = asyncio.ensure_future(body.left())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise Gone
            return answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Refusal, Exception):
                    await task


def _check_origin(headers: Headers) -> None:
    """A page from elsewhere can't read our answers without CORS, but it could make the engine work.

    Browsers say in Sec-Fetch-Site whether a page is ours, on localhost and over HTTPS; a proxy that sends us another
    Host doesn't change that. On other addresses they don't, and the origin must be the host.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        same = site == b"same-origin"
    else:
        try:
            same = urlsplit(origin.decode("latin-1")).netloc == headers.get(b"host", b"").decode("latin-1")
        except ValueError:
            same = False
    if not same:
        told = "requests of other sites' pages are not taken; a proxy must pass on the Host that it was asked for"
        raise Refusal(Reason.FOREIGN, told)


def _model_of(parts: list[str]) -> tuple[str, str]:
    """`m` or `m/versions/1` -> name, version."""
    match parts:
        case [name]:
            return name, ""
        case [name, "versions", version]:
            return name, version
    raise Refusal(Reason.NOT_FOUND, "no such page")
