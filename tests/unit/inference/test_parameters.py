"""Parameters that say how a request is scheduled."""

import time

import pytest

from inference import grpc_service_pb2 as pb
from lepton_common.errors import InvalidField
from lepton_inference.api.parameters import deadline_of, priority_of, sequence_key
from lepton_inference.queued import DEFAULT_PRIORITY

TEXT = pb.InferParameter(string_param="ada")


def number(value: int) -> pb.InferParameter:
    return pb.InferParameter(int64_param=value)


@pytest.mark.parametrize(
    ("parameters", "remaining_seconds", "seconds"),
    [
        pytest.param({}, None, None, id="nothing says so"),
        pytest.param({}, 2.0, 2.0, id="the call's deadline"),
        pytest.param({"timeout": number(3_000_000)}, None, 3.0, id="a timeout"),
        pytest.param({"timeout": number(3_000_000)}, 2.0, 2.0, id="an earlier deadline"),
        pytest.param({"timeout": pb.InferParameter(uint64_param=1_000_000)}, 2.0, 1.0, id="earlier timeout"),
        pytest.param({"timeout": number(0)}, None, None, id="a timeout of 0 is none"),
    ],
)
def test_the_earliest_deadline_counts(
    parameters: dict[str, pb.InferParameter], remaining_seconds: float | None, seconds: float | None
) -> None:
    now = time.monotonic()
    deadline = deadline_of(parameters, remaining_seconds=remaining_seconds)
    assert deadline == (None if seconds is None else pytest.approx(now + seconds, abs=0.5))


@pytest.mark.parametrize(
    "timeout", [TEXT, number(-1), pb.InferParameter()], ids=["text", "negative", "empty"]
)
def test_a_timeout_that_is_none_is_refused(timeout: pb.InferParameter) -> None:
    with pytest.raises(InvalidField) as caught:
        deadline_of({"timeout": timeout}, remaining_seconds=None)
    assert [violation.field for violation in caught.value.violations] == ['parameters["timeout"]']


def test_a_key_is_text_or_not_given() -> None:
    assert sequence_key({"sequence_key": TEXT}) == "ada"
    assert sequence_key({}) is None
    with pytest.raises(InvalidField):
        sequence_key({"sequence_key": number(1)})


@pytest.mark.parametrize(
    ("parameters", "priority"),
    [
        ({}, DEFAULT_PRIORITY),
        ({"priority": number(0)}, DEFAULT_PRIORITY),
        ({"priority": number(1)}, 1),
        ({"priority": pb.InferParameter(uint64_param=5)}, 5),
    ],
    ids=["not given", "zero", "the highest", "the lowest"],
)
def test_a_priority_is_a_number_and_zero_the_default(
    parameters: dict[str, pb.InferParameter], priority: int
) -> None:
    assert priority_of(parameters) == priority


@pytest.mark.parametrize(
    "priority",
    [TEXT, number(-1), number(6), pb.InferParameter(), pb.InferParameter(uint64_param=2**63)],
    ids=["text", "negative", "too low", "empty", "huge"],
)
def test_a_priority_that_is_none_is_refused(priority: pb.InferParameter) -> None:
    with pytest.raises(InvalidField, match="from 0 to 5") as caught:
        priority_of({"priority": priority})
    assert [violation.field for violation in caught.value.violations] == ['parameters["priority"]']
