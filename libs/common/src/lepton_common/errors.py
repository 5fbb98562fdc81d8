"""The named errors that Lepton raises, and the code and reason each one travels under.

    LeptonError
     + InvalidField            INVALID_ARGUMENT     a field breaks a rule of its contract
     + TooLarge                INVALID_ARGUMENT     a size, a count or a length is over the limit
     + MalformedFile           INVALID_ARGUMENT     a file is not what its format asks for
     + SchemaViolation         INVALID_ARGUMENT     records do not fit the schema
     + UnsafeModel             INVALID_ARGUMENT     a model configuration could carry code
     + InvalidModel            INVALID_ARGUMENT     a model cannot be built, exported or read
     + TensorMismatch          INVALID_ARGUMENT     a tensor is not what the signature says
     + NotFound                NOT_FOUND
     + AlreadyExists           ALREADY_EXISTS
     + WrongState              FAILED_PRECONDITION  the resource's state does not allow the call
     + InUse                   FAILED_PRECONDITION  something still refers to the resource
     + TooManyRejected         FAILED_PRECONDITION  more records were rejected than allowed
     + NoCandidate             FAILED_PRECONDITION  nothing stayed within the accuracy drop
     + PrivacyBudgetExceeded   FAILED_PRECONDITION  less is left of a dataset's privacy than is asked for
     + EtagMismatch            ABORTED              changed since it was read
     + WorkerLost              ABORTED              workers keep ending without a result
     + WrongOffset             OUT_OF_RANGE         an upload goes on at its committed size
     + ChecksumMismatch        DATA_LOSS
     + Unauthenticated         UNAUTHENTICATED
     + PermissionDenied        PERMISSION_DENIED
     + Overloaded              RESOURCE_EXHAUSTED   retry after the delay
     + ShuttingDown            UNAVAILABLE          another replica answers
     + DependencyUnavailable   UNAVAILABLE          another service does not answer
     + DeadlineExceeded        DEADLINE_EXCEEDED
     + Cancelled               CANCELLED
     + Unimplemented           UNIMPLEMENTED
     + Internal                INTERNAL             a fault of ours

Code raises these and knows nothing of gRPC; the server's interceptor and `status` translate them. The
text of an error is for the caller: it says what is wrong and what would be right, and nothing about
how the service is built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import ClassVar


class Code(IntEnum):
    """The canonical codes of `google.rpc.Code`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class FieldViolation:
    """One broken rule: the path of the field, as in `spec.sources[2].upload`, and what it must be."""

    field: str
    description: str


_NO_METADATA: Mapping[str, str] = MappingProxyType({})


class LeptonError(Exception):
    """An expected failure that the caller is told about.

    Raise a subclass; each stands for one `lepton.error.v1.ErrorReason`.

    Args:
        message: what is wrong and what would be right, for the caller.
        metadata: facts that a program may want, as `{"limit_bytes": "1024"}`.
        violations: the fields at fault.
        retry_after_seconds: when the same call may succeed.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] = _NO_METADATA,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata) if metadata else {}
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds


class InvalidField(LeptonError):
    """A field of the request breaks a rule of its contract; the violations name each field."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_FIELD"


class TooLarge(LeptonError):
    """A size, a count or a length is over the limit; the metadata names both."""

    code = Code.INVALID_ARGUMENT
    reason = "TOO_LARGE"


class MalformedFile(LeptonError):
    """A file is not what its format asks for."""

    code = Code.INVALID_ARGUMENT
    reason = "MALFORMED_FILE"


class SchemaViolation(LeptonError):
    """Records do not fit the schema."""

    code = Code.INVALID_ARGUMENT
    reason = "SCHEMA_VIOLATION"


class UnsafeModel(LeptonError):
    """A Keras configuration holds a layer that could carry code, or that is not one of Keras's own."""

    code = Code.INVALID_ARGUMENT
    reason = "UNSAFE_MODEL"


class InvalidModel(LeptonError):
    """A model cannot be built, exported or read."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_MODEL"


class TensorMismatch(LeptonError):
    """A tensor has another name, datatype or shape than the model's signature."""

    code = Code.INVALID_ARGUMENT
    reason = "TENSOR_MISMATCH"


class NotFound(LeptonError):
    """The named resource or object does not exist."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(LeptonError):
    """A resource of this name exists, made by another request."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class WrongState(LeptonError):
    """The resource is not in a state that allows the call."""

    code = Code.FAILED_PRECONDITION
    reason = "WRONG_STATE"


class InUse(LeptonError):
    """Something else still refers to the resource."""

    code = Code.FAILED_PRECONDITION
    reason = "IN_USE"


class TooManyRejected(LeptonError):
    """More records were rejected than the caller allowed."""

    code = Code.FAILED_PRECONDITION
    reason = "TOO_MANY_REJECTED"


class NoCandidate(LeptonError):
    """No compressed candidate stayed within the accuracy drop that was allowed."""

    code = Code.FAILED_PRECONDITION
    reason = "NO_CANDIDATE"


class PrivacyBudgetExceeded(LeptonError):
    """A training would spend more of a dataset's privacy than is left; the metadata names how much is."""

    code = Code.FAILED_PRECONDITION
    reason = "PRIVACY_BUDGET_EXCEEDED"


class EtagMismatch(LeptonError):
    """The resource changed since the caller read it."""

    code = Code.ABORTED
    reason = "ETAG_MISMATCH"


class WorkerLost(LeptonError):
    """A worker ended without a result more often than its job allows."""

    code = Code.ABORTED
    reason = "WORKER_LOST"


class WrongOffset(LeptonError):
    """An upload was written at another place than its committed size."""

    code = Code.OUT_OF_RANGE
    reason = "WRONG_OFFSET"


class ChecksumMismatch(LeptonError):
    """Bytes do not have the digest or the length that was announced for them."""

    code = Code.DATA_LOSS
    reason = "CHECKSUM_MISMATCH"


class Unauthenticated(LeptonError):
    """The call carries no credential, or one that is not known."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(LeptonError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class Overloaded(LeptonError):
    """The queue is full or the deadline cannot be met; give `retry_after_seconds`."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class ShuttingDown(LeptonError):
    """The server is draining; another replica answers."""

    code = Code.UNAVAILABLE
    reason = "SHUTTING_DOWN"


class DependencyUnavailable(LeptonError):
    """Another service or store that the call needs does not answer."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"


class DeadlineExceeded(LeptonError):
    """The deadline passed before the work was done."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Cancelled(LeptonError):
    """The job was cancelled on request."""

    code = Code.CANCELLED
    reason = "CANCELLED"


class Unimplemented(LeptonError):
    """The method exists in the protocol and not in this server."""

    code = Code.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Internal(LeptonError):
    """A fault of ours; the log holds the cause."""

    code = Code.INTERNAL
    reason = "INTERNAL"


_BY_REASON: Mapping[str, type[LeptonError]] = MappingProxyType(
    {error.reason: error for error in LeptonError.__subclasses__()}
)


def by_reason(reason: str) -> type[LeptonError]:
    """Gives the error that stands for a reason, as `NOT_FOUND`.

    Raises:
        KeyError: no error has this reason.
    """
    return _BY_REASON[reason]
