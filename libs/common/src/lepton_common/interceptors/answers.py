"""Errors to statuses: the one place where what code raises becomes what a caller is told."""

import asyncio
import logging
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from lepton_common.errors import Code, Internal, LeptonError, Unimplemented
from lepton_common.interceptors.call import Call, Method, Proceed
from lepton_common.request_id import KEY
from lepton_common.status import DETAILS_KEY, to_status

_LOG = logging.getLogger(__name__)

# gRPC's own limit for all trailing metadata of a call is 8 KiB; the text is in there twice.
_MAX_STATUS_BYTES = 4096
_MAX_MESSAGE_CHARACTERS = 512

# How a server tells a channel not to repeat a call by itself (gRPC proposal A6).
_DO_NOT_RETRY = ("grpc-retry-pushback-ms", "-1")

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def answer_errors(call: Call, proceed: Proceed) -> Any:
    """Ends a failed call with its status; what nobody expected is logged whole and told as INTERNAL."""
    try:
        return await proceed()
    except LeptonError as error:
        known = error
    except grpc.aio.AbortError:
        # A servicer of somebody else's (health) set the status itself.
        call.code = _code_of(call.context)
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Not this call was cancelled but something that it waited for.
        known = unexpected(error, call.method, call.request_id)
    except Exception as error:
        if isinstance(error, NotImplementedError) and _code_of(call.context) == Code.UNIMPLEMENTED:
            # What the generated base class does for a method that a servicer leaves out.
            known = Unimplemented("this server does not implement the method")
        else:
            known = unexpected(error, call.method, call.request_id)
    call.code = known.code
    status = fitting_status(known)
    trailing = (*trailing_metadata(known, call.request_id), (DETAILS_KEY, status.SerializeToString()))
    return await call.context.abort(_STATUS_CODES[status.code], status.message, trailing)


def trailing_metadata(error: LeptonError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """What is sent beside the status of a failed call."""
    if error.retry_after_seconds is None:
        return ((KEY, request_id),)
    # The caller is told when to come back; its channel shall not do so at once by itself.
    return ((KEY, request_id), _DO_NOT_RETRY)


def unexpected(error: BaseException, method: Method, request_id: str) -> Internal:
    """Logs what nobody expected, and gives what the caller is told of it."""
    _LOG.error("unexpected error", exc_info=error, extra={"method": method.path})
    return Internal(f"internal error, request id {request_id}")


def _code_of(context: "grpc.aio.ServicerContext[Any, Any]") -> Code:
    code = context.code()
    return Code(code.value[0] if isinstance(code, grpc.StatusCode) else code)


def fitting_status(error: LeptonError) -> Status:
    """The status of an error, shortened until it fits into a call's trailing metadata. The reason stays."""
    status = to_status(error)
    if len(status.message) > _MAX_MESSAGE_CHARACTERS:
        status.message = status.message[: _MAX_MESSAGE_CHARACTERS - 1] + "…"
    # From the last to the first: the violations give way before the metadata.
    for detail in reversed(status.details):
        bad_request, info = BadRequest(), ErrorInfo()
        if detail.Unpack(bad_request):
            while status.ByteSize() > _MAX_STATUS_BYTES and bad_request.field_violations:
                del bad_request.field_violations[len(bad_request.field_violations) // 2 :]
                detail.Pack(bad_request)
        elif status.ByteSize() > _MAX_STATUS_BYTES and detail.Unpack(info):
            info.metadata.clear()
            detail.Pack(info)
    return status
