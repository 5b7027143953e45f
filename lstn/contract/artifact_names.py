"""Names that stand in every exported model: of its contract, its inputs and its outputs."""

METADATA_KEY = "lstn"
"""Where the contract lives: an ONNX file's metadata_props and a checkpoint's header both use this key."""

PIXELS, LOGITS, THETA = "pixels", "logits", "theta"
"""Names of the input and the outputs of every exported model but a generator."""

NOISE, LABEL = "noise", "label"
"""Names of the inputs of an exported generator, whose outputs are PIXELS, and THETA if it places its object."""
