"""A trained model -> model.onnx, which gets its name only after it agreed with PyTorch."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from lstn.contract import (
    AFFINE_FORMS,
    CONTROLS,
    LABEL,
    LOGITS,
    METADATA_KEY,
    NOISE,
    PIXELS,
    THETA,
    Contract,
    Loc,
    Task,
)
from lstn.errors import LstnError, UsageError
from lstn.export.onnx.exported_names import name_nodes
from lstn.export.onnx.verify_generator import GeneratorAgreement, verify_generator
from lstn.export.onnx.verify_onnx import Agreement, verify_onnx
from lstn.export.plugin.node import fuse_sampler
from lstn.files import replacing
from lstn.formats.node_names import ModelPart, layer_of, part_of
from lstn.formats.onnx_file import MAX_BYTES
from lstn.formats.training_record import TRAINING_KEY, Training
from lstn.images import Pixels
from lstn.nn.generation.generator import Generator
from lstn.nn.models import example_of
from lstn.nn.sources.timm_models import reparametrized

OPSET = 18
"""From opset 20 on, GridSample spells its mode `linear`, which TensorRT up to at least 11.1 silently runs as NEAREST
(NVIDIA/TensorRT issue 4646). Opset 18 says `bilinear`, which every TensorRT and ONNX Runtime reads alike.
"""

IR_VERSION = 8
"""The file format that came with opset 18 (ONNX 1.13): TensorRT 10 and ONNX Runtime from 1.14 on read it."""

_EXPORT_BATCH = 2
"""At 1 the exporter would take the batch for a constant."""

_BESIDE_WEIGHTS = 16 << 20
"""Room in a file for its nodes, names and contract; they take less."""

_SAMPLER = {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 0}


def write_onnx(
    model: nn.Module,
    path: Path,
    contract: Contract,
    images: Pixels,
    *,
    fused: bool = False,
    training: Training | None = None,
) -> Agreement:
    """Export `model` to `path`, and compare the two on `images` before the file gets its name.

    model:  in evaluation mode, on the CPU; pixels (N, H, W, 3) uint8 -> logits (N, K) float32, and theta (N, …)
            float32 unless the contract's loc is NONE
    images: (N, H, W, 3) uint8 RGB of the contract's size, at least one
    fused:  write grid and sampler as one node, `lstn::AffineGridSample`, and what it computes beside it
    training: what the model was trained on, for later commands; None if nobody knows

    The same weights make the same bytes. Whatever goes wrong, a file that stood at `path` before still does.

    Raises:
        VerificationError: the file computes something else than the model, or no finite numbers.
        UsageError: the model is a control, or hasn't one sampler to fuse.
        LstnError: the model can't be exported, or the file can't be written.
    """
    with replacing(path) as temporary:
        proto = onnx_from_torch(model, contract, fused=fused, training=training)
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
        return verify_onnx(temporary, model, contract, images)


def write_generator(
    model: Generator, path: Path, contract: Contract, *, fused: bool = False, training: Training | None = None
) -> GeneratorAgreement:
    """Export a generator to `path`, and compare the two on drawn noise before the file gets its name.

    model:    in evaluation mode, on the CPU
    fused, training: as for `write_onnx`; no generator can be fused

    Raises:
        UsageError: it is to be fused.
        VerificationError: the file paints something else than the model.
        LstnError: the model can't be exported, or the file can't be written.
    """
    with replacing(path) as temporary:
        proto = onnx_from_torch(model, contract, fused=fused, training=training)
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
        return verify_generator(temporary, model, contract)


def onnx_from_torch(
    model: nn.Module, contract: Contract, *, fused: bool = False, training: Training | None = None
) -> onnx.ModelProto:
    """Trace `model` into one ONNX graph with a dynamic batch, which carries contract, training record and weights.

    The exporter folds each BatchNorm that follows a convolution into its weights; DenseNet's other half, which
    precede one and follow a concatenation, stay. Branches of RepVGG's kind become the one convolution that they are.

    Raises:
        UsageError: the model is a control, or hasn't one sampler to fuse.
        LstnError: the exporter fails, the sampler isn't what TensorRT understands, or the file would pass 2 GB.
    """
    _check_asked(contract, fused=fused)
    if model.training:
        raise ValueError("model is in training mode: BatchNorm and dropout would be exported as they train")
    inputs, input_names, output_names = _named_tensors(contract)
    try:
        with silenced():
            program = torch.onnx.export(
                reparametrized(model),
                inputs,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=input_names,
                output_names=output_names,
                dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in inputs),
            )
    except Exception as error:  # the exporter wraps whatever its passes raise, in types that moved between versions
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        what = f"{contract.loc.value} + {contract.backbone}"
        raise LstnError(
            f"PyTorch {torch.__version__} can't export {what} to ONNX: {cause:.300}",
            hint="lstn --debug export … shows where",
        ) from error
    assert program is not None  # it is None without dynamo
    finished = _finished(program.model_proto, contract, fused=fused)
    if training is not None:
        finished.metadata_props.add(key=TRAINING_KEY, value=training.to_json())
    return finished


def _named_tensors(contract: Contract) -> tuple[tuple[torch.Tensor, ...], list[str], list[str]]:
    """Return the inputs that a model is traced with, and the names of inputs and outputs."""
    theta = [] if contract.loc is Loc.NONE else [THETA]
    if contract.task is Task.GENERATE:
        return example_of(contract, _EXPORT_BATCH), [NOISE, LABEL], [PIXELS, *theta]
    # NHWC by shape but NCHW in memory: PyTorch then plans the whole graph in NCHW. From a plain NHWC tensor it goes on
    # in channels-last strides, and writes them into the graph as index arithmetic (as_strided -> Range, Gather).
    height, width = contract.image_hw
    pixels = torch.zeros(_EXPORT_BATCH, 3, height, width, dtype=torch.uint8).permute(0, 2, 3, 1)
    return (pixels,), [PIXELS], [LOGITS, *theta]


def _check_asked(contract: Contract, *, fused: bool) -> None:
    if contract.loc in CONTROLS:
        raise UsageError(
            f"a model of loc {contract.loc.value} is a control, to be compared with and not deployed",
            hint="train it with another --loc, such as none",
        )
    if fused and contract.task is Task.GENERATE:
        raise UsageError(
            "the sampler of a generator puts objects into pictures, and can't be fused", hint="leave out --sampler"
        )
    if fused and contract.loc is Loc.NONE:
        raise UsageError("a model of loc none has no sampler to fuse", hint="leave out --sampler")
    if fused and contract.theta not in AFFINE_FORMS:
        raise UsageError(
            f"the fused sampler reads affine grids, and this model's theta is {contract.theta.value}",
            hint="leave out --sampler",
        )
    if fused and contract.warps > 1:
        raise UsageError(
            f"the fused sampler reads one crop of an image, and this model makes {contract.warps}",
            hint="leave out --sampler",
        )
    if fused and contract.iterations > 1:
        raise UsageError(
            f"a model that looks {contract.iterations} times has as many samplers, and only one can be fused",
            hint="leave out --sampler",
        )
    if fused and contract.crop_hw is not None:
        raise UsageError(
            "the fused sampler makes crops as large as the image, and this model's are {} x {}".format(
                *contract.crop_hw
            ),
            hint="leave out --sampler",
        )


def _finished(proto: onnx.ModelProto, contract: Contract, *, fused: bool) -> onnx.ModelProto:
    _check_size(proto.graph)
    _check_batch(proto.graph)
    name_nodes(proto.graph, detects=contract.task is Task.DETECT)
    _check_parts(proto.graph)
    strip_notes(proto.graph)
    _check_sampler(proto.graph, contract)
    if fused:
        fuse_sampler(proto)
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=contract.to_json())
    proto.ir_version = IR_VERSION
    return proto


def strip_notes(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes: a stack trace for every node, with the paths of whoever exported."""
    del graph.metadata_props[:]
    graph.doc_string = ""
    for entry in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                strip_notes(attribute.g)


def _check_size(graph: onnx.GraphProto) -> None:
    """Refuse what protobuf can't write. Asked for the size of such a message, it fails instead of answering."""
    size = sum(
        math.prod(weight.dims) * onnx.helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize
        for weight in graph.initializer
    )
    if size > MAX_BYTES - _BESIDE_WEIGHTS:
        raise LstnError(
            f"the ONNX file would be {size / 1e9:.2f} GB, more than the format's 2 GB",
            hint="choose a smaller model, or smaller images: a localizer's head grows with them",
        )


def _check_batch(graph: onnx.GraphProto) -> None:
    """The exporter takes the batch for a constant where a network's code does, and says nothing."""
    size = graph.input[0].type.tensor_type.shape.dim[0]
    if not size.dim_param:
        raise LstnError(
            f"the network's code takes the batch for a constant: the ONNX file would run {size.dim_value} images only",
            hint="in its forward, write images.shape[0] and not len(images), and no int() or .item() of it",
        )


def _check_parts(graph: onnx.GraphProto) -> None:
    """Refuse a module beside transformer and backbone: later stages tell parts apart by the names of nodes."""
    stray = next((node.name for node in graph.node if part_of(node.name) is None), None)
    if stray is not None:
        raise LstnError(
            f"{layer_of(stray)!r:.80} is neither in the model's transformer nor in its backbone",
            hint="put your network behind a transformer with lstn.nn.Classifier.around(network, ...), and export that",
        )


def _check_sampler(graph: onnx.GraphProto, contract: Contract) -> None:
    """A default left unsaid, or another spelling, is sampled differently somewhere; the exporter's may change.

    A backbone may have samplers of its own, which are its affair.
    """
    samplers = [node for node in graph.node if node.op_type == "GridSample" and part_of(node.name) is ModelPart.SAMPLER]
    expected = 0 if contract.loc is Loc.NONE else contract.iterations
    if len(samplers) != expected:
        raise LstnError(
            f"the exported graph has {len(samplers)} samplers, expected {expected} for loc {contract.loc.value}"
        )
    for node in samplers:
        found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if found != _SAMPLER:
            raise LstnError(
                f"the exported sampler says {found}, expected {_SAMPLER}", hint="use another version of PyTorch"
            )


@contextmanager
def silenced() -> Iterator[None]:
    """Keep the exporter's warnings and log lines, which name its own internals, off the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
