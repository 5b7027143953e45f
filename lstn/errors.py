"""Errors: one tree. The command line prints `message` on one line and `hint` on the next, and nothing else."""


class LstnError(Exception):
    """A failure that a user can understand.

    `message` says what was found and what was wanted; `hint` says what to do, or is empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process, keyword-only hint included."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[LstnError], message: str, hint: str) -> LstnError:
    return kind(message, hint=hint)


class UsageError(LstnError):
    """The command was typed wrongly: an unknown name, or options that exclude each other."""

    exit_code = 2


class MissingExtra(LstnError):  # noqa: N818 - it says what it is, and how to mend it
    """A package is not installed; the hint is the install line."""


class ImageError(LstnError):
    """One image file can't be turned into pixels."""


class DataError(LstnError):
    """A data set can't be used."""


class ArtifactError(LstnError):
    """A checkpoint, ONNX file or plan is damaged, foreign, or made for another machine."""


class VerificationError(LstnError):
    """Two forms of one model disagree by more than the tolerance."""


class DeviceError(LstnError):
    """This machine lacks what the command needs, such as an NVIDIA GPU."""


def closed_engine(name: object) -> DeviceError:
    """Return what is said of an engine that somebody calls after its `with`."""
    return DeviceError(f"{name}: this engine is closed", hint="use it within its with block")


class TrainingError(LstnError):
    """Training can't go on, such as after a loss that is no number."""
