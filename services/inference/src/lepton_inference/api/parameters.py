"""Parameters of inference requests that say how they are scheduled."""

import time
from collections.abc import Mapping

from inference import grpc_service_pb2 as pb
from lepton_common.errors import FieldViolation, InvalidField
from lepton_inference.queued import DEFAULT_PRIORITY, PRIORITIES

_SEQUENCE_KEY = "sequence_key"
_TIMEOUT = "timeout"
_PRIORITY = "priority"


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
    # As in the extension, 0 stands for no timeout.
    if microseconds := _whole_number(parameters, _TIMEOUT, "must be a number of microseconds"):
        seconds.append(microseconds / 1e6)
    return time.monotonic() + min(seconds) if seconds else None


def priority_of(parameters: Mapping[str, pb.InferParameter]) -> int:
    """Which requests go first, as the parameter `priority` of the scheduling extension says it.

    1 goes first; 0 stands for the default, and so does no parameter.

    Raises:
        InvalidField: there is no such priority.
    """
    rule = f"must be a number from 0 to {PRIORITIES}"
    priority = _whole_number(parameters, _PRIORITY, rule)
    if priority > PRIORITIES:
        raise _invalid(_PRIORITY, rule)
    return priority or DEFAULT_PRIORITY


def _whole_number(parameters: Mapping[str, pb.InferParameter], name: str, rule: str) -> int:
    """A number that is not negative; 0 if it is not given."""
    if name not in parameters:
        return 0
    parameter = parameters[name]
    choice = parameter.WhichOneof("parameter_choice")
    if choice not in ("int64_param", "uint64_param") or getattr(parameter, choice) < 0:
        raise _invalid(name, rule)
    number: int = getattr(parameter, choice)
    return number


def _invalid(parameter: str, rule: str) -> InvalidField:
    return InvalidField(
        f"the parameter {parameter!r} {rule}",
        violations=[FieldViolation(f'parameters["{parameter}"]', rule)],
    )
