"""model.onnx -> model.xml and model.bin for OpenVINO, in whatever precision the ONNX file has.

Needs neither torch nor, but for bfloat16, the onnx package: the machine that will run the model can make it.
"""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from lstn.contract import METADATA_KEY, Contract, Task
from lstn.errors import ArtifactError, LstnError
from lstn.export.onnx.verify_generator import GeneratorAgreement
from lstn.export.onnx.verify_onnx import Agreement
from lstn.export.openvino.openvino_generator import verify_openvino_generator
from lstn.export.openvino.verify_openvino import verify_openvino
from lstn.export.plugin import FUSED
from lstn.files import replacing, scratch_folder, sha256_of, write_bytes
from lstn.formats.onnx_file import read_model
from lstn.formats.openvino_file import Record, bin_path, read_xml
from lstn.images import Pixels
from lstn.imports import require

_PRECISIONS = (("i8", "int8"), ("bf16", "bf16"), ("f16", "fp16"))
"""Type of a tensor in OpenVINO -> what a file that holds one is called, the lowest first."""


def write_openvino(onnx_file: Path, xml: Path, images: Pixels | None) -> tuple[Record, Agreement | GeneratorAgreement]:
    """Write `xml` and the .bin beside it, and compare them with the ONNX file of lstn before they get their names.

    images: (N, H, W, 3) uint8 RGB of the contract's size, at least one; None for a generator, which is given noise

    float32 stays float32: OpenVINO would halve it. The two files are replaced together: both are written out to the
    disk under other names, then the .xml appears, then the .bin. What fails before leaves the older pair as it was;
    a reader between the two finds an .xml with another hash than the older .bin's, and refuses it.

    Raises:
        ArtifactError: the file isn't one of lstn's, or OpenVINO can't read it.
        VerificationError: OpenVINO computes something else.
        MissingExtra: openvino isn't installed, or what is needed to compare with.
        LstnError: the precision is none that OpenVINO computes in, or the files can't be written.
    """
    contract, onnx = read_model(onnx_file)
    if FUSED in onnx.operators:
        raise ArtifactError(
            f"{onnx_file}: samples by {FUSED}, and OpenVINO knows no operator but ONNX's own",
            hint="export the model again with: lstn export --engine openvino --sampler native",
        )
    ov = require("openvino", extra="openvino")
    model = _read(ov, onnx_file)
    precision = _precision(model, onnx_file)
    unknown = secrets.token_hex(32)  # the hash of weights that aren't written yet, and in nobody's labels
    record = Record(contract, unknown, sha256_of(onnx_file), ov.__version__, precision, onnx.training)
    _describe(model, record)
    with replacing(bin_path(xml)) as weights, scratch_folder(xml.parent, f".{xml.name}.") as folder:
        written = folder / "model.xml"
        try:
            ov.save_model(model, str(written), compress_to_fp16=False)
        except Exception as error:  # a full disk is an "iostream error"
            told = " ".join(str(error).split())[-200:]
            raise LstnError(
                f"cannot write {xml}: {told}", hint="free some space there, or choose another place"
            ) from error
        agreement = _verified(ov, written, onnx_file, contract, images, precision)
        record = replace(record, bin_sha256=sha256_of(bin_path(written)))
        described = written.read_bytes().replace(unknown.encode(), record.bin_sha256.encode())
        written.write_bytes(described)
        if read_xml(written).record != record:
            raise LstnError(f"OpenVINO {ov.__version__} wrote another contract into {xml}", hint="use another version")
        bin_path(written).replace(weights)
        write_bytes(xml, described)
    return record, agreement


def is_stale_xml(xml: Path, onnx_file: Path) -> bool:
    """Return whether `xml` is there and doesn't say that it was made from `onnx_file`, byte for byte."""
    if not xml.is_file():
        return False
    try:
        record = read_xml(xml).record
    except ArtifactError:
        return True
    return record is None or record.onnx_sha256 != sha256_of(onnx_file)


def _read(ov: Any, path: Path) -> Any:
    try:
        return ov.Core().read_model(path)
    except Exception as error:  # one RuntimeError for everything, with pages of where it was thrown
        raise ArtifactError(
            f"{path}: OpenVINO can't read it: {' '.join(str(error).split()):.300}",
            hint="use ONNX Runtime or TensorRT: see lstn export --help",
        ) from error


def _precision(model: Any, path: Path) -> str:
    types = {output.get_element_type().get_type_name() for op in model.get_ordered_ops() for output in op.outputs()}
    if any(name.startswith("f8") for name in types):
        raise LstnError(
            f"{path}: OpenVINO computes nothing in 8-bit floats on a CPU; TensorRT does",
            hint=f"use int8 here, or: lstn export {path} --engine trt",
        )
    return next((precision for name, precision in _PRECISIONS if name in types), "fp32")


def _describe(model: Any, record: Record) -> None:
    """Note the record; the ONNX file's own metadata, which OpenVINO takes over under `framework`, say the same."""
    if "framework" in model.rt_info:
        del model.rt_info["framework"]
    model.set_rt_info(record.to_json(), METADATA_KEY)


def _verified(
    ov: Any, xml: Path, onnx_file: Path, contract: Contract, images: Pixels | None, precision: str
) -> Agreement | GeneratorAgreement:
    """Read the pair back, so that what was written is what is compared; the model lets go of the files at the end."""
    if contract.task is Task.GENERATE:
        return verify_openvino_generator(ov, _read(ov, xml), onnx_file, contract)
    assert images is not None  # every other model looks at images
    return verify_openvino(_read(ov, xml), onnx_file, contract, images, precision=precision)
