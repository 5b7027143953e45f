"""Refusals: the reason why a request is not answered, and how HTTP and gRPC say it."""

from enum import Enum

from lstn.errors import LstnError

RETRY_AFTER_S = 1


class Reason(Enum):
    """A reason: its name in the metrics, its HTTP status and its gRPC status."""

    INVALID = ("invalid", 400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = ("unauthenticated", 401, "UNAUTHENTICATED")
    FOREIGN = ("foreign", 403, "PERMISSION_DENIED")
    NOT_FOUND = ("not_found", 404, "NOT_FOUND")
    METHOD = ("method", 405, "UNIMPLEMENTED")
    SLOW = ("slow", 408, "DEADLINE_EXCEEDED")
    TOO_LARGE = ("too_large", 413, "INVALID_ARGUMENT")
    ENCODING = ("encoding", 415, "UNIMPLEMENTED")
    FAILED = ("failed", 500, "INTERNAL")
    OVERLOADED = ("overloaded", 503, "RESOURCE_EXHAUSTED")
    UNAVAILABLE = ("unavailable", 503, "UNAVAILABLE")
    EXPIRED = ("expired", 504, "DEADLINE_EXCEEDED")

    def __init__(self, outcome: str, http: int, grpc: str) -> None:
        self.outcome = outcome
        self.http = http
        self.grpc = grpc


class Refusal(LstnError):  # noqa: N818 - it says what it is
    """A request that gets no answer. The message goes to the client: no path, version or traceback is in it."""

    def __init__(self, reason: Reason, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return Refusal, (self.reason, self.message)
