"""An OpenVINO model on disk: `model.xml`, which is the graph and says what it is, and `model.bin`, its weights.

The .xml is read with the standard library before OpenVINO sees it. Whatever a document type could bring (entities that
grow, files from elsewhere) is out, since one with a document type is refused; OpenVINO writes none.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError, ParserCreate

from lstn.contract import METADATA_KEY, Contract
from lstn.errors import ArtifactError
from lstn.files import sha256_of
from lstn.formats.plan_file import Tensor
from lstn.formats.training_record import Training, unfolded
from lstn.untrusted.checked_json import checked, damaged, parsed, read_bytes

_REBUILD = "make both again with: lstn export --engine openvino"

CPU_SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO as lstn runs it, and verifies what it exports. Without the last, a CPU that has bfloat16 computes float32
models in it."""

_MAX_BYTES = 64 << 20
"""DenseNet-201 in int8 comes to 5 MB."""

_MAX_ELEMENTS = 2_000_000
_MAX_DEPTH = 64
_MAX_RANK = 16

_LAYERS = ["net", "layers", "layer"]
_RECORD = ["net", "rt_info", METADATA_KEY]
_NO_OPERATORS = frozenset({"Const", "Parameter", "Result"})

_DTYPES = {
    "FP32": "float32", "FP16": "float16", "BF16": "bfloat16", "FP64": "float64", "U8": "uint8", "I8": "int8",
    "I32": "int32", "I64": "int64", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """What lstn notes in the .xml's metadata.

    version:   of the OpenVINO that wrote it
    precision: the lowest that values have: fp32, fp16, bf16 or int8
    training:  what the model was trained on, or None
    """

    contract: Contract
    bin_sha256: str
    onnx_sha256: str
    version: str
    precision: str
    training: Training | None = None

    def to_json(self) -> str:
        """Return the record as JSON; contract and training stay the strings that they are everywhere."""
        texts = {"contract": self.contract.to_json(), "training": self.training and self.training.to_json()}
        return json.dumps(asdict(self) | texts)


@dataclass(frozen=True, slots=True)
class OpenVinoFile:
    """What an .xml says of itself.

    record:    None for a file that lstn didn't write
    inputs, outputs: of the graph; a shape holds -1 where a size is left open
    operators: how often each occurs
    """

    record: Record | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: Mapping[str, int]


def bin_path(xml: Path) -> Path:
    """`model.xml` -> `model.bin`, which is where OpenVINO looks for the weights."""
    return xml.with_suffix(".bin")


def read_xml(path: Path) -> OpenVinoFile:
    """Read an .xml of OpenVINO, without its weights.

    Raises:
        ArtifactError: unreadable, too large, no OpenVINO model, cut off, or with a damaged record or contract.
    """
    try:
        return _XmlReader(str(path)).read(read_bytes(path, most=_MAX_BYTES, what="a model without its weights"))
    except (ValueError, ExpatError) as error:
        raise ArtifactError(
            f"{path}: not an OpenVINO model, or cut off ({error})", hint="make one with: lstn export --engine openvino"
        ) from error


def read_pair(path: Path) -> tuple[Record, OpenVinoFile]:
    """Read an .xml of lstn, and check that the weights beside it are its own, byte for byte.

    Raises:
        ArtifactError: what `read_xml` and `check_weights` refuse.
    """
    file = read_xml(path)
    return check_weights(path, file), file


def check_weights(path: Path, file: OpenVinoFile) -> Record:
    """Return the record of the .xml at `path`, which is `file`, if it describes the .bin beside it.

    Raises:
        ArtifactError: no record, or a .bin that is missing or another one.
    """
    if file.record is None:
        raise ArtifactError(f"{path}: no contract, so it wasn't written by lstn", hint=_REBUILD)
    weights = bin_path(path)
    try:
        found = sha256_of(weights)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{weights}: missing, and it holds the weights of {path.name}", hint="keep the two files together"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{weights}: {error.strerror or error}") from error
    if found != file.record.bin_sha256:
        raise ArtifactError(
            f"{path}: describes other weights than {weights.name}, or that is damaged (its SHA-256 differs)",
            hint=_REBUILD,
        )
    return file.record


class _XmlReader:
    """Follows the elements of one document: net / layers / layer / (input | output) / port / dim, net / rt_info."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._path: list[str] = []
        self._elements = 0
        self._record: Record | None = None
        self._operators: Counter[str] = Counter()
        self._layer: dict[str, str] = {}
        self._port: dict[str, str] = {}
        self._dims: list[str] = []
        self._in_dim = False
        self._tensors: dict[str, list[Tensor]] = {"Parameter": [], "Result": []}

    def read(self, data: bytes) -> OpenVinoFile:
        """Read a whole document.

        Raises:
            ValueError, ExpatError: it isn't one of OpenVINO, or one that is made to harm.
            ArtifactError: its record or contract is damaged.
        """
        parser = ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.Parse(data, True)
        if not self._operators:
            raise ValueError("it holds no layer")
        return OpenVinoFile(
            self._record, tuple(self._tensors["Parameter"]), tuple(self._tensors["Result"]), self._operators
        )

    def _refuse_doctype(self, *_: object) -> None:
        raise ValueError("it has a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._elements += 1
        if len(self._path) > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise ValueError("it nests too deep" if len(self._path) > _MAX_DEPTH else f"over {_MAX_ELEMENTS} elements")
        if self._path[0] != "net":
            raise ValueError(f"it is a document of {self._path[0]!r:.40}")
        self._start_in_net(name, attributes)

    def _start_in_net(self, name: str, attributes: dict[str, str]) -> None:
        if name == "layer" and self._path[-2:-1] == ["layers"]:
            kind = attributes.get("type", "")
            if kind not in _NO_OPERATORS:
                self._operators[kind] += 1
            if self._path == _LAYERS:
                self._layer = attributes
        elif self._path[:-2] == _LAYERS and name == "port":
            self._port, self._dims = attributes, []
        elif self._path[:-3] == _LAYERS and name == "dim":
            self._dims.append("")
            self._in_dim = True
        elif self._path == _RECORD:
            if self._record is not None:
                raise ValueError("it says twice what it is")
            self._record = _record(attributes.get("value", ""), self._source)

    def _text(self, text: str) -> None:
        if self._in_dim:
            self._dims[-1] += text

    def _end(self, name: str) -> None:
        if self._path[:-2] == _LAYERS and name == "port":
            self._keep_tensor(self._path[-2])
        self._in_dim = False
        self._path.pop()

    def _keep_tensor(self, side: str) -> None:
        """A Parameter makes what the graph takes, a Result takes what the graph makes."""
        kind = self._layer.get("type", "")
        if (kind, side) not in (("Parameter", "output"), ("Result", "input")):
            return
        name = self._port.get("names", "") if kind == "Parameter" else self._layer.get("output_names", "")
        if len(self._dims) > _MAX_RANK:
            raise ValueError(f"{name!r:.40} has {len(self._dims)} dimensions")
        precision = self._port.get("precision", "no type")
        shape = tuple(max(-1, int(dim[:20])) for dim in self._dims)
        self._tensors[kind].append(Tensor(name, _DTYPES.get(precision, precision.lower()), shape))


def _record(text: str, source: str) -> Record:
    try:
        return checked(unfolded(parsed(text), source=source), Record)
    except ValueError as error:
        raise damaged(source, "metadata", error, hint=_REBUILD) from error
