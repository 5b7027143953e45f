"""What tests of `lstn calibrate` type, and what it left in the current folder."""

from pathlib import Path

DIGITS = ("--data", "digits", "--images", "16")


def made() -> set[str]:
    """Return the names of all that is here but the model that was there before."""
    return {path.name for path in Path().iterdir()} - {"model.onnx"}
