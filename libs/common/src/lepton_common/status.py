"""Named errors to `google.rpc.Status` and back.

A status is how an error travels (in a call's trailing metadata) and how it is kept (in the `error` of a
job). Its details always hold an `ErrorInfo`; bad fields add a `BadRequest`, overload adds a `RetryInfo`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from lepton_common import errors
from lepton_common.errors import Code, FieldViolation, LeptonError

DOMAIN = "lepton.dev"
"""The `domain` of every `ErrorInfo` that Lepton sends."""

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries a serialised status."""

# How a status without one of our reasons is understood: it comes from gRPC itself (no connection, an
# unknown method) or from a server that is not ours.
_BY_CODE: dict[int, type[LeptonError]] = {
    Code.CANCELLED: errors.Cancelled,
    Code.INVALID_ARGUMENT: errors.InvalidField,
    Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    Code.NOT_FOUND: errors.NotFound,
    Code.ALREADY_EXISTS: errors.AlreadyExists,
    Code.PERMISSION_DENIED: errors.PermissionDenied,
    Code.RESOURCE_EXHAUSTED: errors.Overloaded,
    Code.FAILED_PRECONDITION: errors.WrongState,
    Code.ABORTED: errors.EtagMismatch,
    Code.OUT_OF_RANGE: errors.WrongOffset,
    Code.UNIMPLEMENTED: errors.Unimplemented,
    Code.UNAVAILABLE: errors.DependencyUnavailable,
    Code.DATA_LOSS: errors.ChecksumMismatch,
    Code.UNAUTHENTICATED: errors.Unauthenticated,
}


def to_status(error: LeptonError) -> Status:
    """Encodes an error with everything it tells."""
    status = Status(code=error.code, message=error.message)
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if error.violations:
        violations = [
            BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ]
        status.details.add().Pack(BadRequest(field_violations=violations))
    if error.retry_after_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status


def from_status(status: Status) -> LeptonError:
    """Decodes a status into the error that its reason names, or else the one closest to its code."""
    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    retry_after_seconds = None
    for detail in status.details:
        if detail.Unpack(info) or detail.Unpack(bad_request):
            continue
        if detail.Unpack(retry):
            retry_after_seconds = retry.retry_delay.ToNanoseconds() / 1e9
    return _named(info, status.code)(
        status.message,
        metadata=info.metadata,
        violations=[
            FieldViolation(violation.field, violation.description)
            for violation in bad_request.field_violations
        ],
        retry_after_seconds=retry_after_seconds,
    )


def _named(info: ErrorInfo, code: int) -> type[LeptonError]:
    if info.domain == DOMAIN:
        try:
            return errors.by_reason(info.reason)
        except KeyError:
            # A newer server knows a reason that this program does not.
            pass
    return _BY_CODE.get(code, errors.Internal)


def from_rpc_error(error: grpc.RpcError) -> LeptonError:
    """Decodes what a stub raised.

    Args:
        error: a `grpc.aio.AioRpcError`, or the `grpc.Call` that a synchronous stub raises.
    """
    # gRPC's base class is empty; everything that stubs raise is a call as well.
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return from_status(Status.FromString(value))
            except DecodeError:
                break
    return from_status(Status(code=call.code().value[0], message=call.details() or ""))


@contextmanager
def named_errors() -> Iterator[None]:
    """Turns what stubs raise inside the block into named errors, the cause kept.

    Example:
        with named_errors():
            response = await stub.GetModel(request)
    """
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
