"""Parameters of inference requests that say how they are scheduled."""

import time
from collections.abc import Mapping

from inference import grpc_service_pb2 as pb
from lepton_common.errors import FieldViolation, InvalidField

_SEQUENCE_KEY = "sequence_key"
_TIMEOUT = "timeout"


def sequence_key(parameters: Mapping[str, pb.InferParameter]) -> str | None:
    """What keeps requests on one version while several share the traffic; None if it is not given.

    Raises:
        InvalidField: it is not text.
    """
    if _SEQUENCE_KEY not in parameters:
        return None
    if parameters[_SEQUENCE_KEY].WhichOneof("parameter_choice") != "string_param":
        raise _invalid(_SEQUENCE_KEY, "must be text")
    return parameters[_SEQUENCE_KEY].string_param


def deadline_of(
    parameters: Mapping[str, pb.InferParameter], *, remaining_seconds: float | None
) -> float | None:
    """When an answer is of no use any more, as a time of `time.monotonic`; None if nothing says so.

    The call has a deadline, which leaves it `remaining_seconds`; the parameter `timeout` of the
    scheduling extension, in microseconds, can set an earlier one.

    Raises:
        InvalidField: the timeout is not a whole number, or negative.
    """
    seconds = [] if remaining_seconds is None else [remaining_seconds]
    if _TIMEOUT in parameters:
        timeout = parameters[_TIMEOUT]
        choice = timeout.WhichOneof("parameter_choice")
        if choice not in ("int64_param", "uint64_param") or getattr(timeout, choice) < 0:
            raise _invalid(_TIMEOUT, "must be a number of microseconds")
        # As in the extension, 0 stands for no timeout.
        seconds += [microseconds / 1e6] if (microseconds := getattr(timeout, choice)) else []
    return time.monotonic() + min(seconds) if seconds else None


def _invalid(parameter: str, rule: str) -> InvalidField:
    return InvalidField(
        f"the parameter {parameter!r} {rule}",
        violations=[FieldViolation(f'parameters["{parameter}"]', rule)],
    )
