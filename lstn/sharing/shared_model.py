"""A model to be shared: the files of one network, looked at, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lstn.alignment.sentence_encoder import encoder_of
from lstn.contract import Contract, Task
from lstn.errors import ArtifactError, UsageError
from lstn.files import sha256_of
from lstn.formats.inspection import inspect_file
from lstn.formats.openvino_file import bin_path
from lstn.formats.plan_file import sidecar_path
from lstn.formats.training_record import Training
from lstn.health.run_files import CHECKPOINT, TEST, run_folder
from lstn.untrusted.checked_json import Count, Share, read_bytes, read_text

_MOST_TEST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class RunFigures:
    """The figures of a run's test that its page shows.

    top1: share of the images that are classified rightly, 0..1
    """

    images: Count
    top1: Share


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One file of a model, under the name that it has on a hub.

    kind: what it is, such as `ONNX model`; of a file that belongs to another, that one's name
    """

    path: Path
    kind: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """Its name on a hub."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class SharedModel:
    """The files of one network."""

    contract: Contract
    files: tuple[SharedFile, ...]
    training: Training | None
    tested: RunFigures | None


def shared_model(named: Sequence[Path]) -> SharedModel:
    """Look at what is to be shared: files of models, and runs, of which the checkpoint and the test figures are taken.

    The weights of an OpenVINO model, the sidecar of a plan, and what knows the words of a model that aligns come along
    by themselves.

    Raises:
        UsageError: no such file, two of one name, or files of different networks.
        ArtifactError: a file is damaged, or nothing that lstn can answer with.
    """
    files: dict[str, SharedFile] = {}
    contract: Contract | None = None
    training, tested = None, None
    for path in named:
        main = run_folder(path) / CHECKPOINT if path.is_dir() else path
        found = inspect_file(main)
        if found.problem is not None:
            raise found.problem
        if found.contract is None:
            raise ArtifactError(f"{main}: {found.kind}, which no command answers with", hint="name a model")
        if contract is not None and _network(found.contract) != _network(contract):
            raise UsageError(f"{main} is another network than {named[0]}", hint="push each to a repository of its own")
        contract, training = contract or found.contract, training or found.training
        tested = tested or _tested(main)
        for each in (main, *_partners(main, found.contract)):
            if each != main and each.name in files and files[each.name].path == each:
                continue  # engines of one network share the file that knows its words
            if each.name in files:
                raise UsageError(f"two files are called {each.name}", hint="rename one, or push each by itself")
            kind = found.kind if each == main else f"belongs to {main.name}"
            files[each.name] = SharedFile(each, kind, each.stat().st_size, sha256_of(each))
    assert contract is not None  # a command takes one file at least
    return SharedModel(contract, tuple(files.values()), training, tested)


def _network(contract: Contract) -> tuple[object, ...]:
    """Return what all files of one network have in common; the temperature is each precision's own."""
    return contract.task, contract.loc, contract.backbone, contract.labels, contract.image_hw, contract.crop_hw


def _partners(main: Path, contract: Contract) -> tuple[Path, ...]:
    """Return the files without which `main` is no model.

    Raises:
        ArtifactError: what knows the words of a model that aligns isn't there; the others `inspect_file` has checked.
    """
    if main.suffix == ".safetensors":
        return ()
    own = {".xml": (bin_path(main),), ".plan": (sidecar_path(main),)}.get(main.suffix, ())
    if contract.task is not Task.ALIGN:
        return own
    return (*own, encoder_of(main))


def _tested(main: Path) -> RunFigures | None:
    """Return the test figures of the run whose checkpoint `main` is; a detector's and a reader's are others."""
    path = main.with_name(TEST)
    if main.name != CHECKPOINT or not path.is_file():
        return None
    text = read_bytes(path, most=_MOST_TEST_BYTES, what="test figures")
    try:
        return read_text(text, RunFigures, source=str(path), what="test figures")
    except ArtifactError:
        return None
