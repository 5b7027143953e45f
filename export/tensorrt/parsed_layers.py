"""Layers of a parsed network and their precision: the way to see whether int8 reached the convolutions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

_PRECISIONS = {"FP8": "fp8", "INT8": "int8", "HALF": "fp16", "BF16": "bf16"}
"""A network that holds one of these types anywhere is called by it; the first in this order wins."""

_WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
_QUANTIZED = ("INT8", "FP8", "INT4", "FP4")


def layers_of(network: Any) -> Iterator[Any]:
    """Yield an INetworkDefinition's layers, in its order."""
    return (network.get_layer(index) for index in range(network.num_layers))


def precision_of(network: Any) -> str:
    """Return the lowest precision that anything in the network has: `fp8`, `int8`, `fp16`, `bf16` or `fp32`."""
    types = {layer.get_output_type(index).name for layer in layers_of(network) for index in range(layer.num_outputs)}
    return next((word for name, word in _PRECISIONS.items() if name in types), "fp32")


def count_layers(network: Any) -> Mapping[tuple[str, str], int]:
    """Return (type of layer, precision) -> how many, such as {("CONVOLUTION", "INT8"): 20, …}, in TensorRT's words.

    The precision is that of a layer's first output. But a strongly typed network shows a quantized convolution as
    FLOAT, between the DEQUANTIZE before and the QUANTIZE behind it. So a convolution or matrix product counts as INT8
    (FP8, …) when both of its factors come straight from a DEQUANTIZE of that type; with one, it runs in float.
    """
    dequantized = {
        layer.get_output(0).name: layer.get_input(0).dtype.name
        for layer in layers_of(network)
        if layer.type.name == "DEQUANTIZE"
    }
    return Counter((layer.type.name, _precision(layer, dequantized)) for layer in layers_of(network))


def _precision(layer: Any, dequantized: Mapping[str, str]) -> str:
    if layer.type.name in _WEIGHTED and layer.num_inputs >= 2:  # a convolution's float weights are no input of it
        factors = {dequantized.get(layer.get_input(index).name, "") for index in (0, 1)}
        if len(factors) == 1 and (found := factors.pop()) in _QUANTIZED:
            return found
    return str(layer.get_output_type(0).name) if layer.num_outputs else ""
