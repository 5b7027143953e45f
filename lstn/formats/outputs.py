"""Checks of output paths before any work: no output may replace an input, or a file that lstn did not write."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import check_utf8, link_target, temporary_beside
from lstn.formats.onnx_file import read_onnx
from lstn.formats.openvino_file import bin_path, read_xml
from lstn.formats.plan_file import sidecar_path
from lstn.zoo.named_models import PREFIX

_HEAD = 4096


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that lstn writes.

    name:     as a message calls it
    suffixes: of its names; a name with the suffix of another kind is refused
    is_ours:  whether a file was written by lstn; may raise ArtifactError if it is not of this kind
    """

    name: str
    suffixes: tuple[str, ...]
    is_ours: Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file that a command is going to write. option: what named it, such as `--json`; empty for `--out`'s files."""

    path: Path
    kind: FileKind
    option: str = ""

    def __str__(self) -> str:
        return f"{self.option} {self.path}".strip()


def marked(name: str, suffixes: tuple[str, ...], *marks: bytes) -> FileKind:
    """Make a kind whose files hold one of `marks` near their beginning."""
    return FileKind(name, suffixes, lambda path: any(mark in _head(path) for mark in marks))


def shaped(name: str, suffixes: tuple[str, ...], pattern: bytes) -> FileKind:
    """Make a kind whose files hold a match of `pattern` near their beginning; ^ and $ are of a line."""
    shape = re.compile(pattern, re.MULTILINE)
    return FileKind(name, suffixes, lambda path: shape.search(_head(path)) is not None)


def _is_onnx(path: Path) -> bool:
    return read_onnx(path).contract is not None


def _is_xml(path: Path) -> bool:
    return read_xml(path).record is not None


def _is_plan(path: Path) -> bool:
    return _head(sidecar_path(path)).startswith(_SIDECAR_START)


_SIDECAR_START = b'{\n "contract": '
_HTML, _JSON = (".html", ".htm"), (".json",)

_ROW = rb'\{"path": .*(?:"probability": |"objects": \[|"labels": \[(?:\]|\{"label")|"score": |"error": ")'
"""A row of JSON, which says more of an image than a list of training images does."""

ONNX = FileKind("an ONNX model", (".onnx",), _is_onnx)
SENTENCES = FileKind("an encoder of sentences", (".words",), _is_onnx)
PLAN = FileKind("a plan", (".plan",), _is_plan)
SIDECAR = FileKind("what a plan is", (), lambda path: _head(path).startswith(_SIDECAR_START))
OPENVINO = FileKind("an OpenVINO model", (".xml",), _is_xml)
WEIGHTS = FileKind("the weights of an OpenVINO model", (".bin",), lambda path: _is_xml(path.with_suffix(".xml")))
SCRIPT = marked("a script for trtexec", (".sh",), b"with NVIDIA's trtexec")
LOG = FileKind("a build log", (), lambda path: _head(path).startswith(b"TensorRT"))
PAGE = marked("a web page", _HTML, b'<meta name="generator" content="lstn">')
BENCH = marked("JSON", _JSON, b', "setup": {"batches": ')
TRACE = marked("a trace as JSON", _JSON, b'{"traceEvents": ')
CLAIMS = marked("JSON", _JSON, b', "made": ')
COST = marked("JSON", _JSON, b', "precisions": {')
RANGES = marked("JSON", _JSON, b'{\n "onnx_sha256": ')
EVALUATION = shaped("JSON", _JSON, rb'\A\{"file": .*, "loc": ')
COMPARISON = marked("JSON", _JSON, b'{"compared": ')
TUNING = marked("JSON", _JSON, b'{"tuned": ')
SERVING_TUNING = marked("JSON", _JSON, b'{"served": ')
EXPLANATION = marked("JSON", _JSON, b'{"explained": ')
ATTACK = marked("JSON", _JSON, b'{"attacked": ')
STUDY = marked("JSON", _JSON, b'{\n "settings": ')
ROWS_JSON = shaped("JSON", _JSON, rb"\A\[\n(?:\]|" + _ROW + rb")")
ROWS_JSONL = shaped("JSON lines", (".jsonl", ".ndjson"), rb"\A" + _ROW)
ROWS_CSV = shaped("CSV", (".csv",), rb"\Apath,[a-z0-9_,]*error\r?$")
ROWS_TABLE = shaped("a table", (".txt",), rb"^.+  +(?:\d{1,3}\.\d %.*|\d\.\d\d|no labels|no objects|rejected: .+)$")
PICTURE = marked("a picture", (".png",), b"tEXtSoftware\0lstn")

_NAMED = (ONNX, PLAN, OPENVINO, WEIGHTS, SCRIPT, PAGE, BENCH, ROWS_JSONL, ROWS_CSV)
_FOREIGN = {".safetensors", ".pt", ".pth", ".py", ".yaml", ".yml", ".toml", ".parquet", ".md"}
"""Suffixes of files that no command writes under a name that the user chooses."""


def files_of(model: Path) -> list[Path]:
    """Return the file of an engine, and those that belong to it."""
    return [model, sidecar_path(model), bin_path(model)]


def wanted_output(option: str, path: Path | None, kind: FileKind) -> OutputFile | None:
    """Return the output that an option names, or None if it was not given."""
    return None if path is None else OutputFile(path, kind, option)


def plan_outputs(plan: Path) -> list[OutputFile]:
    """Return what is written with a plan."""
    return [OutputFile(plan, PLAN), OutputFile(sidecar_path(plan), SIDECAR)]


def openvino_outputs(xml: Path) -> list[OutputFile]:
    """Return what is written with an OpenVINO model."""
    return [OutputFile(xml, OPENVINO), OutputFile(bin_path(xml), WEIGHTS)]


def is_ours(path: Path, kind: FileKind) -> bool:
    """Whether there is a file of this kind that lstn wrote."""
    try:
        return path.is_file() and kind.is_ours(path)
    except (ArtifactError, OSError):
        return False


def check_outputs(outputs: Iterable[OutputFile | None], *, inputs: Iterable[Path] = ()) -> None:
    """Refuse, before a command's work, what it must not write, or can't. None: an option that wasn't given.

    Raises:
        UsageError: an output is one of `inputs`, a file that lstn did not write, a folder, or another output; or its
            suffix is that of another kind of file.
        LstnError: nothing can be written there.
    """
    wanted = [each for each in outputs if each is not None]
    read = {_identity(path) for path in inputs} - {None}
    for each in wanted:
        if each.path.exists() and _identity(each.path) in read:
            raise UsageError(f"{each}: this command reads that file", hint="name another file")
        _check_name(each)
        if each.kind in (ONNX, OPENVINO, PLAN):
            check_utf8(each.path, "engines")
        if each.path.exists():
            _check_present(each)
        check_writable(each.path)
    _check_distinct(wanted)


def check_folder(option: str, folder: Path, inputs: Sequence[Path] = (), images: Iterable[Path] = ()) -> None:
    """Refuse, before a command's work, a folder for its results that is or lies within one that it reads.

    images: that it reads, and beside which no picture may lie: it would be taken for one of them later

    Raises:
        UsageError: it is a file or has the name of one, or is one of the folders `inputs`, or inside of one, or has one
            of the `images` in it.
        LstnError: nothing can be written there.
    """
    _refuse_stream(option, folder, "a folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file", hint="name a folder")
    if not folder.exists() and folder.suffix.lower() in _FOREIGN.union(*(kind.suffixes for kind in _NAMED)):
        raise UsageError(
            f"{option} {folder}: a folder is meant, in which files get names of their own",
            hint=f"name a folder, such as {folder.with_suffix('')}",
        )
    places = {_identity(place) for place in (folder.resolve(), *folder.resolve().parents)} - {None}
    for path in inputs:
        if path.is_dir() and _identity(path) in places:
            raise UsageError(f"{option} {folder}: lies within {path}, which this command reads", hint="name another")
    for parent, image in {image.parent: image for image in images}.items():
        if folder.exists() and _identity(parent) == _identity(folder):
            raise UsageError(
                f"{option} {folder}: {image.name}, which this command reads, lies there", hint="name another folder"
            )
    check_writable(folder / "x")


def check_pictures(option: str, folder: Path, names: Iterable[str], inputs: Iterable[Path] = ()) -> None:
    """Refuse, before a command's work, pictures that would replace one that it reads, or that lstn did not draw.

    names: of the pictures; only those that are there already are looked at, so very many cost little

    Raises:
        UsageError: there is such a file in the folder.
    """
    present = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    wanted = [folder / name for name in names if name in present]
    read = {_identity(path) for path in inputs if wanted} - {None}
    for path in wanted:
        if _identity(path) in read:
            raise UsageError(f"{option} {folder}: this command reads {path.name} there", hint="name another folder")
        if not is_ours(path, PICTURE):
            what = f"{path.name} is there already, and is not a picture that lstn drew"
            raise UsageError(f"{option} {folder}: {what}", hint="name another folder, or move that file away")


def check_writable(path: Path) -> None:
    """Find out before the work whether `path` can be written, by a file that is gone at once.

    Raises:
        LstnError: it can't.
    """
    final = link_target(path)
    place = next(each for each in (final.parent, *final.absolute().parents) if each.exists())
    probe = place / temporary_beside(final).name
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise LstnError(f"cannot write {path}: {reason}", hint="choose another place") from error


def _refuse_stream(option: str, path: Path, what: str) -> None:
    """Refuse `-`, by which other programs mean standard output, and which would be a file of that name."""
    if option and str(path) == "-":
        otherwise = "; without --output the rows go to standard output" if option == "--output" else ""
        raise UsageError(f"{option} -: not {what}", hint=f"name {what}{otherwise}")


def _check_name(output: OutputFile) -> None:
    from lstn.images import readable_suffixes  # heavy for `lstn --help`

    _refuse_stream(output.option, output.path, "a file")
    if str(output.path).lower().startswith(PREFIX):
        raise UsageError(f"{output}: this names a model that comes with lstn", hint="name another file")
    suffix = output.path.suffix.lower()
    taken = _FOREIGN.union(readable_suffixes(), *(kind.suffixes for kind in _NAMED)) - set(output.kind.suffixes)
    if output.option and suffix in taken:
        named = f", such as {output.path.with_suffix(output.kind.suffixes[0]).name}" if output.kind.suffixes else ""
        raise UsageError(f"{output}: what is written there is {output.kind.name}", hint=f"choose a name for it{named}")


def _check_present(output: OutputFile) -> None:
    path = output.path
    if path.is_dir():
        raise UsageError(f"{output}: a folder", hint="name a file")
    if not path.is_file():
        raise UsageError(f"{output}: not a regular file", hint="name a file")
    where = "name another file" if output.option else "choose another --out"
    hint = f"{where}, or move that file away"
    try:
        ours = path.stat().st_size == 0 or output.kind.is_ours(path)
    except (ArtifactError, OSError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        # A file that belongs to it, such as a plan's sidecar, may be missing.
        if isinstance(reason, OSError) and not isinstance(reason, FileNotFoundError):
            raise LstnError(f"{output}: is there already, and can't be read: {reason.strerror}", hint=hint) from error
        ours = False
    if not ours:
        raise UsageError(f"{output}: is there already, and is not {output.kind.name} that lstn wrote", hint=hint)


def _check_distinct(outputs: Sequence[OutputFile]) -> None:
    for number, one in enumerate(outputs):
        for other in outputs[:number]:
            if one.path.resolve() == other.path.resolve() or (
                one.path.exists() and _identity(one.path) == _identity(other.path)
            ):
                raise UsageError(f"{other} and {one} are one file", hint="name two files")


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116 - as fast as it gets, for every image
        return status.st_dev, status.st_ino
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
