"""What the server says of its models: the protocol's metadata, and Triton's configuration, statistics and index."""

from collections.abc import Iterable
from typing import Any

from lstn.contract import LOGITS, PIXELS
from lstn.runtime.serving.model import Generation, Model
from lstn.runtime.serving.refusal import Reason, Refusal
from lstn.runtime.serving.request import VERSION, TensorSpec, inputs_of, outputs_of

_TYPES = {"UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}
"""The protocol's names of datatypes -> those of Triton's model configuration."""


def metadata_of(model: Model) -> dict[str, Any]:
    """Return a model's name, version, platform, inputs and outputs.

    Raises:
        Refusal: the model isn't ready.
    """
    contract = _generation(model).contract
    inputs, outputs = (
        [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]
        for specs in (inputs_of(contract), outputs_of(contract))
    )
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": model.platform,
        "inputs": inputs,
        "outputs": outputs,
    }


def labelled_metadata_of(model: Model) -> dict[str, Any]:
    """Return the metadata with the labels next to the logits, as a parameter: gRPC's message can't hold them.

    Raises:
        Refusal: the model isn't ready.
    """
    metadata = metadata_of(model)
    labels = {"labels": list(_generation(model).contract.labels)}
    outputs = [
        output | {"parameters": labels} if output["name"] == LOGITS else output for output in metadata["outputs"]
    ]
    return metadata | {"outputs": outputs}


def config_of(model: Model) -> dict[str, Any]:
    """Return a model's configuration, as Triton writes its ModelConfig.

    `image` is optional, so that tools which make up an input send `pixels`.

    Raises:
        Refusal: the model isn't ready.
    """
    generation = _generation(model)
    batcher = generation.batcher
    return {
        "name": model.name,
        "platform": model.platform,
        "backend": model.platform.partition("_")[0],
        "max_batch_size": batcher.max_batch,
        "input": [
            _tensor(spec) | {"format": "FORMAT_NHWC" if spec.name == PIXELS else "FORMAT_NONE"} | _optional(spec)
            for spec in inputs_of(generation.contract)
        ],
        "output": [_tensor(spec) for spec in outputs_of(generation.contract)],
        "dynamic_batching": {"max_queue_delay_microseconds": round(batcher.max_wait_s * 1e6)},
    }


def statistics_of(models: Iterable[Model]) -> dict[str, Any]:
    """Return the statistics of models; those that aren't ready have counted nothing."""
    return {"model_stats": [{"name": model.name, "version": VERSION, **model.statistics.told()} for model in models]}


def index_of(models: Iterable[Model], *, only_ready: bool) -> list[dict[str, Any]]:
    """Return every model's name, version and state."""
    return [
        {"name": model.name, "version": VERSION, "state": "READY" if model.generation else "LOADING", "reason": ""}
        for model in models
        if model.generation or not only_ready
    ]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """A tensor in a configuration has no size for the images."""
    return {"name": spec.name, "data_type": _TYPES[spec.datatype], "dims": list(spec.shape[1:])}


def _optional(spec: TensorSpec) -> dict[str, bool]:
    return {"optional": spec.name != PIXELS}


def _generation(model: Model) -> Generation:
    if model.generation is None:
        raise Refusal(Reason.UNAVAILABLE, "the model is not ready")
    return model.generation
