"""Exports for measuring only: parts of a model, and models as torch exports them by default."""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from lstn.contract import LOGITS, METADATA_KEY, PIXELS, THETA, Contract
from lstn.errors import LstnError, VerificationError
from lstn.export.onnx.to_onnx import OPSET, silenced
from lstn.files import replacing
from lstn.formats.onnx_session import OnnxSession

_TOLERANCE = 1e-3
"""Largest difference from PyTorch, as a share of the largest output: float32 in another order stays far below."""


def write_part(
    module: nn.Module, path: Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...], example: tuple[Tensor, ...]
) -> None:
    """Export a module with float32 inputs and outputs, batch dimension first and open, in our opset.

    example: inputs for at least two images; the file is compared with the module on them

    Raises:
        LstnError: PyTorch can't export it, or ONNX Runtime can't run the file.
        VerificationError: ONNX Runtime computes something else from the file.
    """
    with replacing(path) as temporary:
        proto = _export(module.eval(), example, inputs, outputs, opset=OPSET)
        temporary.write_bytes(proto.SerializeToString())
        _verify(temporary, module, inputs, example)


def write_default(model: nn.Module, path: Path, contract: Contract) -> None:
    """Export a whole model the way torch does unless told otherwise; the contract is added, to open it with.

    Raises:
        LstnError: PyTorch can't export it.
    """
    pixels = torch.zeros(2, *contract.image_hw, 3, dtype=torch.uint8)
    proto = _export(model.eval(), (pixels,), (PIXELS,), (LOGITS, THETA), opset=None)
    proto.metadata_props.add(key=METADATA_KEY, value=contract.to_json())
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    *,
    opset: int | None,
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    try:
        with silenced():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple({0: batch} for _ in example),
            )
    except Exception as error:  # the exporter wraps whatever its passes raise
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise LstnError(f"PyTorch {torch.__version__} can't export {', '.join(outputs)}: {cause:.300}") from error
    assert program is not None  # it is None without dynamo
    return program.model_proto


def _verify(path: Path, module: nn.Module, inputs: tuple[str, ...], example: tuple[Tensor, ...]) -> None:
    with torch.inference_mode():
        answered = module(*example)
    expected = [answered] if isinstance(answered, Tensor) else list(answered)
    feeds = {name: tensor.numpy() for name, tensor in zip(inputs, example, strict=True)}
    found = OnnxSession(path, threads=1).run(feeds)
    for values, tensor in zip(found, expected, strict=True):
        wanted = tensor.numpy()
        if np.abs(values - wanted).max() > _TOLERANCE * np.abs(wanted).max():
            raise VerificationError(f"{path}: the exported part differs from PyTorch")
