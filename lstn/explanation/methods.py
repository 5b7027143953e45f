"""Methods of `lstn explain`, by name."""

from enum import Enum


class Method(str, Enum):
    """A way to make maps."""

    OCCLUSION = "occlusion"
    GRAD_CAM = "grad-cam"
    GRADIENTS = "gradients"


OF_ENGINES = (Method.OCCLUSION,)
"""Methods that only ask for answers; the others need the network itself."""
