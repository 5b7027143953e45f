"""Kept layers: which nodes of a model are lowered, and which stay in float32."""

import difflib
from collections.abc import Iterable, Sequence

import onnx

from lstn.errors import ArtifactError, UsageError
from lstn.formats.node_names import HEAD, ModelPart, layer_of, part_of

LAYERS = ("Conv", "Gemm", "MatMul")
"""The operators whose arithmetic lower precision makes cheaper. What else there is only follows their types."""

QUANTIZED = ("Conv", "Gemm", "MatMul", "Add")
"""Whose inputs are quantized: the layers, and the sums of residual blocks, so that a block stays in 8 bits."""

LOCALIZER = ModelPart.LOCALIZER.value
HEAD_ALONE = "head"
"""What `--keep` calls the layers that are float32 in any case."""

LOWERED_PARTS = (ModelPart.LOCALIZER, ModelPart.BACKBONE)
"""Not the grid and the sampler: a float16 coordinate near 1 is a tenth of a pixel coarse at 224, and the sampler takes
its image in the type of its coordinates (TensorRT, PyTorch). Nor the normalisation before it, which would gain nothing.
"""


def layer_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the layers of the localizer and the backbone that have weights, in order of computation.

    Raises:
        ArtifactError: the nodes aren't called as lstn calls them, so that nobody can tell which is which.
    """
    if not all(part_of(node.name) for node in model.graph.node):
        raise ArtifactError(
            "the nodes of this model don't say where they belong: another lstn wrote it, or it is calibrated already",
            hint="export it again with: lstn export",
        )
    return tuple(dict.fromkeys(layer_of(node.name) for node in model.graph.node if node.op_type in LAYERS))


def kept_layers(layers: Sequence[str], keep: Iterable[str]) -> frozenset[str]:
    """Return those of a model's `layers` that `keep` names, and the localizer's head, which is never lowered.

    layers: as `layer_names` returns them
    keep:   `localizer`, `head` (nothing more than the head), or a layer or module such as `backbone.layer1`

    Raises:
        UsageError: one of `keep` names none of the layers.
    """
    prefixes = [HEAD]
    for name in keep:
        prefix = HEAD if name == HEAD_ALONE else name
        if not _below(layers, prefix) and prefix not in (HEAD, LOCALIZER):  # loc none has neither
            near = difflib.get_close_matches(name, layers, n=3, cutoff=0.3)
            raise UsageError(
                f"--keep {name!r:.80}: no layer of this model is called so",
                hint=f"there are localizer, head and {', '.join(near or layers[-3:])}",
            )
        prefixes.append(prefix)
    return frozenset(layer for prefix in prefixes for layer in _below(layers, prefix))


def all_kept() -> UsageError:
    """Return the error of a model of which every layer is to stay in float32."""
    return UsageError("--keep keeps every layer in float32, so nothing is left to lower", hint="keep fewer")


def lowered_nodes(model: onnx.ModelProto, kept: frozenset[str]) -> list[str]:
    """Return the names of the nodes to lower: all of the localizer and the backbone that isn't in a kept layer.

    A node without weights is kept if all layers of its part are.
    """
    layers = layer_names(model)
    parts = {part for part in LOWERED_PARTS if any(part_of(layer) is part and layer not in kept for layer in layers)}
    return [
        node.name
        for node in model.graph.node
        if part_of(node.name) in parts
        and not _below((layer_of(node.name),), HEAD)
        and layer_of(node.name) != LOCALIZER  # not in a layer of its own: theta is made of the head's six numbers there
        and layer_of(node.name) not in kept
    ]


def _below(layers: Iterable[str], prefix: str) -> list[str]:
    return [layer for layer in layers if layer == prefix or layer.startswith(f"{prefix}.")]
