"""Descriptions of models: the protocol's metadata, and Triton's configuration, statistics and index."""

from collections.abc import Iterable
from typing import Any

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Task
from lstn.imaging.framing import outside_of
from lstn.runtime.serving.models.generation import Generation
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import VERSION, TensorSpec, inputs_of, outputs_asked
from lstn.tagging.tags import thresholds_of

_TYPES = {"UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}
"""The protocol's names of datatypes -> those of Triton's model configuration."""


def metadata_of(model: ServedModel) -> dict[str, Any]:
    """Return a model's name, version, platform, inputs and outputs.

    The input is `pixels` alone: Triton's tools send every input that they are told of, and one of two would be refused.

    Raises:
        Refusal: the model isn't ready.
    """
    contract = _generation(model).contract
    pixels, _ = inputs_of(contract)
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": model.platform,
        "inputs": [_described(pixels)],
        "outputs": [_described(spec) for spec in outputs_asked(contract)],
    }


def full_metadata_of(model: ServedModel) -> dict[str, Any]:
    """Return the metadata with what only HTTP can say, as parameters of tensors.

    `pixels` names the input that may come in its place, how a photo becomes pixels, and the colour around one that is
    letterboxed; `logits` its labels, and of a model that tags their thresholds; `theta` the colour that the backbone
    gets outside of the picture, the height and width of the crop, and its form.

    Raises:
        Refusal: the model isn't ready.
    """
    metadata, contract = metadata_of(model), _generation(model).contract
    parameters = {
        PIXELS: {
            "alternative": _described(inputs_of(contract)[1]),
            "fit": contract.fit.value,
            "fill": list(outside_of(contract.mean)),
        },
        LOGITS: {"labels": list(contract.labels)} | _thresholds(contract),
        THETA: {
            "outside": list(outside_of(contract.mean)),
            "crop": list(contract.backbone_hw),
            "form": contract.theta.value,
        },
    }
    full = {
        side: [
            tensor | ({"parameters": parameters[tensor["name"]]} if tensor["name"] in parameters else {})
            for tensor in metadata[side]
        ]
        for side in ("inputs", "outputs")
    }
    return metadata | full


def _thresholds(contract: Contract) -> dict[str, Any]:
    return {"thresholds": thresholds_of(contract).tolist()} if contract.task is Task.TAG else {}


def config_of(model: ServedModel) -> dict[str, Any]:
    """Return a model's configuration, as Triton writes its ModelConfig.

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
        "input": [_tensor(inputs_of(generation.contract)[0]) | {"format": "FORMAT_NHWC"}],
        "output": [_tensor(spec) for spec in outputs_asked(generation.contract)],
        "dynamic_batching": {"max_queue_delay_microseconds": round(batcher.max_wait_s * 1e6)},
    }


def statistics_of(models: Iterable[ServedModel]) -> dict[str, Any]:
    """Return the statistics of models; those that aren't ready have counted nothing."""
    return {"model_stats": [{"name": model.name, "version": VERSION, **model.statistics.told()} for model in models]}


def index_of(models: Iterable[ServedModel], *, only_ready: bool) -> list[dict[str, Any]]:
    """Return every model's name, version and state."""
    return [
        {"name": model.name, "version": VERSION, "state": "READY" if model.generation else "LOADING", "reason": ""}
        for model in models
        if model.generation or not only_ready
    ]


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """A tensor in a configuration has no size for the images."""
    return {"name": spec.name, "data_type": _TYPES[spec.datatype], "dims": list(spec.shape[1:])}


def _generation(model: ServedModel) -> Generation:
    if model.generation is None:
        raise Refusal(Reason.UNAVAILABLE, "the model is not ready")
    return model.generation
