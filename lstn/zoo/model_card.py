"""Card of a model that comes with lstn: what it knows, where it comes from, and how good it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lstn.health.follow import Follow, brief
from lstn.health.pose_error import PoseError, brief_pose
from lstn.untrusted.checked_json import Count, Magnitude, Share, read_bytes, read_text
from lstn.zoo.named_models import is_in_zoo

_MAX_BYTES = 1 << 20
_COMMANDS = ("made by", "trained with")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """NAME.json next to NAME.onnx, written by benchmarks/zoo.py.

    knows:      what it says of which pictures
    images, licence: what it was trained on, and under which terms that is published
    made_by:    the command that makes file and card; trained: what that trains with
    bytes, sha256: of the ONNX file
    tested_on:  which images the figures are of; tested: how many they are
    accuracy:   top-1, 0..1, by how many degrees the images were turned: "0" are the images as they are
    pose:       None where no true pose of a test image is known
    """

    name: str
    knows: str
    images: str
    licence: str
    made_by: str
    trained: str
    epochs: Count
    cpu_minutes: Magnitude
    parameters: Count
    bytes: Count
    sha256: str
    tested_on: str
    tested: Count
    accuracy: Mapping[str, Share]
    follow: Follow
    pose: PoseError | None
    cpu: str
    libraries: Mapping[str, str | None]


def read_card(model: Path) -> ModelCard | None:
    """Return the card of a model that comes with lstn; None of any other file.

    Raises:
        ArtifactError: the card is damaged, as no installed package leaves it.
    """
    if not is_in_zoo(model):
        return None
    path = model.with_suffix(".json")
    return read_text(
        read_bytes(path, most=_MAX_BYTES, what="a card"), ModelCard, source=str(path), what="card", exactly=True
    )


def card_facts(card: ModelCard) -> dict[str, str]:
    """Return what a card says, by name, in the order to show it."""
    turned = ", ".join(f"by {degrees}°: {share:.1%}" for degrees, share in card.accuracy.items() if degrees != "0")
    facts = {
        "knows": card.knows,
        "trained on": card.images,
        "licence": card.licence,
        "made by": card.made_by,
        "trained with": card.trained,
        "training": f"{card.epochs} epochs, {card.cpu_minutes:.1f} CPU minutes",
        "size": f"{card.parameters:,} parameters, {card.bytes / 1000:.0f} kB",
        "tested on": card.tested_on,
        "accuracy": f"{card.accuracy['0']:.1%} of {card.tested:,} images; turned {turned}",
        "follow": f"{brief(card.follow)}; 1 is all of a move",
    }
    return facts if card.pose is None else facts | {"crop": brief_pose(card.pose)}


def card_page(card: ModelCard) -> str:
    """Return a card as a page of Markdown."""
    facts = card_facts(card).items()
    rows = [f"| {name} | {f'`{value}`' if name in _COMMANDS else value} |" for name, value in facts]
    versions = ", ".join(f"{name} {version}" for name, version in card.libraries.items() if version)
    return "\n".join([f"# zoo:{card.name}", "", "| | |", "|---|---|", *rows, "", f"{card.cpu}; {versions}.", ""])
