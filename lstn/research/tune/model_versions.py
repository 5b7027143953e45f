"""Making of candidates: one model exported with every crop, lowered to every precision, written for every engine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lstn.calibration.calibrating import CalibrationSettings, calibrate
from lstn.contract import At, Contract, Loc
from lstn.errors import LstnError, UsageError
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.openvino.to_openvino import write_openvino
from lstn.formats.engine_kind import EngineKind
from lstn.formats.onnx_file import read_model
from lstn.formats.outputs import ONNX, OutputFile, check_outputs, openvino_outputs
from lstn.imaging.framing import framing_of
from lstn.nn.checkpoint import Checkpoint, load_checkpoint
from lstn.nn.models import build_model
from lstn.precision import Precision
from lstn.research.tune.candidates import ModelVersion
from lstn.terminal import note


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsWanted:
    """Which versions of a model to make.

    data, seed:  as in `CalibrationSettings`
    precisions:  None stands for float32
    crops:       sides of crops, in pixels, beside the model's own; only of a checkpoint
    """

    data: str
    seed: int | None
    engines: Sequence[EngineKind]
    precisions: Sequence[Precision | None]
    crops: Sequence[tuple[int, int]] = ()


def make_versions(source: Path, wanted: VersionsWanted, folder: Path) -> list[ModelVersion]:
    """Make the versions of a checkpoint or a float32 ONNX file in `folder`; the first is the model as it comes.

    A version that can't be made is left out, with a note that says why.

    Raises:
        UsageError: crops of an ONNX file, or of a model that makes none.
        LstnError: the model as it comes can't be exported.
    """
    made: list[ModelVersion] = []
    for onnx_file in _float32_files(source, wanted.crops, folder):
        contract = read_model(onnx_file)[0]
        for precision in wanted.precisions:
            try:
                file = onnx_file if precision is None else _lowered(onnx_file, precision, wanted, folder)
            except LstnError as error:
                note(f"{onnx_file.name} in {precision.value if precision else 'fp32'} is left out: {error.message}")
                continue
            for engine in wanted.engines:
                made += _for_engine(engine, precision, file, contract, wanted, folder)
    return made


def with_crop(checkpoint: Checkpoint, crop_hw: tuple[int, int]) -> Checkpoint:
    """Return the same weights behind crops of another size. The backbone was not trained on it: measure what it costs.

    Raises:
        UsageError: the model makes no crop of the image, or its weights fit only the size that they were trained on.
    """
    contract = checkpoint.contract
    if contract.loc is Loc.NONE or contract.at is not At.INPUT:
        raise UsageError("--crop: this model makes no crop of the image", hint="leave it out")
    resized = replace(contract, crop_hw=crop_hw)
    resized.check()
    model = build_model(resized)
    try:
        model.load_state_dict(checkpoint.model.state_dict())
    except RuntimeError as error:
        size = "{}x{}".format(*contract.backbone_hw)
        raise UsageError(
            f"--crop: {contract.backbone}'s weights fit crops of {size} alone", hint="leave it out"
        ) from error
    return Checkpoint(model.eval(), resized, checkpoint.training)


def _float32_files(source: Path, crops: Sequence[tuple[int, int]], folder: Path) -> Iterator[Path]:
    if source.suffix == ".onnx":
        if crops:
            raise UsageError(f"--crop: {source} is exported already, with a crop of its own", hint="name its run")
        yield source
        return
    checkpoint = load_checkpoint(source)
    checkpoint.classifier_for("lstn tune")
    others = [each for each in crops if each != checkpoint.contract.backbone_hw]
    resized = [with_crop(checkpoint, each) for each in others]  # refused before the first export
    names = ["model", *("model-{}x{}".format(*each.contract.backbone_hw) for each in resized)]
    files = [folder / f"{name}.onnx" for name in names]
    check_outputs([OutputFile(file, ONNX) for file in files], inputs=[source])
    for each, file in zip((checkpoint, *resized), files, strict=True):
        export_checkpoint(each, file)
        yield file


def _lowered(onnx_file: Path, precision: Precision, wanted: VersionsWanted, folder: Path) -> Path:
    """Lower a file whatever it costs: the search has limits of its own."""
    settings = CalibrationSettings(precision=precision, data=wanted.data, seed=wanted.seed, force=True)
    return calibrate(onnx_file, folder, settings).onnx


def _for_engine(
    engine: EngineKind,
    precision: Precision | None,
    onnx_file: Path,
    contract: Contract,
    wanted: VersionsWanted,
    folder: Path,
) -> Iterator[ModelVersion]:
    path = onnx_file
    if engine is EngineKind.OPENVINO:
        path = folder / f"{onnx_file.stem}.xml"
        check_outputs(openvino_outputs(path))
        images = sample_images(wanted.data, contract.image_hw, seed=wanted.seed or 0, framing=framing_of(contract))
        try:
            write_openvino(onnx_file, path, images)
        except LstnError as error:
            note(f"{onnx_file.name} for {engine.value} is left out: {error.message}")
            return
    yield ModelVersion(engine, precision, contract.backbone_hw, path)
