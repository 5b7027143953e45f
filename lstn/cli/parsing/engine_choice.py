"""The engine that a command means: a file, a run that is exported first, or the one here, of a kind or of any."""

from pathlib import Path
from typing import Annotated

import typer

from lstn.errors import UsageError
from lstn.formats.engine_kind import EngineKind
from lstn.formats.inspection import training_of
from lstn.formats.outputs import ONNX, OPENVINO, PLAN, OutputFile, check_outputs, is_ours
from lstn.formats.plan_file import read_header
from lstn.health.run_files import CHECKPOINT, RUNS, checkpoint_of
from lstn.machine.cores import within_cores
from lstn.terminal import note
from lstn.waiting import say_loading
from lstn.zoo.named_models import model_path

_FILES = {EngineKind.ONNX: ONNX, EngineKind.OPENVINO: OPENVINO, EngineKind.TRT: PLAN, EngineKind.TRT_RTX: PLAN}


EngineThreads = Annotated[
    int | None,
    typer.Option(
        callback=within_cores,
        metavar="N",
        min=1,
        help="Threads of ONNX Runtime or OpenVINO.",
        show_default="one for each core",
    ),
]
"""`--threads` of commands that time engines."""


def from_zoo(given: Path | list[Path] | None) -> Path | list[Path] | None:
    """Return what was typed for a model or for several, with the package's file in the place of each `zoo:NAME`.

    Raises:
        UsageError: lstn comes with no model of this name.
    """
    if given is None or isinstance(given, Path):
        return None if given is None else model_path(given)
    return [model_path(each) for each in given]


def chosen_engine(named: Path | None) -> Path:
    """Return the file of an engine.

    named: the file; a run's folder or checkpoint, of which an ONNX file is made beside it; a kind as `--engine` of
           `lstn export` calls it, for the one of that kind in the current folder; or None for the one engine there of
           any kind. Where an ONNX file would do and there is no engine, the newest run under ./runs is taken

    Raises:
        UsageError: no such run, or there are several engines, or none.
        LstnError: the run can't be exported.
    """
    kind = next((each for each in EngineKind if named == Path(each.value) and not named.exists()), None)
    if named is None or kind is not None:
        found = _engines_here(kind)
        if len(found) > 1:
            raise UsageError(
                f"there are {len(found)} engines here: {', '.join(map(str, found[:4]))}",
                hint=f"choose one, such as: --engine {found[0]}",
            )
        if found:
            note(f"engine: {found[0]}")
            return found[0]
        if kind not in (None, EngineKind.ONNX):
            raise UsageError(
                f"there is no engine for {kind.value} here", hint=f"make one with: lstn export --engine {kind.value}"
            )
        if not RUNS.is_dir():
            raise UsageError(
                "there is no engine here, and no run under ./runs",
                hint="name one with --engine, or make one with: lstn export",
            )
        return _exported(checkpoint_of(None))
    return _exported(checkpoint_of(named)) if named.is_dir() or named.suffix == ".safetensors" else named


def chosen_engines(named: list[Path] | None) -> list[Path]:
    """Return the files of several engines, or of the one that is here."""
    return [chosen_engine(each) for each in named] if named else [chosen_engine(None)]


def _engines_here(kind: EngineKind | None) -> list[Path]:
    """Return the engines of a kind in the current folder, or of all kinds; foreign files are passed over."""
    wanted = set(_FILES.values()) if kind is None else {_FILES[kind]}
    here = (
        path for path in Path().iterdir() for each in wanted if path.suffix in each.suffixes and is_ours(path, each)
    )
    flavour = None if kind is None else kind.flavour
    return sorted(path for path in here if flavour is None or read_header(path).flavour is flavour)


def _exported(checkpoint: Path) -> Path:
    """Return the ONNX file beside a checkpoint, which is written first unless it is the younger and of its weights."""
    onnx_file = checkpoint.with_name("model.onnx") if checkpoint.name == CHECKPOINT else checkpoint.with_suffix(".onnx")
    younger = is_ours(onnx_file, ONNX) and onnx_file.stat().st_mtime >= checkpoint.stat().st_mtime
    if younger and _is_of(onnx_file, checkpoint):
        note(f"engine: {onnx_file}")
        return onnx_file
    if onnx_file.is_file() and onnx_file.stat().st_size and not is_ours(onnx_file, ONNX):
        raise UsageError(
            f"{onnx_file}: is there already, and is not an ONNX model that lstn wrote",
            hint=f"move that file away, or write the model elsewhere: lstn export {checkpoint} --out FOLDER",
        )
    check_outputs([OutputFile(onnx_file, ONNX)])
    say_loading(f"making {onnx_file}")
    from lstn.export.onnx.from_checkpoint import export_checkpoint
    from lstn.nn.checkpoint import load_checkpoint

    export_checkpoint(load_checkpoint(checkpoint), onnx_file)
    return onnx_file


def _is_of(onnx_file: Path, checkpoint: Path) -> bool:
    """Whether both say the same of their training; ages mislead after a copy, or when the clock was put back."""
    made_of = training_of(onnx_file)
    return made_of is None or made_of == training_of(checkpoint)
