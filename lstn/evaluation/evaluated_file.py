"""A model's file, and the images that it was evaluated on: what every evaluation says first, whatever its task."""

from dataclasses import dataclass

from lstn.contract import Contract
from lstn.data.splits import AnySplit

_KINDS: dict[AnySplit, str] = {
    "train": "training images",
    "val": "validation images",
    "test": "test images",
    "all": "images",
}
"""What tables call the images of a split."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedFile:
    """What was evaluated, and on what; each task adds what came of it.

    source: the model's file
    data:   the data set, as `--data` names it
    split:  which of its images: by default those for testing, or, if there are none, those for validation
    """

    source: str
    data: str
    split: AnySplit
    contract: Contract

    @property
    def kind(self) -> str:
        """What tables call the images, such as `test images`."""
        return _KINDS[self.split]

    def on(self, images: int) -> str:
        """Return what a page says of so many images."""
        return f"{self.data}, {images} {self.kind}"

    def where(self, images: int) -> str:
        """Return what a page says of the model and of so many images."""
        return f"{self.contract.loc.value} + {self.contract.backbone} on {self.on(images)}"

    def head(self) -> dict[str, str]:
        """Return how a report begins, for JSON."""
        model = {"file": self.source, "loc": self.contract.loc.value, "backbone": self.contract.backbone}
        return {**model, "data": self.data, "split": self.split}
