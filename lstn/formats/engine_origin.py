"""The origin of an engine: its contract, and the ONNX file that it is, or that it was made from."""

from pathlib import Path

from lstn.contract import Contract
from lstn.files import sha256_of
from lstn.formats.onnx_file import read_model
from lstn.formats.openvino_file import read_pair
from lstn.formats.plan_file import read_sidecar


def origin_of(engine: Path) -> tuple[Contract, str]:
    """Return an engine's contract, and the SHA-256 of the ONNX file that it was made from, or is.

    Raises:
        ArtifactError: it is damaged or has no contract, or the files beside it don't belong to it.
    """
    match engine.suffix.lower():
        case ".plan":
            sidecar = read_sidecar(engine)
            return sidecar.contract, sidecar.onnx_sha256
        case ".xml":
            record, _ = read_pair(engine)
            return record.contract, record.onnx_sha256
    return read_model(engine)[0], sha256_of(engine)
