"""Bounds of what a contract may say, and the types of its fields that carry them."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

MAX_JSON = 4 << 20
"""Characters of a contract, as a file holds it."""
MAX_SIDE = 8192
TRAINED_SIDES = (8, 4096)
"""The shortest and the longest side of an image that lstn trains on, in pixels."""
MAX_LABELS, MAX_NAME = 100_000, 200
"""Classes of a model, and characters of a class's or a backbone's name."""

MAX_ITERATIONS = 8
MAX_WARPS = 16
"""Of one image that is classified: the backbone's last layer grows with them."""
REGIONS = (2, 300)
"""The fewest and the most regions of an image in which a detector looks for objects."""
SPACE = 64
"""Numbers of a vector of a region or of a word, of a model that aligns."""
STEPS = (2, 64)
"""The fewest and the most symbols of the longest text that a reader reads: each is a step of its exported graph."""
MAX_NOISE = 4096
"""Numbers that a generator paints a picture from, at most."""
TEMPERATURES = (0.05, 20.0)
"""The lowest and the highest temperature."""

ImageSide: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
ShortName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
LabelNames: TypeAlias = Annotated[tuple[ShortName, ...], Meta(min_length=1, max_length=MAX_LABELS)]
Iterations: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_ITERATIONS)]
Warps: TypeAlias = Annotated[int, Meta(ge=1, le=REGIONS[1])]
NoiseCount: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_NOISE)]
Temperature: TypeAlias = Annotated[float, Meta(ge=TEMPERATURES[0], le=TEMPERATURES[1])]
Thresholds: TypeAlias = Annotated[tuple[Annotated[float, Meta(ge=0, le=1)], ...], Meta(max_length=MAX_LABELS)]
Separator: TypeAlias = Literal["", " "]
"""What stands between the symbols of a text: nothing between characters, a space between words."""
