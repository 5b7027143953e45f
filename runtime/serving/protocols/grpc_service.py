"""The protocol over gRPC. Messages arrive as bytes and are parsed here: a malformed one is the client's fault."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from lstn.imports import require
from lstn.report.wording import counted
from lstn.runtime.serving.models.registry import EXTENSIONS, SERVER, ModelRegistry
from lstn.runtime.serving.protocols.descriptions import config_of, index_of, metadata_of, statistics_of
from lstn.runtime.serving.requests.access import Certificate
from lstn.runtime.serving.requests.limits import MAX_BODY_BYTES
from lstn.runtime.serving.requests.messages import SERVICE, message_classes
from lstn.runtime.serving.requests.parameters import (
    ALL_BINARY,
    BINARY,
    BINARY_SIZE,
    CLASSIFICATION,
    TIMEOUT,
    check_names,
    classes_of,
    timeout_of,
)
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import VERSION, Data, Input, Request, Wanted
from lstn.terminal import warn

_OPEN = ("ServerLive", "ServerReady")
"""What needs no token: probes have none."""

_ROOM = 64
"""Calls beside those that wait for an engine: health, metadata, and those about to be refused."""

Answer = Callable[[ModelRegistry, Any, Any], Awaitable[Any]]


def new_server(registry: ModelRegistry, *, max_queue: int) -> Any:
    """Return a grpc.aio.Server that answers for `registry`; it has no port yet.

    Raises:
        MissingExtra: grpcio or protobuf isn't installed.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its log tells of every client that sends nonsense
    grpc = require("grpc", extra="serve", package="grpcio")
    options = [
        ("grpc.max_receive_message_length", MAX_BODY_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.so_reuseport", 0),  # else a second server would share the port, and half of the requests
        # gRPC's limit is on the compressed message, which may unfold to a thousand times its size.
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=max_queue * len(registry.models) + _ROOM)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(_handler(grpc, registry, name, answer))
        for name, answer in _ANSWERS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    return server


def add_port(server: Any, address: str, certificate: Certificate | None) -> int:
    """Bind the server, and return its port; 0 if that failed."""
    grpc = require("grpc", extra="serve", package="grpcio")
    try:
        if certificate is None:
            return int(server.add_insecure_port(address))
        pair = (certificate.key.read_bytes(), certificate.cert.read_bytes())
        return int(server.add_secure_port(address, grpc.ssl_server_credentials((pair,))))
    except RuntimeError:  # newer versions raise where older ones return 0
        return 0


def _handler(grpc: Any, registry: ModelRegistry, name: str, answer: Answer) -> Callable[[bytes, Any], Awaitable[bytes]]:
    kind = message_classes()[f"{name}Request"]

    async def handle(data: bytes, context: Any) -> bytes:
        try:
            sent = dict(context.invocation_metadata() or ()).get("authorization", "")
            token = sent if isinstance(sent, bytes) else sent.encode()
            if name not in _OPEN and not registry.guard.admits(token):
                raise Refusal(Reason.UNAUTHENTICATED, "expected the metadata authorization: Bearer TOKEN")
            reply = await answer(registry, _parsed(kind, data), context)
            return bytes(reply.SerializeToString())
        except Refusal as refusal:
            problem = refusal
        except asyncio.CancelledError:
            raise
        except Exception as error:
            warn(f"grpc: {type(error).__name__}: {error}")
            problem = Refusal(Reason.FAILED, "internal error")
        await context.abort(getattr(grpc.StatusCode, problem.reason.grpc), problem.message)
        raise AssertionError("abort raises")

    return handle


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except Exception as error:  # DecodeError, of a package that is imported late
        raise Refusal(Reason.INVALID, "the message is malformed") from error


async def _server_live(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ServerLiveResponse"](live=True)


async def _server_ready(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ServerReadyResponse"](ready=registry.ready)


async def _server_metadata(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ServerMetadataResponse"](name=SERVER, extensions=EXTENSIONS)


async def _model_ready(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ModelReadyResponse"](ready=registry.model_ready(sent.name, sent.version))


async def _model_metadata(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ModelMetadataResponse"](**metadata_of(registry.find(sent.name, sent.version)))


async def _model_config(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ModelConfigResponse"](config=config_of(registry.find(sent.name, sent.version)))


async def _model_statistics(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    return message_classes()["ModelStatisticsResponse"](**statistics_of(registry.some(sent.name, sent.version)))


async def _repository_index(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    models = index_of(registry.models.values(), only_ready=sent.ready)
    return message_classes()["RepositoryIndexResponse"](models=models)


async def _model_infer(registry: ModelRegistry, sent: Any, context: Any) -> Any:
    request = _request_of(sent, context.time_remaining())
    outputs = await registry.answer(sent.model_name, sent.model_version, "grpc", request)
    tensors = [{"name": output.name, "datatype": output.datatype, "shape": list(output.shape)} for output in outputs]
    return message_classes()["ModelInferResponse"](
        model_name=sent.model_name,
        model_version=VERSION,
        id=sent.id,
        outputs=tensors,
        raw_output_contents=[output.raw() for output in outputs],
    )


_ANSWERS: dict[str, Answer] = {
    "ServerLive": _server_live,
    "ServerReady": _server_ready,
    "ServerMetadata": _server_metadata,
    "ModelReady": _model_ready,
    "ModelMetadata": _model_metadata,
    "ModelConfig": _model_config,
    "ModelStatistics": _model_statistics,
    "RepositoryIndex": _repository_index,
    "ModelInfer": _model_infer,
}


def _request_of(sent: Any, remaining_s: float | None) -> Request:
    """The deadline is the sooner of the call's own and the parameter `timeout`."""
    raw = list(sent.raw_input_contents)
    if raw and len(raw) != len(sent.inputs):
        raise Refusal(Reason.INVALID, f"{counted(len(sent.inputs), 'input')} with {len(raw)} raw contents")
    inputs = []
    for index, tensor in enumerate(sent.inputs):
        if raw and tensor.HasField("contents"):
            raise Refusal(Reason.INVALID, "an input has contents both raw and typed")
        _parameters(tensor, "an input", (BINARY_SIZE,))
        data: Data = raw[index] if raw else _contents_of(tensor)
        if min(tensor.shape, default=0) < 0:
            raise Refusal(Reason.INVALID, "a shape has a negative size")
        inputs.append(Input(tensor.name, tensor.datatype, tuple(tensor.shape), data))
    outputs = tuple(_wanted(output) for output in sent.outputs)
    parameters = _parameters(sent, "a request", (TIMEOUT, ALL_BINARY))
    given = [seconds for seconds in (timeout_of(parameters), remaining_s) if seconds is not None]
    return Request(tuple(inputs), outputs, min(given, default=None))


def _wanted(output: Any) -> Wanted:
    return Wanted(output.name, classes_of(_parameters(output, "an output", (BINARY, CLASSIFICATION))))


def _parameters(message: Any, of: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of a request, an input or an output. Those on binary data are HTTP's; here every tensor is."""
    parameters = {}
    for name, parameter in message.parameters.items():
        which = parameter.WhichOneof("parameter_choice")
        parameters[name] = getattr(parameter, which) if which else None
    check_names(parameters, known, of)
    return parameters


def _contents_of(tensor: Any) -> list[Any]:
    kinds = {"UINT8": "uint_contents", "BYTES": "bytes_contents"}
    if tensor.datatype not in kinds:
        return []  # refused for its datatype, in the same words as over HTTP
    return list(getattr(tensor.contents, kinds[tensor.datatype]))
