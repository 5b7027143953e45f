"""The protocol's protobuf messages, made from their description: no generated code that ties us to one protobuf.

Names and numbers are those of open_inference_grpc.proto (Open Inference Protocol v2), package `inference`, and of
Triton's grpc_service.proto and model_config.proto where those have more: configuration, statistics, index.
"""

from functools import cache
from typing import Any

from lstn.imports import require

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_MESSAGES: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live:1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready:1 bool",
    "ModelReadyRequest": "name:1 string, version:2 string",
    "ModelReadyResponse": "ready:1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name:1 string, version:2 string, extensions:3 *string",
    "ModelMetadataRequest": "name:1 string, version:2 string",
    "ModelMetadataResponse.TensorMetadata": "name:1 string, datatype:2 string, shape:3 *int64",
    "ModelMetadataResponse": (
        "name:1 string, versions:2 *string, platform:3 string, inputs:4 *ModelMetadataResponse.TensorMetadata,"
        " outputs:5 *ModelMetadataResponse.TensorMetadata"
    ),
    "ModelConfigRequest": "name:1 string, version:2 string",
    "ModelConfigResponse": "config:1 ModelConfig",
    "ModelConfig": (
        "name:1 string, platform:2 string, backend:17 string, max_batch_size:4 int32, input:5 *ModelInput,"
        " output:6 *ModelOutput, dynamic_batching:11 ModelDynamicBatching"
    ),
    "ModelInput": "name:1 string, data_type:2 DataType, format:3 Format, dims:4 *int64",
    "ModelOutput": "name:1 string, data_type:2 DataType, dims:3 *int64",
    "ModelDynamicBatching": "max_queue_delay_microseconds:2 uint64",
    "ModelStatisticsRequest": "name:1 string, version:2 string",
    "ModelStatisticsResponse": "model_stats:1 *ModelStatistics",
    "ModelStatistics": (
        "name:1 string, version:2 string, last_inference:3 uint64, inference_count:4 uint64, execution_count:5 uint64,"
        " inference_stats:6 InferStatistics, batch_stats:7 *InferBatchStatistics"
    ),
    "InferStatistics": (
        "success:1 StatisticDuration, fail:2 StatisticDuration, queue:3 StatisticDuration,"
        " compute_input:4 StatisticDuration, compute_infer:5 StatisticDuration, compute_output:6 StatisticDuration"
    ),
    "InferBatchStatistics": (
        "batch_size:1 uint64, compute_input:2 StatisticDuration, compute_infer:3 StatisticDuration,"
        " compute_output:4 StatisticDuration"
    ),
    "StatisticDuration": "count:1 uint64, ns:2 uint64",
    "RepositoryIndexRequest": "repository_name:1 string, ready:2 bool",
    "RepositoryIndexResponse.ModelIndex": "name:1 string, version:2 string, state:3 string, reason:4 string",
    "RepositoryIndexResponse": "models:1 *RepositoryIndexResponse.ModelIndex",
    "InferParameter": (
        "bool_param:1 ?bool, int64_param:2 ?int64, string_param:3 ?string, double_param:4 ?double,"
        " uint64_param:5 ?uint64"
    ),
    "InferTensorContents": (
        "bool_contents:1 *bool, int_contents:2 *int32, int64_contents:3 *int64, uint_contents:4 *uint32,"
        " uint64_contents:5 *uint64, fp32_contents:6 *float, fp64_contents:7 *double, bytes_contents:8 *bytes"
    ),
    "ModelInferRequest.InferInputTensor": (
        "name:1 string, datatype:2 string, shape:3 *int64, parameters:4 {InferParameter, contents:5 InferTensorContents"
    ),
    "ModelInferRequest.InferRequestedOutputTensor": "name:1 string, parameters:2 {InferParameter",
    "ModelInferRequest": (
        "model_name:1 string, model_version:2 string, id:3 string, parameters:4 {InferParameter,"
        " inputs:5 *ModelInferRequest.InferInputTensor, outputs:6 *ModelInferRequest.InferRequestedOutputTensor,"
        " raw_input_contents:7 *bytes"
    ),
    "ModelInferResponse.InferOutputTensor": (
        "name:1 string, datatype:2 string, shape:3 *int64, parameters:4 {InferParameter, contents:5 InferTensorContents"
    ),
    "ModelInferResponse": (
        "model_name:1 string, model_version:2 string, id:3 string, parameters:4 {InferParameter,"
        " outputs:5 *ModelInferResponse.InferOutputTensor, raw_output_contents:6 *bytes"
    ),
}
"""`name:number type`; before the type, `*` repeats it, `?` puts it into a oneof, `{` maps strings to it."""

_ENUMS: dict[str, dict[str, int]] = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11, "TYPE_STRING": 13},
    "Format": {"FORMAT_NONE": 0, "FORMAT_NHWC": 1},
}

_SCALARS = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")


@cache
def message_classes() -> dict[str, Any]:
    """Return the message classes by name; they live in a pool of their own.

    Raises:
        MissingExtra: protobuf isn't installed.
    """
    require("google.protobuf", extra="serve", package="protobuf")
    descriptor_pb2 = require("google.protobuf.descriptor_pb2", extra="serve", package="protobuf")
    factory = require("google.protobuf.message_factory", extra="serve", package="protobuf")
    pools = require("google.protobuf.descriptor_pool", extra="serve", package="protobuf")
    file = descriptor_pb2.FileDescriptorProto(name="lstn_inference.proto", package=PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    made: dict[str, Any] = {}
    for name in sorted(_MESSAGES, key=lambda name: name.count(".")):
        outer, _, inner = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        for field in filter(None, _MESSAGES[name].split(", ")):
            _add_field(descriptor_pb2, made[name], name, field)
    pool = pools.DescriptorPool()
    pool.Add(file)
    return {
        name: factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
        if "." not in name
    }


def _add_field(descriptor_pb2: Any, message: Any, owner: str, described: str) -> None:
    name, _, rest = described.partition(":")
    number, kind = rest.split(" ")
    mark, kind = (kind[0], kind[1:]) if kind[0] in "*?{" else ("", kind)
    kinds = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=int(number))
    field.label = kinds.LABEL_REPEATED if mark in ("*", "{") else kinds.LABEL_OPTIONAL
    if mark == "?":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if mark == "{":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(descriptor_pb2, entry, owner, "key:1 string")
        _add_field(descriptor_pb2, entry, owner, f"value:2 {kind}")
        kind = f"{owner}.{entry.name}"
    if kind in _SCALARS:
        field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    else:
        field.type = kinds.TYPE_ENUM if kind in _ENUMS else kinds.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
