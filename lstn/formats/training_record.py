"""Training record: what a model was trained on and how well it did, in every artifact next to its contract."""

import json
from dataclasses import asdict, dataclass

from lstn.contract import METADATA_KEY, Contract
from lstn.untrusted.checked_json import Natural, Share, checked, read_text

TRAINING_KEY = f"{METADATA_KEY}.training"
"""Where it is in a checkpoint's header and in an ONNX file's metadata_props."""


@dataclass(frozen=True, slots=True)
class Training:
    """How the weights came about.

    data:         the data set, as `--data` names it
    seed:         what the data set was drawn with
    epoch:        the epoch that the weights are of
    val_accuracy: share of the validation images classified rightly, 0..1
    parts:        how the images were divided into splits, in words
    images:       the fingerprint of the training images; empty for older checkpoints
    chance:       the validation accuracy up to which a model is at chance, 0..1; None in files of an older lstn
    """

    data: str
    seed: Natural
    epoch: Natural
    val_accuracy: Share
    parts: str = ""
    images: str = ""
    chance: Share | None = None

    def to_json(self) -> str:
        """Return the record as one JSON string."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str, *, source: str) -> "Training":
        """Read a record from untrusted text; `source` names the file in errors.

        Raises:
            ArtifactError: damaged.
        """
        return read_text(text, Training, source=source, what="training record")


@dataclass(frozen=True, slots=True)
class _Texts:
    """JSON inside JSON: what a sidecar and an .xml's record hold as the strings that an ONNX file's metadata are."""

    contract: str
    training: str | None = None


def unfolded(described: object, *, source: str) -> dict[str, object]:
    """Return the fields of a sidecar or an .xml's record with its contract and training record read.

    Raises:
        ValueError: they aren't fields, or hold no contract.
        ArtifactError: contract or training record are damaged.
    """
    texts = checked(described, _Texts)
    training = None if texts.training is None else Training.from_json(texts.training, source=source)
    read = {"contract": Contract.from_json(texts.contract, source=source), "training": training}
    return checked(described, dict[str, object]) | read
