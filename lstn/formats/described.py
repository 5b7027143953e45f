"""Inputs and outputs of a model, against what its contract describes."""

from collections.abc import Sequence
from pathlib import Path

from lstn.contract import LABEL, LOGITS, NOISE, PIXELS, THETA, Contract, Loc, Task
from lstn.errors import ArtifactError
from lstn.formats.plan_file import Tensor


def check_tensors(
    path: Path, contract: Contract, found_inputs: Sequence[Tensor], found_outputs: Sequence[Tensor]
) -> None:
    """Refuse inputs and outputs that aren't those that the contract describes.

    Raises:
        ArtifactError: they aren't.
    """
    pixels = Tensor(PIXELS, "uint8", (-1, *contract.image_hw, 3))
    inputs, outputs = [pixels], [pixels]
    if contract.task is Task.GENERATE:
        inputs = [Tensor(NOISE, "float32", (-1, contract.noise)), Tensor(LABEL, "int64", (-1,))]
    else:
        outputs = [Tensor(LOGITS, "float32", (-1, *contract.logits_shape))]
    if contract.loc is not Loc.NONE:
        outputs.append(Tensor(THETA, "float32", (-1, *contract.theta_shape)))
    for what, found, wanted in (("inputs", found_inputs, inputs), ("outputs", found_outputs, outputs)):
        by_name = {tensor.name: tensor for tensor in found}
        if len(found) != len(wanted) or not all(_fits(by_name.get(tensor.name), tensor) for tensor in wanted):
            raise ArtifactError(
                f"{path}: its {what} are {_listed(found)}; its contract says {_listed(wanted)}",
                hint="make it again with: lstn export",
            )


def _fits(found: Tensor | None, wanted: Tensor) -> bool:
    """A size that the file leaves open may turn out right, and is checked again when the engine answers."""
    if found is None or found.dtype != wanted.dtype or len(found.shape) != len(wanted.shape):
        return False
    return found.shape[0] == -1 and all(
        size in (-1, right) for size, right in zip(found.shape[1:], wanted.shape[1:], strict=True)
    )


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype} ({', '.join('N' if size == -1 else str(size) for size in tensor.shape)})"
        for tensor in tensors[:4]
    )
