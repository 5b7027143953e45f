"""A checkpoint -> model.onnx, verified on images of the set that it was trained on."""

from collections.abc import Callable
from pathlib import Path

from lstn.alignment.sentence_encoder import encoder_path
from lstn.export.onnx.to_onnx import write_generator, write_onnx
from lstn.export.onnx.to_words import write_words
from lstn.export.onnx.verify_onnx import sample_images
from lstn.health.chance import at_chance, chance_cure, chance_warning
from lstn.imaging.framing import framing_of
from lstn.nn.aligner import Aligner
from lstn.nn.checkpoint import Checkpoint
from lstn.nn.generation.generator import Generator
from lstn.report.wording import counted
from lstn.terminal import file_size, note, warn
from lstn.waiting import working


def export_checkpoint(
    checkpoint: Checkpoint, onnx_file: Path, *, fused: bool = False, tell: Callable[[str], None] = note
) -> None:
    """Export a checkpoint, and tell how it compares with PyTorch."""
    contract, training = checkpoint.contract, checkpoint.training
    if at_chance(training.val_accuracy, training.chance):
        warn(chance_warning(training.val_accuracy))
        note(f"  likely cure: {chance_cure(contract.backbone)}")
    known = training if training.data else None
    if isinstance(checkpoint.model, Generator):
        with working(f"exporting {contract.loc.value} + {contract.backbone}, and comparing with PyTorch"):
            painted = write_generator(checkpoint.model, onnx_file, contract, fused=fused, training=known)
        tell(f"{onnx_file}  {file_size(onnx_file)}  {counted(painted.images, 'picture')} against PyTorch: {painted}")
        return
    images = sample_images(
        training.data, contract.image_hw, seed=training.seed, task=contract.task, framing=framing_of(contract)
    )
    with working(f"exporting {contract.loc.value} + {contract.backbone}, and comparing with PyTorch"):
        agreement = write_onnx(checkpoint.model, onnx_file, contract, images, fused=fused, training=known)
    if isinstance(checkpoint.model, Aligner):
        apart = write_words(checkpoint.model.words, onnx_file, contract)
        words = encoder_path(onnx_file)
        tell(f"{words}  {file_size(words)}  words against PyTorch: {apart:.1e} of the largest number")
    tell(f"{onnx_file}  {file_size(onnx_file)}  {counted(agreement.images, 'image')} against PyTorch: {agreement}")
