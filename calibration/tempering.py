"""The temperature of a lowered model, fitted again: rounding makes its answers more or less sure than float32's."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lstn.contract import LOGITS, METADATA_KEY, TEMPERATURES, Contract
from lstn.formats.node_names import layer_of

_CONSTANT = "temperature"


def tempered(model: onnx.ModelProto, contract: Contract, temperature: float) -> onnx.ModelProto:
    """Return `model`, whose contract is given, with logits that are divided by `temperature` as well.

    The contract that it carries then says the product of both temperatures. It keeps within the bounds of a contract.
    """
    low, high = TEMPERATURES
    whole = min(max(contract.temperature * temperature, low), high)
    divided = onnx.ModelProto()
    divided.CopyFrom(model)
    graph = divided.graph
    (last,) = (node for node in graph.node if LOGITS in node.output)
    before = f"{last.name}/logits"
    last.output[list(last.output).index(LOGITS)] = before
    factor = np.float32(whole / contract.temperature)
    graph.initializer.append(numpy_helper.from_array(np.array(factor), _CONSTANT))
    name = f"{layer_of(last.name)}/Div_{sum(node.op_type == 'Div' for node in graph.node) + 1}"
    graph.node.append(helper.make_node("Div", [before, _CONSTANT], [LOGITS], name=name))
    told = {entry.key: entry.value for entry in divided.metadata_props}
    told[METADATA_KEY] = replace(contract, temperature=whole).to_json()
    helper.set_model_props(divided, told)
    return divided
