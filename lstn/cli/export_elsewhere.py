"""Exports for use without lstn: a script for trtexec, a repository for Triton."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lstn.terminal import file_size, note

if TYPE_CHECKING:
    from lstn.export.tensorrt.tuning import BatchRange, BuildSettings


def export_script(onnx_file: Path, settings: "BuildSettings") -> None:
    """Write the script that builds the plan on the device, and print what it does."""
    from lstn.export.plugin import FUSED
    from lstn.export.tensorrt.trtexec import script_path, write_script

    onnx = write_script(onnx_file, profiles=settings.profiles, tuning=settings.tuning)
    script = script_path(onnx_file)
    typer.echo(f"{script}  {file_size(script)}  builds {onnx_file.stem}.plan with trtexec; copy both to the device")
    if FUSED in onnx.operators:
        note("trtexec can't compile the fused sampler, and takes the operators that it stands for")
    if settings.tuning.dla_core is not None:  # as its source says (sampleEngines.cpp); 11 has no such flags any more
        note("trtexec of TensorRT 10 adds float16 flags for a DLA, which a typed model refuses; take that of 11.4.1")


def export_triton(model: Path, repository: Path) -> None:
    """Add a model to a repository, and print how to serve it."""
    from lstn.export.triton.to_triton import write_triton

    version = write_triton(model, repository)
    typer.echo(f"{version}  serve it with: tritonserver --model-repository={repository}")


def refuse_gaps(profiles: tuple["BatchRange", ...]) -> None:
    """Refuse, before a plan is built, batch sizes that Triton can't serve."""
    from lstn.export.triton.to_triton import check_profiles

    check_profiles(profiles)
