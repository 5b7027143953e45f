"""Choices of a contract: the localizer, what the transformer warps, and how a photo becomes an input."""

from enum import Enum


class Loc(str, Enum):
    """The localizer: none, one of the paper's (L-STN paper, Tables 1-3), one for a small view, one on the backbone's
    own first layers, or a control, which an experiment compares the others with (`lstn.nn.warping.localizers`)."""

    NONE = "none"
    STN = "stn"
    VSTN = "vstn"
    LSTN = "lstn"
    GLANCE = "glance"
    SHARED = "shared"
    IDENTITY = "identity"
    DEAD = "dead"


PAPER_LOCS = (Loc.NONE, Loc.STN, Loc.VSTN, Loc.LSTN)
"""Those that the paper compares."""

CONTROLS = (Loc.IDENTITY, Loc.DEAD)
"""Whose warp is always the identity: trained to be compared with, and of no use otherwise."""

VIEWLESS = (Loc.NONE, Loc.SHARED, Loc.IDENTITY)
"""Localizers that don't look at the image by themselves."""


class At(str, Enum):
    """What the transformer warps: the image; the feature map behind the backbone's first layers; or, for a detector,
    the last map of at least a sixteenth of the image's side."""

    INPUT = "input"
    STEM = "stem"
    MAP = "map"


class Fit(str, Enum):
    """How a photo becomes an input of another shape: stretched to it; shrunk until all of it is inside, with the mean
    around it; or scaled until it covers the input, of which its middle is taken."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    CENTRE = "centre"
