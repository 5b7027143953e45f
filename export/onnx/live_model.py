"""A model in memory -> model.onnx: what `lstn export` does with a checkpoint, for programs."""

from copy import deepcopy
from pathlib import Path

from lstn.contract import check_sees
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import Agreement, sample_images
from lstn.images import Pixels
from lstn.nn.classifier import Classifier
from lstn.nn.models import check_model


def export_onnx(model: Classifier, path: str | Path, *, images: Pixels | None = None, fused: bool = False) -> Agreement:
    """Write a model to an ONNX file that every engine of lstn runs, after comparing the two on `images`.

        agreement = lstn.export_onnx(model, "model.onnx")

    model:  in any mode, on any device; it stays as it is
    images: (N, H, W, 3) uint8 RGB of the model's size, to compare on; None for the embedded digits
    fused:  write grid and sampler as one node, for TensorRT with the plugin of lstn (docs/how-to/export.md)

    Returns: how far the file's answers are from PyTorch's.

    Raises:
        VerificationError: the file computes something else than the model, or numbers that are not finite.
        UsageError: the model is a control, or hasn't one sampler to fuse; or it is no model of lstn's.
        LstnError: PyTorch can't export the model, or the file can't be written.
    """
    check_model(model)
    check_sees(model.contract.task, "export_onnx")
    if images is None:
        images = sample_images("digits", model.contract.image_hw, seed=0)
    return write_onnx(
        deepcopy(model).cpu().eval(), Path(path), model.contract, images, fused=fused, training=model.record
    )
